"""Language modelling against loops in numpy: lanes, carried states, scores, samples."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.data.lib import text
from dlsteroids.tasks import language
from dlsteroids.train import member as member_lib
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases
from tests.fixtures import recurrent_oracle as oracle
from tests.fixtures import tiny
from tests.train import test_train

pytestmark = pytest.mark.usefixtures('quick')

DEFAULTS = {'size': 1}  # of `Blind`, as a user's model plug-in
PROSE = ''.join(np.random.default_rng(0).choice(list('abcd '), 483))
WINDOW, SCORED, CONTEXT, LANES = 7, 5, 6, 4
TEXT = {
  'data.window': WINDOW,
  'data.eval_window': SCORED,
  'data.context': CONTEXT,
  'model.hidden': 6,
  'model.embedding': 3,
  'optimizer.learning_rate': 0.02,
  'optimizer.name': 'adam',
  'train.steps': 10,
  'train.batch_size': LANES,
  'train.evaluations': 1,
  'train.eval_batch': 4,
}


class Blind(nn.Module):
  """A user's model that answers once."""

  outputs: int

  @nn.compact
  def __call__(self, x, *, train, hyper):
    return nn.Dense(self.outputs, name='output')(x.astype(jnp.float32))


def build(config):
  return Blind(config['outputs'])


def make_config(changes=None, model='recurrent'):
  config = config_lib.resolve(config_lib.base(model, 'text_file', 'language'))
  own = TEXT if model == 'recurrent' else {}
  return config_lib.override(config, {**own, **(changes or {})}.items())


def load(config, content=PROSE):
  return text.make('prose', content.encode(), config['data'])


def make(changes=None, content=PROSE):
  config = make_config(changes)
  dataset = load(config, content)
  return config, dataset, member_lib.make(config, dataset)


def run(config, dataset, member, steps, seed=3, start=0):
  """A member's state after `steps`, and its slot."""
  slot = member_lib.slot(config, dataset, seed)
  state = cases.jit(member.init)(slot, dataset.arrays)
  if not steps:
    return state, slot
  stretch = cases.jit(member.stretch)
  return stretch(state, slot, dataset.arrays, start, start + steps, True), slot


def sampler(member):
  """`sample(variables, prompt, seed, hyper, options)` of a member's task, compiled."""

  @functools.cache
  def compiled(length, top_k):
    def sample(variables, prompt, key, hyper, temperature):
      options = {'length': length, 'top_k': top_k, 'temperature': temperature}
      return member.task.sample(variables, prompt, rng.Keys(key), hyper, options)

    return cases.jit(sample)

  def sample(variables, prompt, seed, hyper, options):
    function = compiled(options['length'], options['top_k'])
    return function(variables, prompt, rng.root(seed), hyper, options['temperature'])

  return sample


def chances(config, params, symbols, carry=None):
  """log p of what follows each symbol [T, V] by the oracle, and the state after."""
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  x = params['embedding'][np.asarray(symbols)][None]
  logits, carry = oracle.run(config['model'], params, x, every=True, carry=carry)
  logits = logits[0]
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True)), carry


# What a step sees


def plan(dataset, seed, steps):
  """Per step the first positions of its lanes, and whether they begin: a plain loop."""
  train = dataset.split(seed)['train']
  per_epoch = len(train) // LANES
  for step in range(steps):
    epoch, place = divmod(step, per_epoch)
    key = test_train.stream(seed, 'jitter', epoch)
    offset = int(jax.random.randint(key, (), 0, dataset.jitter))
    rows = [train[lane * per_epoch + place] + offset for lane in range(LANES)]
    yield rows, place == 0


def test_lanes_continue_one_another():
  config, dataset, member = make()
  slot = member_lib.slot(config, dataset, 3)
  per_epoch = len(slot['train']) // LANES
  slot, data = jax.device_put((slot, dataset.arrays))
  draw = cases.jit(
    lambda step: member.draw(slot['train'], slot, data, rng.Keys(rng.root(3), step))[1]
  )
  steps = 2 * per_epoch + 2
  offsets, last = set(), None
  for step, (rows, first) in enumerate(plan(dataset, 3, steps)):
    batch = jax.device_get(draw(step))
    assert bool(batch['first']) == first == (step % per_epoch == 0)
    for lane, row in enumerate(rows):
      seen = text.decode(batch['input'][lane], dataset.classes)
      asked = text.decode(batch['target'][lane], dataset.classes)
      assert seen == PROSE[row : row + WINDOW]
      assert asked == PROSE[row + 1 : row + WINDOW + 1]
      if not first:
        assert last[lane] == seen[0]
    last = [text.decode(row[-1:], dataset.classes) for row in batch['target']]
    offsets.add(rows[0] % WINDOW)
    assert batch['weight'].all()
  assert len(offsets) > 1  # the epochs differ


def test_shuffled_windows_are_each_seen_once_an_epoch():
  config, dataset, member = make({'data.order': 'shuffled'})
  slot = member_lib.slot(config, dataset, 3)
  order, per_epoch = slot['train'], len(slot['train']) // LANES
  slot, data = jax.device_put((slot, dataset.arrays))
  draw = cases.jit(
    lambda order, step: member.draw(order, slot, data, rng.Keys(rng.root(3), step))
  )
  epochs = []
  for epoch in range(2):
    key = test_train.stream(3, 'order', epoch)
    expected = np.asarray(jax.random.permutation(key, slot['train']))
    moved = test_train.stream(3, 'jitter', epoch)
    offset = int(jax.random.randint(moved, (), 0, dataset.jitter))
    for place in range(per_epoch):
      order, batch = draw(order, epoch * per_epoch + place)
      assert 'first' not in batch
      rows = expected[place * LANES : (place + 1) * LANES] + offset
      for row, seen in zip(rows, batch['input']):
        assert text.decode(seen, dataset.classes) == PROSE[row : row + WINDOW]
    epochs.append(expected)
  assert set(epochs[0]) == set(epochs[1]) == set(np.asarray(slot['train']))
  assert (epochs[0] != epochs[1]).any()


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'model.layers': 2, 'model.peepholes': True, 'model.full_gate_recurrence': True},
    {'model.cell': 'gru', 'model.dtype': 'float32'},
  ],
  ids=str,
)
def test_the_state_is_carried_within_and_not_between_epochs(changes):
  """Nothing moves at a learning rate of 0. Oracle: one long sequence per lane."""
  config, dataset, member = make({**changes, 'optimizer.learning_rate': 0.0})
  per_epoch = len(dataset.split(3)['train']) // LANES
  whole = dataset.arrays['text']
  for steps in (1, 3, per_epoch, per_epoch + 2):
    state, _ = run(config, dataset, member, steps)
    variables = state['variables']['model']
    rows = list(plan(dataset, 3, steps))
    begun = max(i for i, (_, first) in enumerate(rows) if first)
    losses = []
    for lane in range(LANES):
      nats = []
      for start in sorted({0, begun}):
        end = begun if start < begun else steps
        at = rows[start][0][lane]
        log_p, carry = chances(
          config, variables['params'], whole[at : at + (end - start) * WINDOW]
        )
        targets = whole[at + 1 : at + 1 + len(log_p)]
        nats += list(-log_p[np.arange(len(log_p)), targets])
      losses.append(np.mean(nats))
      for side, parts in enumerate(carry):
        for part, value in enumerate(parts):
          found = variables['carry'][side][part][lane]
          np.testing.assert_allclose(found, value[0], atol=1e-5)
    found = float(state['sums']['nats'] / state['sums']['steps'])
    assert found == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_gradient_ends_at_the_window():
  """Oracle: central differences of a window's loss, the state before it held fixed."""
  config, dataset, member = make()
  state, slot = run(config, dataset, member, 2)
  keys, data = rng.Keys(rng.root(3), 2), jax.device_put(dataset.arrays)
  _, batch = member.draw(jnp.asarray(slot['train']), slot, data, keys)
  model = jax.device_get(state['variables']['model'])
  assert not batch['first']

  def loss(params):
    mine = {'model': {**model, 'params': params}}
    return member.task.turns[0].loss(mine, batch, keys, slot['hyper'])[0]

  value, grads = cases.jit(jax.value_and_grad(loss))(model['params'])

  def expect(params):
    nats = []
    for lane in range(LANES):
      carry = tuple(tuple(part[lane : lane + 1] for part in c) for c in model['carry'])
      log_p, _ = chances(config, params, batch['input'][lane], carry)
      nats.append(-log_p[np.arange(WINDOW), batch['target'][lane]])
    return np.mean(nats)

  assert float(value) == pytest.approx(expect(model['params']), rel=1e-5)
  leaves, tree = jax.tree.flatten(model['params'])
  generator = np.random.default_rng(0)
  way = [generator.normal(size=leaf.shape) for leaf in leaves]
  move = lambda step: expect(
    jax.tree.unflatten(tree, [a + step * b for a, b in zip(leaves, way)])
  )
  slope = (move(1e-4) - move(-1e-4)) / 2e-4
  found = sum(float((g * w).sum()) for g, w in zip(jax.tree.leaves(grads), way))
  assert found == pytest.approx(slope, rel=1e-4)


def test_without_lanes_nothing_is_carried():
  config, dataset, member = make({'data.order': 'shuffled'})
  state, _ = run(config, dataset, member, 2)
  assert 'carry' not in state['variables']['model']


def test_a_forgotten_state_leaves_the_order_and_starts_every_window_from_zeros():
  """Nothing moves at a learning rate of 0. Oracle: each window on its own."""
  config, dataset, member = make({'task.carry': False, 'optimizer.learning_rate': 0.0})
  state, _ = run(config, dataset, member, 3)
  model, whole = state['variables']['model'], dataset.arrays['text']
  assert 'carry' not in model
  nats = []
  for starts, _ in plan(dataset, 3, 3):
    for at in starts:
      log_p, _ = chances(config, model['params'], whole[at : at + WINDOW])
      nats += list(-log_p[np.arange(WINDOW), whole[at + 1 : at + 1 + WINDOW]])
  found = float(state['sums']['nats'] / state['sums']['steps'])
  assert found == pytest.approx(np.mean(nats), rel=1e-5)


# Scores


def brute_force(config, dataset, params, name):
  """Each symbol of a split with its context, one at a time: nats and hits."""
  whole, nats, hits = dataset.arrays['text'], [], []
  edges = {'validation': (-96, -48), 'test': (-48, 0)}[name]
  begin, end = (len(PROSE) + edge for edge in edges)
  for position in range(begin, end):
    # Its window begins a multiple of SCORED behind the split's first symbol.
    first = position - (position - begin) % SCORED
    seen = whole[first - CONTEXT - 1 : position]
    log_p, _ = chances(config, params, seen)
    nats.append(-log_p[-1, whole[position]])
    hits.append(log_p[-1].argmax() == whole[position])
  return np.array(nats), np.array(hits)


def test_scores_are_those_of_every_symbol_in_its_context():
  config = make_config()
  bench = tiny.make_bench(config, 'vmap', 2, dataset=load(config))
  result = bench.train([bench.slot(4), bench.slot(9)], deciding='nats')
  for at in range(2):
    variables = tiny.pick(result.variables['model'], at)
    assert np.abs(variables['carry'][0][0]).max() > 0  # but evaluation begins at zeros
    values = result.records[at]['values']
    for name, prefix in (('test', 'final/test'), ('validation', 'validation')):
      nats, hits = brute_force(config, bench.dataset, variables['params'], name)
      assert len(nats) == 48
      expected = {
        'nats': nats.mean(),
        'bits': nats.mean() / math.log(2),
        'perplexity': math.exp(nats.mean()),
        'accuracy': hits.mean(),
      }
      for metric, value in expected.items():
        assert values[f'{prefix}/{metric}'] == pytest.approx(value, rel=1e-5), metric
      if name == 'test':
        rows = result.arrays[at]['test/nats_rows']
        windows = [nats[i : i + SCORED].mean() for i in range(0, 48, SCORED)]
        np.testing.assert_allclose(rows, windows, rtol=1e-5)


def test_evaluation_knows_nothing_of_the_order_of_training():
  """The same parameters score the same with lanes, shuffled, and after any state."""
  found = []
  for order in ('lanes', 'shuffled'):
    config, dataset, member = make({'data.order': order})
    state, slot = run(config, dataset, member, 0)
    found.append(cases.jit(member.evaluate)(state, slot, dataset.arrays))
    if order == 'lanes':
      model = state['variables']['model']
      moved = {**model, 'carry': jax.tree.map(lambda c: c + 9.0, model['carry'])}
      state = {**state, 'variables': {'model': moved}}
      found.append(cases.jit(member.evaluate)(state, slot, dataset.arrays))
  for other in found[1:]:
    jax.tree.map(np.testing.assert_array_equal, found[0], other)


def test_metrics_of_a_hopeless_run_are_finite_and_its_fallback_is_chance():
  metrics = language.make_metrics(5)
  merged = {'sum': 4000.0, 'count': 2.0}
  assert metrics['perplexity'].finish(merged)[''] < math.inf  # exp(2000) overflows
  assert metrics['perplexity'].fallback == 5
  assert metrics['nats'].fallback == pytest.approx(math.log(5))
  assert metrics['bits'].fallback == pytest.approx(math.log2(5))
  assert metrics['accuracy'].fallback == pytest.approx(0.2)
  assert [m.better for m in metrics.values()] == [
    'lower', 'lower', 'lower', 'higher', '',
  ]  # fmt: skip


# Samples


def greedy(config, params, prompt, length):
  """The likeliest symbol each time, the whole prefix read anew."""
  seen = list(prompt)
  for _ in range(length):
    seen.append(int(chances(config, params, seen)[0][-1].argmax()))
  return seen[len(prompt) :]


@pytest.fixture(scope='module')
def writer():
  """A member that trained a little on prose."""
  config, dataset, member = make({'train.steps': 30})
  state, slot = run(config, dataset, member, 30)
  draw = sampler(member)

  def sample(seed=0, length=12, **options):
    prompt = jnp.asarray(text.encode('abca', dataset.classes))
    options = {'length': length, 'temperature': 1.0, 'top_k': 0, **options}
    return np.asarray(draw(state['variables'], prompt, seed, slot['hyper'], options))

  prompt = text.encode('abca', dataset.classes)
  params = state['variables']['model']['params']
  return config, params, prompt, sample


def test_samples_are_reproducible_and_greedy_at_the_limits(writer):
  config, params, prompt, sample = writer
  expected = greedy(config, params, prompt, 12)
  for options in (
    {'temperature': 0.0},
    {'temperature': 0.0, 'top_k': 3},
    {'top_k': 1},
    {'temperature': 1e-4},
  ):
    for seed in (0, 1):
      np.testing.assert_array_equal(sample(seed, **options), expected)
  one = sample(0, 60)
  assert one.dtype == np.int32
  assert one.shape == (60,)
  np.testing.assert_array_equal(one, sample(0, 60))
  np.testing.assert_array_equal(one[:12], sample(0, 12))
  assert (one != sample(1, 60)).any()
  assert set(one) <= set(range(5))


def test_top_k_draws_among_the_likeliest(writer):
  config, params, prompt, sample = writer
  found, ranks = list(prompt), []
  for symbol in sample(2, 40, top_k=2, temperature=5.0):
    log_p, _ = chances(config, params, found)
    ranks.append(int((log_p[-1] > log_p[-1][symbol]).sum()))
    found.append(int(symbol))
  assert set(ranks) == {0, 1}
  np.testing.assert_array_equal(sample(2, 40, top_k=9), sample(2, 40))  # all there are


def test_temperature_divides_the_logits():
  """Oracle: frequencies of a memoryless source, within binomial bounds."""
  logits = jnp.log(jnp.array([[0.6, 0.3, 0.1]]))
  predict = lambda x, carry: (jnp.broadcast_to(logits, (1, len(x), 3)), carry)
  for temperature in (0.5, 1.0, 2.0):
    found = language.generate(
      predict, jnp.array([0]), rng.Keys(rng.root(0)), length=4000,
      temperature=temperature, top_k=0,
    )  # fmt: skip
    p = np.array([0.6, 0.3, 0.1]) ** (1 / temperature)
    p /= p.sum()
    share = np.bincount(found, minlength=3) / 4000
    assert (np.abs(share - p) < 4 * np.sqrt(p * (1 - p) / 4000)).all()


@pytest.mark.parametrize('order', ['lanes', 'shuffled'])
def test_a_cycle_is_learned_and_written(order):
  config = make_config({
    'data.order': order, 'model.hidden': 12, 'train.steps': 150,
    'train.batch_size': 6,
  })  # fmt: skip
  bench = tiny.make_bench(config, 'map', 1, dataset=load(config, 'abc' * 160))
  result = bench.train([bench.slot(0)], deciding='nats')
  values = result.records[0]['values']
  assert values['final/test/nats'] < 0.05
  assert values['final/test/accuracy'] == 1.0
  variables = {'model': tiny.pick(result.variables['model'], 0)}
  prompt = jnp.asarray(text.encode('abcab', bench.dataset.classes))
  options = {'length': 20, 'temperature': 0.5, 'top_k': 0}
  sample = sampler(bench.program.member)
  found = sample(variables, prompt, 0, bench.slot(0)['hyper'], options)
  assert text.decode(found, bench.dataset.classes) == ('cab' * 7)[:20]


def test_copying_is_scored_on_what_is_to_be_said():
  """Data without a unit of text: no samples, no lanes, nothing carried."""
  config = config_lib.resolve(config_lib.base('recurrent', 'copy', 'language'))
  changes = {
    'data.lag': 3, 'data.length': 2, 'data.train_size': 40, 'data.test_size': 12,
    'data.validation_size': 12, 'model.hidden': 4, 'train.batch_size': 8,
  }  # fmt: skip
  config = config_lib.override(config, changes.items())
  dataset = config_lib.find('data', 'copy').load(config['data'])
  member = member_lib.make(config, dataset)
  assert member.task.sample is None
  state, slot = run(config, dataset, member, 3)
  assert 'carry' not in state['variables']['model']
  values = cases.jit(member.evaluate)(state, slot, dataset.arrays)
  params = state['variables']['model']['params']
  rows = dataset.split(0)['test']
  nats = []
  for row in rows:
    log_p, _ = chances(config, params, dataset.arrays['input'][row])
    targets = dataset.arrays['target'][row]
    nats += [-log_p[t, targets[t]] for t in (-2, -1)]
  sums = jax.tree.map(lambda v: v[1:].sum(), values['nats'])
  assert float(sums['count']) == 2 * 12
  assert float(sums['sum'] / sums['count']) == pytest.approx(np.mean(nats), rel=1e-5)


# The report's look, strategies, mistakes


def test_show_traces_a_window_and_how_far_back_it_depends():
  config, dataset, member = make({'train.steps': 5})
  state, slot = run(config, dataset, member, 5)
  rows = dataset.split(3)['test'][:4]
  batch = dataset.take(dataset.arrays, rows, train=False)
  keys = rng.Keys(rng.root(0))
  found = cases.jit(member.task.show)(state['variables'], batch, keys, slot['hyper'])
  steps, params = CONTEXT + SCORED, state['variables']['model']['params']
  assert found['trace/cell'].shape == found['trace/gates/forget'].shape == (steps, 6)
  np.testing.assert_array_equal(found['trace/text'], batch['input'][0])
  x = np.asarray(params['embedding'], np.float64)[batch['input']]
  layer = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params['layer0'])
  hidden, _ = oracle.run_layer(config['model'], layer, x[0])
  np.testing.assert_allclose(found['trace/hidden'], hidden, atol=1e-5)
  # How the last symbol's nats change with what was read; by central differences.
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

  def last(x, b):
    logits, _ = oracle.run(config['model'], params, x[None], every=True)
    logits = logits[0, -1]
    return np.log(np.exp(logits).sum()) - logits[batch['target'][b, -1]]

  norms = np.zeros((steps, 4))
  for b in range(4):
    for t in range(steps):
      slope = []
      for unit in range(3):
        step = np.zeros_like(x[b])
        step[t, unit] = 1e-5
        slope.append((last(x[b] + step, b) - last(x[b] - step, b)) / 2e-5)
      norms[t, b] = np.linalg.norm(slope)
  expected = norms.mean(1)[::-1]
  np.testing.assert_allclose(found['lag/norms'], expected, rtol=1e-3, atol=1e-6)
  assert set(found) >= {'text/prompt', 'text/sample', 'trace/gates/candidate'}
  assert found['text/sample'].shape == (language.LENGTH,)


@pytest.mark.slow
def test_strategies_agree_with_a_carried_state():
  config = make_config({'train.evaluations': 2, 'model.dropout': 0.1})
  dataset, results = load(config), []
  for strategy, width, devices in (('map', 2, 1), ('vmap', 2, 1), ('vmap', 1, 2)):
    bench = tiny.make_bench(config, strategy, width, devices, dataset=dataset)
    slots = [bench.slot(5), bench.slot(6, optimizer__learning_rate=0.01)]
    results.append(bench.train(slots, deciding='nats'))
  for other in results[1:]:
    for at in range(2):
      one, two = (r.records[at]['values'] for r in (results[0], other))
      assert one == pytest.approx(two, rel=1e-3)
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        tiny.pick(results[0].variables, at),
        tiny.pick(other.variables, at),
      )


def test_a_run_goes_on_after_a_break_with_its_state():
  """Two stretches are one, to the bit: the carry is part of the state."""
  config, dataset, member = make()
  whole, slot = run(config, dataset, member, 9)
  part, _ = run(config, dataset, member, 4)
  stretch = cases.jit(member.stretch)
  rest = stretch(part, slot, dataset.arrays, 4, 9, False)
  assert tiny.same(whole, rest)


ONCE = (
  'task language needs a model that answers at every step, with logits [B, T, V] of '
  'windows [B, T]; {} gives (2, 5) for (2, 7), V=5'
)


@pytest.mark.parametrize(
  ('model', 'expected'),
  [
    ('mlp', ONCE.format('mlp')),
    ('cnn', 'model cnn needs images [H, W, C]; the data set has symbols'),
    ('alexnet', 'model alexnet needs images [H, W, C]; the data set has symbols'),
    ('tests.tasks.test_language', ONCE.format('tests.tasks.test_language')),
  ],
)
def test_models_that_answer_once_are_one_line(model, expected):
  config = make_config({'data.window': WINDOW}, model=model)
  with pytest.raises(errors.UserError) as caught:
    language.build(config, load(config))
  assert str(caught.value) == expected


class Averages(nn.Module):
  """A user's causal model without a state: means of all symbols so far."""

  outputs: int

  @nn.compact
  def __call__(self, x, *, train, hyper):
    x = nn.Embed(self.outputs, 8, name='embedding')(x)
    counts = jnp.arange(1, x.shape[1] + 1)[:, None]
    past = jnp.concatenate([x, jnp.cumsum(x, 1) / counts], -1)
    return nn.Dense(self.outputs, name='output')(past)


def test_a_model_without_carry_reads_every_window_by_itself(monkeypatch):
  """Oracle of samples: the likeliest symbol after the last WINDOW ones, in a loop."""
  monkeypatch.setitem(globals(), 'build', lambda config: Averages(config['outputs']))
  own = {k: v for k, v in TEXT.items() if not k.startswith('model')}
  config = make_config({**own, 'data.context': 0}, model='tests.tasks.test_language')
  dataset = load(config)
  member = member_lib.make(config, dataset)
  state, _ = run(config, dataset, member, 10)
  assert int(state['diverged']) < 0
  assert 'carry' not in state['variables']['model']
  params = state['variables']['model']
  keys = rng.Keys(rng.root(0))
  options = {'length': 12, 'temperature': 0.0, 'top_k': 0}
  variables = state['variables']
  hyper = {path: jnp.float32(0) for path in config_lib.traced_paths(config)}
  symbols = [1, 2, 0]
  sample = language.build(config, dataset).sample(
    variables, jnp.array(symbols), keys, hyper, options
  )
  module = Averages(len(dataset.classes))
  for symbol in np.asarray(sample):
    x = jnp.array([symbols[-WINDOW:]])
    logits = module.apply(params, x, train=False, hyper=hyper)
    assert symbol == int(logits[0, -1].argmax())
    symbols.append(int(symbol))


def test_looking_ahead_is_one_line():
  config = make_config({'model.bidirectional': True})
  with pytest.raises(errors.UserError) as caught:
    language.build(config, load(config))
  assert str(caught.value).startswith('config.model.bidirectional: a backward direct')
  assert '\n' not in str(caught.value)


def test_images_are_one_line():
  config = make_config()
  with pytest.raises(errors.UserError) as caught:
    language.build(config, tiny.load(tiny.make_config()))
  assert str(caught.value) == (
    "task language needs symbols; data set 'digits' has image, label"
  )


def test_too_few_windows_are_one_line():
  config = make_config({'train.batch_size': 500})
  with pytest.raises(errors.UserError, match=r'batch_size=500 exceeds the \d+ tr'):
    member_lib.make(config, load(config))


def test_a_users_cell_carries_its_own_state():
  """flax's LSTM, whose carry is a pair."""
  changes = {'model.cell': 'flax.linen.LSTMCell', 'optimizer.learning_rate': 0.0}
  config, dataset, member = make(changes)
  state, _ = run(config, dataset, member, 3)
  model = state['variables']['model']
  rows = next(plan(dataset, 3, 1))[0]
  for lane, row in enumerate(rows):
    x = model['params']['embedding'][dataset.arrays['text'][row : row + 3 * WINDOW]]
    loop = nn.RNN(nn.LSTMCell(6, name='cell'), return_carry=True)
    last, _ = loop.apply({'params': model['params']['layer0']}, x[None])
    for found, expected in zip(model['carry'][0], last):
      np.testing.assert_allclose(found[lane], expected[0], atol=1e-5)


def test_facts_of_a_data_set_without_text_make_no_samples():
  config = make_config()
  dataset = load(config)
  facts = {key: value for key, value in dataset.facts.items() if key != 'unit'}
  task = language.build(config, dataset._replace(facts=facts))
  assert isinstance(task, types.Task)
  assert task.sample is None


# Keys and values carried from window to window


def make_carrying(changes=None):
  """A transformer whose memory holds two windows."""
  own = {key: value for key, value in TEXT.items() if not key.startswith('model.')}
  own |= {'model.width': 8, 'model.heads': 2, 'model.layers': 1}
  own |= {'model.memory': 2 * WINDOW, 'optimizer.learning_rate': 0.0}
  config = make_config({**own, **(changes or {})}, 'attention')
  dataset = load(config)
  return config, dataset, member_lib.make(config, dataset)


def test_a_memory_of_keys_is_carried_within_an_epoch():
  """Nothing moves at a learning rate of 0. Oracle: each lane as one sequence."""
  config, dataset, member = make_carrying()
  state, slot = run(config, dataset, member, 3)
  model, whole = state['variables']['model'], dataset.arrays['text']
  assert model['carry'][0].valid.all()  # two windows lie before the fourth
  starts = [rows for rows, _ in plan(dataset, 3, 3)]
  x = np.stack([whole[at : at + 3 * WINDOW] for at in starts[0]])
  targets = np.stack([whole[at + 1 : at + 1 + 3 * WINDOW] for at in starts[0]])
  module = member.task.players['model'].module
  logits = cases.jit(
    lambda x: module.apply(
      {'params': model['params']}, x, train=False, hyper=slot['hyper']
    )
  )(x.astype(np.int32))
  log_p = np.take_along_axis(
    np.asarray(jax.nn.log_softmax(logits)), targets[..., None].astype(int), 2
  )
  found = float(state['sums']['nats'] / state['sums']['steps'])
  assert found == pytest.approx(-log_p.mean(), rel=1e-5)


def test_a_transformer_writes_with_its_memory_what_it_writes_without():
  """Greedy samples of one set of parameters, as long as both see the whole prefix."""
  found = []
  for memory in (0, 2 * WINDOW):
    config, dataset, member = make_carrying(
      {'model.memory': memory, 'model.positions': 'none', 'data.window': 3 * WINDOW}
    )
    state, slot = run(config, dataset, member, 0)
    prompt = jnp.asarray(text.encode('abca', dataset.classes))
    options = {'length': 2 * WINDOW - 3, 'temperature': 0.0, 'top_k': 0}
    found.append(sampler(member)(state['variables'], prompt, 0, slot['hyper'], options))
  np.testing.assert_array_equal(*found)


def test_a_memory_without_carried_state_is_one_line():
  for changes in ({'task.carry': False}, {'data.order': 'shuffled'}):
    with pytest.raises(errors.UserError, match='memory=14 needs a state that is'):
      make_carrying(changes)
  with pytest.raises(errors.UserError, match='memory=500 is longer than the 483 sym'):
    make_carrying({'model.memory': 500})
