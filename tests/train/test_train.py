"""The engine against plain loops, other strategies and meshes, and itself in bits."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.models import cnn
from dlsteroids.plan import runs
from dlsteroids.train import member as member_lib
from tests.fixtures import tiny


def stream(seed, name, index):
  key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
  return jax.random.fold_in(key, index)


def hand_loop(config, dataset, seed):
  """The same training as a plain Python loop of optax and linen; curves too."""
  section = {**config['model'], 'outputs': 10, 'shape': (8, 8, 1)}
  module = cnn.build(section)
  hyper = {path: jnp.float32(v) for path, v in config_lib.hyper(config).items()}
  split = dataset.split(seed)
  train, size = split['train'], config['train']['batch_size']

  def see(indices, step, train):
    batch = {k: jnp.asarray(v[indices]) for k, v in dataset.arrays.items()}
    return dataset.transform(batch, rng.Keys(rng.root(seed), step), train=train)

  first = see(train[:2], 0, False)['image']
  init = jax.jit(lambda key: module.init(key, first, train=False, hyper=hyper))
  variables = dict(init(stream(seed, 'init', 0)))
  optimizer = optax.sgd(
    optax.cosine_decay_schedule(config['optimizer']['learning_rate'], 10), 0.9
  )
  moments = optimizer.init(variables['params'])

  @jax.jit
  def move(variables, moments, batch, key):
    def loss(params):
      logits, new = module.apply(
        {**variables, 'params': params},
        batch['image'],
        train=True,
        hyper=hyper,
        rngs={'dropout': key},
        mutable=['batch_stats'],
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch['label'])
      return losses.mean(), new

    (value, new), grads = jax.value_and_grad(loss, has_aux=True)(variables['params'])
    updates, moments = optimizer.update(grads, moments)
    params = optax.apply_updates(variables['params'], updates)
    return {**variables, **new, 'params': params}, moments, value

  def measure(name):
    batch = see(split[name], 0, False)
    logits = module.apply(variables, batch['image'], train=False, hyper=hyper)
    logits, label = np.asarray(logits, np.float64), np.asarray(batch['label'])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    right = (logits.argmax(-1) == label).mean()
    return right, -log_p[np.arange(len(label)), label].mean()

  curves, losses, per_epoch = {}, [], len(train) // size
  for step in range(10):
    epoch, place = divmod(step, per_epoch)
    if place == 0:
      order = jax.random.permutation(stream(seed, 'order', epoch), train)
    batch = see(order[place * size : (place + 1) * size], step, True)
    key = stream(seed, 'dropout', step)
    variables, moments, value = move(variables, moments, batch, key)
    losses.append(float(value))
    if step + 1 in (5, 10):
      for name in ('validation', 'test'):
        right, loss = measure(name)
        curves[step + 1, name, 'accuracy'] = right
        curves[step + 1, name, 'loss'] = loss
      curves[step + 1, 'train', 'loss'] = np.mean(losses)
      losses = []
  return variables, curves


def test_engine_equals_a_plain_loop_of_optax_and_linen():
  config = tiny.make_config(tiny.CNN)
  bench = tiny.make_bench(config, 'map', 2)
  result = bench.train([bench.slot(4), bench.slot(9)])
  for at, seed in enumerate((4, 9)):
    variables, curves = hand_loop(config, bench.dataset, seed)
    got = tiny.pick(result.variables['model'], at)
    for name in ('params', 'batch_stats'):
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6),
        got[name],
        dict(variables[name]),
      )
    found = {
      (step, split, metric): value
      for step, split, metric, value in result.records[at]['curves']
    }
    for key, value in curves.items():
      np.testing.assert_allclose(found[key], value, rtol=1e-4, err_msg=str(key))


ALL = (('map', 2, 1), ('map', 1, 2), ('vmap', 1, 2))


@pytest.mark.parametrize(
  ('changes', 'layouts'), [({}, ALL), (tiny.CNN, (ALL[0], ALL[2]))], ids=['mlp', 'cnn']
)
def test_strategies_and_meshes_agree(changes, layouts):
  config = tiny.make_config(changes)
  results = []
  for layout in layouts:
    bench = tiny.make_bench(config, *layout)
    assert len(bench.program.mesh.devices) == layout[2]
    result = bench.train([bench.slot(0), bench.slot(1)])
    results.append(jax.device_get(result.variables))
  for other in results[1:]:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
      results[0],
      other,
    )
  one, two = (tiny.pick(results[0], at) for at in (0, 1))
  assert not tiny.same(one, two)  # or the comparison would show nothing


@pytest.mark.parametrize('strategy', ['map', 'vmap'])
def test_order_company_and_padding_change_no_bit(strategy):
  bench = tiny.make_bench(tiny.make_config(tiny.CNN), strategy, 4)
  alone = tiny.bits(bench.train([bench.slot(5)]), 0)
  full = bench.train([bench.slot(seed) for seed in (1, 2, 5, 3)])
  tiny.assert_equal_bits(alone, tiny.bits(full, 2))
  odd = bench.slot(5, optimizer__learning_rate=0.5)  # other numbers beside it
  turned = bench.train([odd, bench.slot(3), bench.slot(2), bench.slot(5)])
  tiny.assert_equal_bits(alone, tiny.bits(turned, 3))
  tiny.assert_equal_bits(tiny.bits(full, 1), tiny.bits(turned, 2))


def test_groups_run_at_their_own_width_or_not_at_all():
  """Oracle: the same members in programs of that width alone, and a device that idles.

  One member by itself rounds as one of several: it is no product of a single row.
  """
  config = tiny.make_config()
  both = tiny.make_bench(config, 'vmap', 2, 2, rest=1)
  slots = [both.slot(seed) for seed in (3, 4, 5)]
  idle = {**slots[0], 'live': np.bool_(False)}
  mixed = both.train([*slots, idle])
  alone = both.train([slots[2], idle, idle, idle])  # a device without members
  pair = tiny.make_bench(config, 'vmap', 2, 1).train(slots[:2])
  for at in (0, 1):
    tiny.assert_equal_bits(tiny.bits(mixed, at), tiny.bits(pair, at))
  tiny.assert_equal_bits(tiny.bits(mixed, 2), tiny.bits(alone, 0))
  assert sorted(alone.records) == [0]


@pytest.mark.parametrize('strategy', ['map', 'vmap'])
def test_a_diverged_member_is_marked_and_harms_nobody(strategy):
  config = tiny.make_config({'task.name': 'tests.fixtures.toys'})
  bench = tiny.make_bench(config, strategy, 4)
  huge = bench.slot(6, optimizer__learning_rate=1e30)
  result = bench.train([bench.slot(2), bench.slot(3), bench.slot(4), huge])
  record = result.records[1]
  assert (record['status'], record['diverged_step']) == ('diverged', 7)
  assert record['best_step'] == 7
  for name in ('validation/accuracy', 'test/accuracy', 'final/test/accuracy'):
    assert record['values'][name] == 0.1
  assert record['values']['test/loss'] == pytest.approx(np.log(10))
  assert {row[0] for row in record['curves']} == {5}  # they end where it diverged
  assert result.arrays[1] == {}
  assert result.records[3]['status'] == 'diverged'
  healthy = bench.train([bench.slot(2), bench.slot(8), bench.slot(4), bench.slot(9)])
  for at in (0, 2):
    assert result.records[at]['status'] == 'ok'
    tiny.assert_equal_bits(tiny.bits(result, at), tiny.bits(healthy, at))


def test_parameters_spoiled_by_the_last_step_count_as_diverged():
  bench = tiny.make_bench(tiny.make_config({'task.name': 'tests.fixtures.toys'}))
  result = bench.train([bench.slot(2), bench.slot(11)])
  assert result.records[0]['status'] == 'ok'
  assert result.records[1]['diverged_step'] == 10  # the loss of step 9 was still good
  assert result.records[1]['values']['test/accuracy'] == 0.1


def indexed(dataset):
  """The same data set, its batches telling the indices of their examples."""
  arrays = {**dataset.arrays, 'index': np.arange(len(dataset.arrays['label']))}

  def transform(batch, keys, *, train):
    seen = {name: batch[name] for name in ('image', 'label')}
    return {**dataset.transform(seen, keys, train=train), 'index': batch['index']}

  return dataset._replace(arrays=arrays, transform=transform)


def drawn(config, seed, steps):
  dataset = indexed(tiny.load(config))
  member = member_lib.make(config, dataset)
  slot = member_lib.slot(config, dataset, seed)
  data = {name: jnp.asarray(array) for name, array in dataset.arrays.items()}
  draw = jax.jit(member.draw)
  order, found = slot['train'], []
  for step in range(steps):
    order, batch = draw(order, slot, data, rng.Keys(rng.root(slot['seed']), step))
    found.append(np.asarray(batch['index']))
  return np.stack(found), slot['train']


def test_every_epoch_is_a_permutation_and_arms_share_the_order():
  config = tiny.make_config()  # 96 examples, batches of 16: 6 a epoch
  batches, train = drawn(config, 3, 12)
  for epoch in (batches[:6], batches[6:]):
    assert sorted(epoch.ravel()) == sorted(train)
  assert not np.array_equal(batches[:6], batches[6:])
  other, _ = drawn(tiny.make_config(tiny.CNN), 3, 12)
  assert np.array_equal(batches, other)
  assert not np.array_equal(batches, drawn(config, 4, 12)[0])
  short = tiny.make_config({'train.batch_size': 20})  # 4 batches, 16 examples left out
  batches, train = drawn(short, 3, 4)
  assert len(np.unique(batches)) == 80
  assert set(batches.ravel()) < set(train)


def test_ten_settings_add_no_compilation():
  config = tiny.make_config()
  bench = tiny.make_bench(config, compiled=False)
  programs = set()
  for i in range(10):
    numbers = {'optimizer.learning_rate': 0.01 * (i + 1), 'model.dropout': 0.05 * i}
    numbers |= {'train.steps': 3 + i, 'optimizer.weight_decay': 1e-3 * i}
    numbers |= {'optimizer.clip': 1.0 + i, 'task.label_smoothing': 0.01 * i}
    arm = config_lib.override(config, numbers.items())
    programs.add(runs.program_id(arm))
    slot = member_lib.slot(arm, bench.dataset, i)
    bench.train([slot], steps=arm['train']['steps'])
  assert len(programs) == 1
  made = bench.program
  sizes = [f._cache_size() for f in (made.init, made.stretch, made.evaluate)]
  assert sizes == [1, 1, 1]


def test_evaluation_of_a_padded_tail_equals_numpy_over_the_exact_examples():
  config = tiny.make_config({'train.eval_batch': 100})
  bench = tiny.make_bench(config)
  split = bench.dataset.split(5)
  assert len(split['validation']) % 100
  assert len(split['test']) % 100
  result = bench.train([bench.slot(5)])
  params = tiny.pick(result.variables['model']['params'], 0)
  for name in ('validation', 'test'):
    batch = bench.dataset.take(bench.dataset.arrays, split[name], train=False)
    seen = bench.dataset.transform(batch, rng.Keys(rng.root(5)), train=False)
    x = np.asarray(seen['image'], np.float64).reshape(len(split[name]), -1)
    x = np.maximum(x @ params['dense0']['kernel'] + params['dense0']['bias'], 0)
    logits = x @ params['output']['kernel'] + params['output']['bias']
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    label = batch['label']
    last = {
      metric: value
      for step, split_, metric, value in result.records[0]['curves']
      if (step, split_) == (10, name)
    }
    assert last['accuracy'] == np.mean(logits.argmax(-1) == label)
    want = -log_p[np.arange(len(label)), label].mean()
    assert last['loss'] == pytest.approx(want, rel=1e-5)
  if result.records[0]['best_step'] == 10:
    assert np.array_equal(result.arrays[0]['test/prediction'], logits.argmax(-1))
  assert len(result.arrays[0]['test/prediction']) == len(split['test'])
