"""Models of other libraries, from a package of a user's; oracle: the same linen net."""

import importlib
import pathlib
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlsteroids
from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.config import options
from dlsteroids.models.adapters import draws, kinds
from dlsteroids.plan import plugin_check
from dlsteroids.tasks.lib import network
from dlsteroids.train import cost
from dlsteroids.train import member as member_lib
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases
from tests.fixtures import studies_on_disk as disk
from tests.fixtures import tiny

pytestmark = pytest.mark.usefixtures('quick')

FIXTURES = pathlib.Path(__file__).parents[1] / 'fixtures'
KINDS = ('nnx', 'equinox', 'pair')
HYPER = {'model.scale': jnp.float32(1.0)}


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
  """The package `kindslab` of a user, and its module of models."""
  folder = tmp_path_factory.mktemp('lab')
  (folder / 'kindslab').mkdir()
  (folder / 'kindslab' / '__init__.py').touch()
  shutil.copy(FIXTURES / 'kinds_of_models.py', folder / 'kindslab' / 'nets.py')
  shutil.copy(FIXTURES / 'equinox_model.py', folder / 'kindslab')
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(folder))
    yield importlib.import_module('kindslab.nets')


def need(kind):
  if kind == 'equinox':
    pytest.importorskip('equinox', reason='Equinox is not installed')


def adapt(lab, kind, **changes):
  need(kind)
  config = {**options.defaults(lab), 'kind': kind, **changes}
  return kinds.adapt(lab.build, config, 'kindslab.nets')[0]


def initial(model, seed=0):
  """Every parameter of a model, by path."""
  x = jnp.zeros((2, 8, 8, 1))
  init = lambda seed: model.init(
    rng.Keys(rng.root(seed))('init'), x, train=False, hyper=HYPER
  )
  variables = jax.jit(init, compiler_options=cases.fast())(seed)
  leaves = jax.tree_util.tree_leaves_with_path(variables['params'])
  return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def train(kind):
  """Two members of three steps: their sums, and the FLOPs of a step."""
  changes = {'model.name': 'kindslab.nets', 'model.kind': kind}
  tree = dlsteroids.base(model='kindslab.nets', data='digits')
  config = config_lib.override(
    config_lib.resolve(tree), {**tiny.CHANGES, **changes}.items()
  )
  dataset = tiny.load(config)
  member = member_lib.make(config, dataset)
  data = {name: jnp.asarray(array) for name, array in dataset.arrays.items()}
  slot = member_lib.slot(config, dataset, 0)

  def run(slot):
    state = member.stretch(member.init(slot, data), slot, data, 0, 3, True)
    return state['sums'], state['variables'], member.evaluate(state, slot, data)

  slots = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 2), slot)
  slots['hyper']['model.scale'] = jnp.array([1.0, 0.5])
  result = jax.jit(jax.vmap(run), compiler_options=cases.fast())(slots)
  state, batch = member_lib.abstract(member, slot, data)
  step = lambda state, batch, slot: member.step(
    state, batch, rng.Keys(rng.root(0)), slot
  )
  return result, cost.nominal(step, state, batch, slot['hyper']).flops


@pytest.fixture(scope='module')
def linen(lab):
  return train('linen')


@pytest.mark.parametrize('kind', KINDS)
def test_members_train_as_the_linen_module_does(linen, kind):
  need(kind)
  (sums, variables, values), flops = train(kind)
  (expected, _, expected_values), expected_flops = linen
  assert flops == expected_flops
  np.testing.assert_allclose(sums['loss'], expected['loss'], rtol=1e-5)
  assert sums['loss'][0] != sums['loss'][1]  # the traced number
  if kind != 'equinox':  # whose running averages are not biased towards 0 and 1
    for got, want in zip(values['loss'].values(), expected_values['loss'].values()):
      np.testing.assert_allclose(got, want, rtol=1e-5)
  names = {'nnx': 'batch_stats', 'equinox': 'state', 'pair': 'state'}
  assert set(variables['model']) == {'params', names[kind]}


@pytest.mark.parametrize('kind', KINDS)
def test_a_layer_more_leaves_the_initial_values_of_the_others(lab, kind):
  plain = initial(adapt(lab, kind, fixed=False))
  more = initial(adapt(lab, kind, fixed=False, stem=True))
  other = initial(adapt(lab, kind, fixed=False), seed=1)
  assert plain.keys() < more.keys()
  for path, values in plain.items():
    assert values.tobytes() == more[path].tobytes(), path
    if values.ndim == 2:
      assert abs(values.std() * len(values) ** 0.5 - 1) < 0.25  # LeCun 1998
      assert not (values == other[path]).any()
  kernels = np.concatenate([v.ravel() for v in more.values() if v.ndim == 2])
  assert len(np.unique(kernels)) > 0.99 * len(kernels)


def test_draws_follow_paths():
  def init(key):
    first, second, third = jax.random.split(key, 3)
    w = jax.random.normal(first, (4,))
    stacked = jax.vmap(lambda k: jax.random.uniform(k, (2,)))(
      jax.random.split(second, 3)
    )
    noise = jax.random.gamma(third, 2.0, (4,))
    return {'w': w, 'copy': w, 'sum': w + noise, 'stacked': stacked, 'one': jnp.ones(2)}

  key = rng.root(0)
  tree = draws.by_path(init, key)
  assert jax.tree.map(jnp.shape, tree) == jax.tree.map(jnp.shape, init(key))
  assert (tree['w'] == tree['copy']).all()  # one draw stays one draw
  assert (tree['sum'] > tree['w']).all()
  assert len(np.unique(tree['stacked'])) == 6
  assert (tree['one'] == 1).all()
  again = draws.by_path(lambda key: {'copy': jax.random.normal(key, (4,))}, key)
  assert (again['copy'] == tree['copy']).all()


def test_what_an_nnx_module_sows_is_shown(lab):
  model = adapt(lab, 'nnx')
  x = jnp.ones((2, 8, 8, 1))
  variables = model.init(rng.root(0), x, train=False, hyper=HYPER)
  _, state = model.apply(
    variables, x, train=False, hyper=HYPER, mutable=['intermediates']
  )
  assert network.sown(state)['hidden'].shape == (2, 2, 2, 2)


def test_dropout_of_nnx_has_a_mask_a_place():
  from flax import nnx

  class Net(nnx.Module):
    def __init__(self, *, rngs):
      self.one, self.two = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
      return jnp.stack([self.one(x), self.two(x)])

  def build(config, *, rngs):
    return Net(rngs=rngs)

  model, _ = kinds.adapt(build, {}, 'nets')
  apply = lambda seed, train: model.apply(
    {}, jnp.ones(64), train=train, hyper={}, rngs={'dropout': rng.root(seed)}
  )
  one, two = apply(0, True)
  assert set(np.unique(one)) == {0, 2}
  assert (one != two).any()
  assert (one != apply(1, True)[0]).any()
  assert (one == apply(0, True)[0]).all()
  assert (apply(0, False) == 1).all()


def test_an_nnx_module_may_hold_arrays_and_variables_of_its_own():
  """Oracle: the user's module, called by hand."""
  from flax import nnx

  class Calls(nnx.Variable):
    pass

  class Net(nnx.Module):
    def __init__(self, *, rngs):
      self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs)])
      self.features = jax.random.normal(rngs.params(), (4, 4))
      self.mask = np.tri(4, dtype=np.float32)
      self.calls = Calls(jnp.zeros((), jnp.int32))

    def __call__(self, x):
      self.calls[...] += 1
      return self.layers[0](x @ (self.features * self.mask))

  def build(config, *, rngs):
    return Net(rngs=rngs)

  model, _ = kinds.adapt(build, {}, 'nets')
  x = jnp.ones((2, 4))
  init = jax.jit(lambda seed: model.init(rng.root(seed), x, train=False, hyper={}))
  variables, other = init(0), init(1)
  assert set(variables) == {'params', 'buffers', 'Calls'}
  assert (variables['buffers']['features'] != other['buffers']['features']).all()
  apply = jax.jit(lambda v: model.apply(v, x, train=True, hyper={}, mutable=['Calls']))
  output, state = apply(variables)
  assert int(state['Calls']['calls']) == 1
  np.testing.assert_allclose(output, model.rebuild(variables)(x), rtol=1e-6)


def test_nnx_scans_over_a_list_of_layers():
  from flax import nnx

  class Net(nnx.Module):
    def __init__(self, *, rngs):
      make = lambda rngs: nnx.Sequential(nnx.Linear(4, 4, rngs=rngs), nnx.tanh)
      self.layers = nnx.split_rngs(splits=2)(nnx.vmap(make))(rngs)

    def __call__(self, x):
      step = lambda x, layer: layer(x)
      return nnx.scan(step, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.layers)

  def build(config, *, rngs):
    return Net(rngs=rngs)

  model, _ = kinds.adapt(build, {}, 'nets')
  x = jnp.ones((2, 4))
  variables = model.init(rng.root(0), x, train=False, hyper={})
  output = model.apply(variables, x, train=False, hyper={})
  layer = variables['params']['layers']['layers']['0']
  for kernel, bias in zip(layer['kernel'], layer['bias']):
    x = jnp.tanh(x @ kernel + bias)
  np.testing.assert_allclose(output, x, rtol=1e-6, atol=1e-6)


def test_a_linen_module_within_an_nnx_module_has_values_when_it_was_shown_an_example():
  from flax import linen, nnx

  class Net(nnx.Module):
    def __init__(self, shown, rngs):
      self.body = nnx.bridge.ToNNX(linen.Dense(3), rngs=rngs)
      if shown:
        self.body.lazy_init(jnp.ones((1, 2)))

    def __call__(self, x, *, train):
      return self.body(x)

  model, _ = kinds.adapt(
    lambda config, *, rngs: Net(config['shown'], rngs), {'shown': True}, 'net'
  )
  x = jnp.ones((4, 2))
  variables = model.init(rng.root(0), x, train=False, hyper={})
  kernel = variables['params']['body']['kernel']
  for mutable in (False, ['intermediates']):
    output = model.apply(variables, x, train=False, hyper={}, mutable=mutable)
    output = output[0] if mutable else output
    np.testing.assert_allclose(output, x @ kernel, rtol=1e-6, atol=1e-6)
  with pytest.raises(errors.UserError, match=r'no values yet, body: .*\.lazy_init'):
    kinds.adapt(lambda config, *, rngs: Net(False, rngs), {}, 'net')


def test_numbers_of_python_are_parameters_of_a_pair():
  model, _ = kinds.adapt(
    lambda config: (
      lambda key, x: {'scale': 2.0},
      lambda params, x: params['scale'] * x,
    ),
    {},
    'nets',
  )
  variables = model.init(rng.root(0), jnp.ones(3), train=False, hyper={})
  assert variables['params']['scale'].dtype == jnp.float32
  output = model.apply(variables, jnp.ones(3), train=False, hyper={})
  np.testing.assert_array_equal(output, 2.0)


def wrong_pairs():
  w, n = {'w': jnp.ones(2)}, {'n': jnp.zeros((), jnp.int32)}
  takes_state = lambda state: lambda params, x, *, state=state: (x, state)
  yield 'integers', (lambda key, x: n, lambda params, x: x), "'n' of int32: what is"
  yield 'half', (lambda key, x: {'w': jnp.ones(2, 'bfloat16')}, max), "'w' of bfloat16"
  yield (
    'no_state',
    (lambda key, x: w, takes_state(None)),
    r'\(params, state\), not dict',
  )
  yield (
    'no_new_state',
    (lambda key, x: (w, n), lambda params, x, *, state: x),
    r'must return \(output, state\)',
  )
  yield (
    'other_type',
    (lambda key, x: (w, n), lambda params, x, *, state: (x, {'n': state['n'] + 0.5})),
    r"begins with 'n' as int32\[\] and leaves it as float32\[\]",
  )
  yield (
    'other_names',
    (lambda key, x: (w, n), lambda params, x, *, state: (x, {**state, 'm': x})),
    "begins with 'm' as nothing",
  )


@pytest.mark.parametrize(('pair', 'line'), [
  pytest.param(pair, line, id=name) for name, pair, line in wrong_pairs()
])  # fmt: skip
def test_a_pair_that_keeps_no_contract_is_one_line(pair, line):
  model, _ = kinds.adapt(lambda config: pair, {}, 'nets')
  x = jnp.ones((2, 3))

  def step():
    variables = model.init(rng.root(0), x, train=False, hyper={})
    model.apply(variables, x, train=True, hyper={}, mutable=['state'])

  with pytest.raises(errors.UserError, match=line):
    step()


def test_equinox_examples_have_a_key_and_a_carry_each():
  eqx = pytest.importorskip('equinox', reason='Equinox is not installed')

  class Net(eqx.Module):
    dropout: eqx.nn.Dropout

    def __call__(self, x, *, key, carry):
      carry = jnp.zeros(()) if isinstance(carry, tuple) else carry
      total = carry + jnp.cumsum(x)
      return self.dropout(total, key=key), total[-1]

  def build(config, *, key):
    return Net(eqx.nn.Dropout(0.5))

  model, _ = kinds.adapt(build, {}, 'nets')
  x = jnp.ones((3, 32))
  call = lambda x, carry, train: model.apply(
    {}, x, train=train, hyper={}, rngs={'dropout': rng.root(0)}, carry=carry
  )
  output, _ = call(x, (), True)
  assert (output[0] != output[1]).any()
  whole, last = call(x, (), False)
  half, carry = call(x[:, :16], (), False)
  rest, end = call(x[:, 16:], carry, False)
  np.testing.assert_array_equal(jnp.concatenate([half, rest], 1), whole)
  np.testing.assert_array_equal(end, last)


def test_a_study_of_three_kinds_trains_alike_and_resumes(lab, tmp_path, monkeypatch):
  from flax import nnx

  eqx = pytest.importorskip('equinox', reason='Equinox is not installed')
  disk.spare_figures(monkeypatch)
  config = dlsteroids.base(model='kindslab.nets', data='digits')
  with config.unlocked():
    config.study.name, config.study.seeds = 'kinds', 2
    config.data.examples, config.engine.keep = 96, 'last'
    config.train.steps, config.train.batch_size, config.train.evaluations = 4, 16, 2
    config.model.kind = 'nnx'
  factors = [
    dlsteroids.factor('kind', 'model.kind', *KINDS),
    dlsteroids.factor('scale', 'model.scale', 1.0, 0.5),
  ]
  answer = dlsteroids.run(config, tmp_path / 'work', factors=factors)
  losses = answer.runs.set_index(['arm', 'seed'])['test/loss'].unstack()
  np.testing.assert_allclose(losses.loc['baseline'], losses.loc['kind=pair'], rtol=1e-5)
  assert (losses.loc['scale=0.5'] != losses.loc['baseline']).all()
  says = []
  again = dlsteroids.run(config, tmp_path / 'work', factors=factors, say=says.append)
  assert not [line for line in says if 'training' in line]
  assert again.runs['test/loss'].equals(answer.runs['test/loss'])
  for arm in ('baseline', 'kind=equinox', 'kind=pair'):
    trained = dlsteroids.load(tmp_path / 'work', arm=arm, seed=0)
    images = trained.dataset.arrays['image'][:3]
    logits = trained.apply(images)
    x = trained.preprocess(images)['image']
    if arm == 'baseline':
      module = trained.module.rebuild(trained.variables)
      module.eval()
      own, _ = nnx.capture(module, nnx.Intermediate)(x, hyper=trained.hyper)
    elif arm == 'kind=equinox':
      module, state = trained.module.rebuild(trained.variables)
      module = eqx.nn.inference_mode(module)
      own = jnp.stack([module(row, state, hyper=trained.hyper)[0] for row in x])
    else:
      own = trained.module.apply(trained.variables, x, train=False, hyper=trained.hyper)
    np.testing.assert_allclose(logits, own, rtol=1e-5, atol=1e-6)


def test_check_says_which_kind(lab, monkeypatch):
  monkeypatch.setitem(lab.OPTIONS, 'kind', 'pair')
  monkeypatch.setitem(lab.OPTIONS, 'fixed', False)
  assert plugin_check.check('kindslab.nets') == [
    'note: kindslab.nets: build returns a pair (init, apply)'
  ]


def test_check_warns_of_lists_of_layers():
  params = {'body': {'layers': {'0': {'weight': jnp.ones(2)}, '1': jnp.ones(2)}}}
  (line,) = plugin_check._check_params('nets', params)
  assert line.startswith('warning: nets: body.layers is a list')


def mistakes():
  from flax import nnx

  class Nnx(nnx.Module):
    pass

  yield (
    'none',
    lambda config: None,
    'build returned None; it must return a linen module',
  )
  yield 'class', lambda config: Nnx, 'the class Nnx, not an instance of it'
  yield 'tuple', lambda config: (1, 'x'), 'a tuple of int, str'
  yield 'keyless', lambda config: Nnx(), r'write build\(config, \*, rngs\)'


@pytest.mark.parametrize(('build', 'line'), [
  pytest.param(build, line, id=name) for name, build, line in mistakes()
])  # fmt: skip
def test_a_model_of_no_known_kind_is_one_line(build, line):
  with pytest.raises(errors.UserError, match=line) as caught:
    kinds.adapt(build, {}, 'mylab.nets')
  assert str(caught.value).startswith('model mylab.nets: build returned ')


def test_a_state_that_the_call_does_not_take_is_one_line():
  eqx = pytest.importorskip('equinox', reason='Equinox is not installed')

  class Net(eqx.Module):
    norm: eqx.nn.BatchNorm

    def __init__(self):
      self.norm = eqx.nn.BatchNorm(8, 'batch', mode='batch')

    def __call__(self, x):
      return x

  def build(config, *, key):
    return eqx.nn.make_with_state(Net)()

  with pytest.raises(errors.UserError, match='the call of Net does not take state'):
    kinds.adapt(build, {}, 'mylab.nets')


def test_equinox_is_imported_only_for_its_modules(monkeypatch):
  monkeypatch.delitem(sys.modules, 'equinox', raising=False)
  from flax import linen

  kinds.adapt(lambda config: linen.Dense(3), {}, 'mylab.nets')
  assert 'equinox' not in sys.modules
