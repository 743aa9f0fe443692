"""Translation without partners: terms, the pool, one whole step, and what is measured.

Oracles: a hand-written step of the same modules, plain loops, images whose translation
is known.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.data import digits_unpaired
from dlsteroids.tasks import cyclegan
from dlsteroids.tasks.lib import image_pool
from dlsteroids.train import step as step_lib
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases
from tests.fixtures import tiny

pytestmark = pytest.mark.usefixtures('quick')
BATCH, RATE = 4, 0.01
SMALL = {
  'model.width': 2,
  'model.discriminator_width': 2,
  'model.downsamples': 0,
  'model.blocks': 1,
  'model.kernel': 1,
  'model.stem_kernel': 3,
  'model.patch_layers': 0,
  'model.generator_norm': 'none',
  'model.discriminator_norm': 'none',
}


def make_config(changes=None):
  tree = config_lib.base(model='cyclegan', data='digits_unpaired', task='cyclegan')
  fixed = {
    'study.metric': 'l1',
    'data.examples': 40,
    'train.batch_size': BATCH,
    'train.eval_batch': 100,
    'train.steps': 4,
    'train.evaluations': 2,
    'optimizer.name': 'sgd',
    'optimizer.momentum': 0.0,
    'optimizer.learning_rate': RATE,
    'optimizer.schedule': 'constant',
  }
  pairs = {**fixed, **SMALL, **(changes or {})}
  return config_lib.override(config_lib.resolve(tree), pairs.items())


def make(changes=None):
  config = make_config(changes)
  dataset = digits_unpaired.load(config['data'])
  task = cyclegan.build(config, dataset)
  raw = dataset.take(dataset.arrays, np.arange(BATCH), train=True)
  batch = dataset.transform(raw, rng.Keys(rng.root(0)), train=False)
  batch = {name: jnp.asarray(array) for name, array in batch.items()}
  hyper = {name: jnp.float32(v) for name, v in config_lib.hyper(config).items()}
  start = cases.jit(lambda: step_lib.init(task, rng.root(0), batch, hyper))()
  return config, dataset, task, start, batch, hyper


TERMS = [
  {},
  {'task.cycle': 'forward', 'task.identity': True},
  {'task.cycle': 'backward', 'task.pool': 0},
  {'task.cycle': 'none'},
  {'task.adversarial': False},
]


@pytest.mark.parametrize('changes', TERMS, ids=str)
def test_a_step_is_the_paper_s(changes):
  """Oracle: eq. 3 and least squares, written once more around the same modules."""
  config, dataset, task, state, batch, hyper = make(changes)
  keys = rng.Keys(rng.root(0), 0)
  makers, judges = cyclegan.couples(config, dataset)
  x, y, options = batch['x'], batch['y'], config['task']

  def run(couple, params, name, images):
    return couple.apply({'params': params}, name, images, keys, hyper, train=True)[0]

  def judge_loss(params, fakes):  # the pool is not yet full: it shows what it is given
    total = 0.0
    for domain, real, fake in (('x', x, fakes['y_as_x']), ('y', y, fakes['x_as_y'])):
      total += 0.5 * ((run(judges, params, domain, real) - 1) ** 2).mean()
      total += 0.5 * (run(judges, params, domain, fake) ** 2).mean()
    return total

  def maker_loss(params, critics):
    g = lambda images: run(makers, params, 'x_as_y', images)
    f = lambda images: run(makers, params, 'y_as_x', images)
    total = 0.0
    if options['adversarial']:
      total += 0.5 * ((run(judges, critics, 'y', g(x)) - 1) ** 2).mean()
      total += 0.5 * ((run(judges, critics, 'x', f(y)) - 1) ** 2).mean()
    if options['cycle'] in ('both', 'forward'):
      total += 10 * jnp.abs(f(g(x)) - x).mean()
    if options['cycle'] in ('both', 'backward'):
      total += 10 * jnp.abs(g(f(y)) - y).mean()
    if options['identity']:
      total += 5 * (jnp.abs(g(y) - y).mean() + jnp.abs(f(x) - x).mean())
    return total

  def descend(params, slopes):
    return optax.apply_updates(params, jax.tree.map(lambda g: -RATE * g, slopes))

  def by_hand(state):
    weights, critics = (
      state['variables'][player]['params']
      for player in ('generators', 'discriminators')
    )
    images = {'x_as_y': x, 'y_as_x': y}
    fakes = {name: run(makers, weights, name, real) for name, real in images.items()}
    value, slopes = jax.value_and_grad(judge_loss)(critics, fakes)
    moved = descend(critics, slopes) if options['adversarial'] else critics
    slopes = jax.grad(maker_loss)(weights, moved)
    return value, {'discriminators': moved, 'generators': descend(weights, slopes)}

  step = step_lib.make(task)
  (new, scalars, _), (value, wanted) = cases.jit(
    lambda state: (step(state, batch, keys, hyper), by_hand(state))
  )(state)
  if options['adversarial']:
    assert float(scalars['d_loss']) == pytest.approx(float(value), rel=1e-5)
  for player, want in wanted.items():
    found = new['variables'][player]['params']
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), found, want
    )


def test_translations_are_made_once_a_step():
  """Compiled, a step with one cycle has four passes through generators, not six."""
  _, _, task, state, batch, hyper = make({'task.cycle': 'both'})
  keys = rng.Keys(rng.root(0), 0)
  step = step_lib.make(task)
  text = jax.jit(lambda s, b: step(s, b, keys, hyper)[0]).lower(state, batch)
  text = text.compile().as_text()
  # tanh is the last thing a generator does, and nothing else here.
  assert len(re.findall(r'= \S+ tanh\(', text)) == 4


def test_the_pool_is_its_loop():
  generator = np.random.default_rng(0)
  images = generator.normal(size=(11, 3, 2, 2, 1)).astype(np.float32)  # 11 batches of 3
  pool = image_pool.make(5, (2, 2, 1))
  kept = []
  exchange = jax.jit(image_pool.exchange)
  old_ones = 0
  for number, batch in enumerate(images):
    key = jax.random.key(number)
    swap, place = jax.random.split(key)
    swaps = np.asarray(jax.random.bernoulli(swap, 0.5, (3,)))
    places = np.asarray(jax.random.randint(place, (3,), 0, 5))
    wanted = []
    for image, swapped, at in zip(batch, swaps, places):
      if len(kept) < 5:
        kept.append(image)
        wanted.append(image)
      elif swapped:
        wanted.append(kept[at])
        kept[at] = image
        old_ones += 1
      else:
        wanted.append(image)
    shown, pool = exchange(pool, jnp.asarray(batch), key)
    np.testing.assert_array_equal(shown, np.stack(wanted))
  np.testing.assert_array_equal(pool['images'], np.stack(kept))
  assert old_ones > 5


def test_runs_are_measured_and_the_pool_is_carried():
  config = make_config({'task.features': 'digits', 'task.pool': 6})
  dataset = digits_unpaired.load(config['data'])
  bench = tiny.make_bench(config, 'map', 1, dataset=dataset)
  result = bench.train([bench.slot(3)], deciding='l1')
  assert (
    int(tiny.pick(result.variables, 0)['discriminators']['pool']['x_as_y']['filled'])
    == 6
  )
  values, arrays = result.records[0]['values'], result.arrays[0]
  for name in ('l1', 'psnr', 'ssim', 'cycle', 'agreement', 'classifier_fid'):
    assert np.isfinite(values[f'test/{name}']), name
  assert values['test/l1'] == pytest.approx(arrays['test/l1_rows'].mean(), rel=1e-5)
  both = (values['test/l1_x'] + values['test/l1_y']) / 2
  assert values['test/l1'] == pytest.approx(both, rel=1e-5)


def test_show_and_sample_are_bytes_of_both_directions():
  _, dataset, task, state, _, hyper = make()
  raw = dataset.take(dataset.arrays, dataset.split(0)['test'][:3], train=False)
  keys = rng.Keys(rng.root(0))
  batch = dataset.transform(raw, keys, train=False)
  seen = task.show(state['variables'], batch, keys, hyper)
  for source, truth in (('x', 'x_as_y'), ('y', 'y_as_x')):
    found = {k: np.asarray(seen[f'translation/{source}/{k}'])
             for k in ('input', 'translated', 'again', 'truth')}  # fmt: skip
    assert {(v.shape, v.dtype.name) for v in found.values()} == {
      ((3, 8, 8, 1), 'uint8')
    }
    np.testing.assert_array_equal(found['input'], raw[source])
    np.testing.assert_array_equal(found['truth'], raw[truth])
  drawn = task.sample(state['variables'], batch, keys, hyper, {'count': 3, 'label': -1})
  np.testing.assert_array_equal(drawn['x_as_y'], seen['translation/x/translated'])


@pytest.mark.parametrize(
  ('changes', 'wanted'),
  [
    ({'task.cycle': 'forwards'}, "did you mean 'forward'"),
    ({'task.pool': -1}, 'pool must be at least 0, not -1'),
    (
      {'task.cycle': 'none', 'task.adversarial': False},
      'nothing is required of the generators',
    ),
    ({'task.loss': 'squares'}, 'least_squares'),
  ],
)
def test_mistakes_are_one_line(changes, wanted):
  with pytest.raises(errors.UserError, match=wanted) as error:
    make(changes)
  assert '\n' not in str(error.value)


def test_the_wrong_data_or_model_is_one_line():
  config = make_config()
  dataset = digits_unpaired.load(config['data'])
  facts = {**dataset.facts, 'channels': [3, 1]}
  other = config_lib.override(config, [('task.identity', True)])
  with pytest.raises(errors.UserError, match='use identity=False'):
    cyclegan.build(other, dataset._replace(facts=facts))
  with pytest.raises(errors.UserError, match='as digits_unpaired, colour'):
    cyclegan.build(config, dataset._replace(facts={}))
  tree = config_lib.base(model='cnn', data='digits_unpaired', task='cyclegan')
  with pytest.raises(errors.UserError, match='as cyclegan, not cnn'):
    cyclegan.build(config_lib.resolve(tree), dataset)
