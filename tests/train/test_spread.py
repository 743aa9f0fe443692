"""One run's batch over two devices; oracle: the same run on one."""

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids.models.ops import sharding
from dlsteroids.plan import layouts
from dlsteroids.train import member as member_lib
from dlsteroids.train import program as program_lib
from dlsteroids.train import spread
from dlsteroids.util import errors
from tests.fixtures import tiny

pytestmark = pytest.mark.usefixtures('quick')
P = jax.sharding.PartitionSpec
SMALL = {
  'train.steps': 4,
  'train.evaluations': 2,
  'train.batch_size': 13,  # does not divide, and nothing else in the nets is 7 or 13
  'train.eval_batch': 101,
}
CNN = {**tiny.CNN, 'model.widths': (16,), 'data.crop': 1, 'data.flip': True}
LSTM = {'model.hidden': 4, 'model.embedding': 3, 'data.window': 5}
GAN = {
  'train.batch_size': 14,  # of 13 the layer that noise enters would be made whole
  **{'data.range': 'tanh', 'data.examples': 96, 'task.critic_steps': 2},
  **{'model.width': 4, 'model.discriminator_width': 4, 'model.latent': 3},
  **{'optimizer.name': 'adam', 'optimizer.learning_rate': 1e-3},
}
PENALTY = {'model.discriminator_norm': 'layer', 'task.penalty': 'gradient'}
CASES = {
  'cnn': ('cnn', 'digits', 'classify', {'data.examples': 96, **CNN}),
  'lstm': ('recurrent', 'python_docs', 'language', LSTM),
  'gan': ('dcgan', 'digits', 'gan', {**GAN, **PENALTY}),
}


def make(case):
  model, data, task, changes = CASES[case]
  tree = config_lib.resolve(config_lib.base(model=model, data=data, task=task))
  config = config_lib.override(tree, {**SMALL, **changes}.items())
  dataset = config_lib.find('data', data).load(config['data'])
  member = member_lib.make(config, dataset)
  metric = next(name for name, m in member.task.metrics.items() if m.better)
  return config, dataset, member, metric


OPERATION = re.compile(r'= (\w+)\[([\d,]*)\]\S* (\w[\w-]*)\(')


def shapes(program, names):
  """(name, shape) of the named operations of a compiled training stretch."""
  found = OPERATION.findall(program.stretch.as_text())
  return {
    (name, tuple(int(n) for n in shape.split(',') if n))
    for _, shape, name in found
    if name in names
  }


@pytest.mark.parametrize(
  'case',
  [pytest.param(c, marks=pytest.mark.slow if c != 'cnn' else ()) for c in CASES],
)
def test_a_batch_on_two_devices_trains_as_on_one(case):
  """Batch norm, carried state, crops, dropout, several moves, a gradient penalty."""
  config, dataset, member, metric = make(case)
  found = []
  for devices in (1, 2):
    bench = tiny.make_bench(
      config, 'map', 2, devices, dataset=dataset, member=member, data=devices
    )
    result = bench.train([bench.slot(3), bench.slot(8)], deciding=metric)
    found.append(result)
  one, two = found
  for at in (0, 1):
    rows = zip(one.records[at]['curves'], two.records[at]['curves'], strict=True)
    for (*name, expected), (*same, value) in rows:
      assert name == same
      assert value == pytest.approx(expected, rel=1e-3, abs=1e-4), name
  worst = jax.tree.map(
    lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(),
    one.variables,
    two.variables,
  )
  assert max(jax.tree.leaves(worst)) < 1e-3
  products = {'convolution', 'dot'}
  whole = config['train']['batch_size']
  size = -(-whole // 2)
  lengths = {n for _, shape in shapes(bench.program, products) for n in shape}
  steps = config['data'].get('window', 1)
  assert not lengths & {whole, whole * steps}  # every device computes its share only
  assert lengths & {size, size * steps}
  for _, shape in shapes(bench.program, {'all-gather', 'all-to-all'}):
    assert np.prod(shape) < 200, shape  # no images, and nothing of every step


def test_members_and_shares_together_and_devices_left_over():
  """Oracle: every member alone on one device; three groups would take six."""
  config = tiny.make_config({'train.batch_size': 13})
  alone = tiny.make_bench(config, 'vmap', 2)
  expected = alone.train([alone.slot(1), alone.slot(2)])
  layout = program_lib.Layout('vmap', 2, 2, 2)
  assert (layout.groups, layout.members) == (1, 2)
  both = tiny.make_bench(config, 'vmap', 2, 2, data=2)
  found = both.train([both.slot(1), both.slot(2)])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    jax.device_get(expected.variables),
    jax.device_get(found.variables),
  )


def test_what_runs_share_by_share_has_the_sums_and_gradients_of_the_whole():
  mesh = program_lib.make_mesh(program_lib.Layout('map', 1, 2, 2))
  weights = jnp.arange(6.0).reshape(3, 2)
  x = jax.random.normal(jax.random.key(0), (4, 5, 3))  # the examples run second

  def function(weights, x):
    return jnp.tanh(x @ weights), {'sum': (x**2).sum((0, 1)), 'none': None}

  def value(weights, x):
    how = (function, (weights, x), (None, 1), (1, None))
    rows, sums = sharding.apart(*how)
    return (rows**3).sum() + sums['sum'].prod(), rows

  def run(weights, x):
    with spread.over(2):
      return jax.grad(value, (0, 1), has_aux=True)(weights, x)

  split = jax.shard_map(
    run, mesh=mesh, in_specs=(P(), P()), out_specs=P(), axis_names={'member'},
    check_vma=False,
  )  # fmt: skip
  expected = jax.grad(value, (0, 1), has_aux=True)(weights, x)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    jax.jit(split)(weights, x),
    expected,
  )


def lay_out(before=None, **engine):
  """The layout by rule of an MLP on this machine of two devices."""
  tree = config_lib.resolve(config_lib.base(model='mlp', data='digits'))
  pairs = {f'engine.{name}': value for name, value in engine.items()}
  facts = types.SimpleNamespace(
    convolves=False,
    recurs=False,
    primitives=(),
    state_bytes=1,
    activation_bytes=1,
    evaluation_bytes=1,
  )
  return layouts.choose(config_lib.override(tree, pairs.items()), facts, written=before)


def test_a_plan_of_before_has_one_device_for_each_batch():
  before = {'strategy': 'vmap', 'width': 3}
  assert lay_out(before) == program_lib.Layout('vmap', 3, 2, 1)
  with pytest.raises(errors.UserError, match=r'planned with .*data_devices=1, not'):
    lay_out(before, data_devices=2)
  before |= {'data_devices': 2}
  assert lay_out(before, data_devices=2) == program_lib.Layout('vmap', 3, 2, 2)
  with pytest.raises(errors.UserError, match=r'planned with .*data_devices=2, not'):
    lay_out(before)


def test_groups_fit_the_devices_there_are():
  assert lay_out(data_devices=2).groups == 1
  with pytest.raises(errors.UserError, match='data_devices=3, but there are 2 dev'):
    lay_out(data_devices=3)
  with pytest.raises(errors.UserError, match='at least 1'):
    lay_out(data_devices=0)
