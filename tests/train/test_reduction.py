"""Metrics that the devices reduce; oracle: the same numbers by numpy, run by run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids import types
from dlsteroids.train import history, program, reduction
from dlsteroids.train import member as member_lib
from dlsteroids.util import errors

BATCHES, COUNTS = {'validation': 2, 'test': 3}, {'validation': 7, 'test': 12}
SIZE = 4  # of a batch: padding at the end of validation, none at the end of test
pytestmark = pytest.mark.usefixtures('quick')


def measure(out):
  return {'x': out['x'], 'label': out['label']}


def summarise(rows):
  assert rows['x'].dtype == jnp.float64
  assert rows['label'].dtype == jnp.int32
  centred = rows['x'] - rows['x'].mean(0)
  return {'product': (centred[:, :, None] * centred[:, None]).sum(0)[0, 1],
          'labels': rows['label'].sum()}  # fmt: skip


def by_numpy(rows):
  x = np.asarray(rows['x'], np.float64)
  return {'': np.cov(x, rowvar=False)[0, 1] * (len(x) - 1)}


METRICS = {
  'product': types.Metric(
    measure, lambda s: {'': s['product']}, 'lower', 1.0, 'concat', summarise
  ),
  'labels': types.Metric(
    measure, lambda s: {'': s['labels']}, 'lower', 1.0, 'concat', summarise
  ),
  'by_numpy': types.Metric(measure, by_numpy, 'lower', 1.0, 'concat'),
}
SOURCES = member_lib.sources(METRICS)


def values_of(members):
  """Rows near 1,000, of which float32 products would lose all digits."""
  draw = np.random.default_rng(0)
  shape = (members, sum(BATCHES.values()), SIZE)
  x = draw.normal(1000, 0.1, (*shape, 3)).astype(np.float32)
  return {'product': {'x': x, 'label': draw.integers(0, 9, shape, np.int32)}}


@pytest.mark.parametrize(
  ('strategy', 'width', 'devices', 'parts'),
  [('map', 2, 2, 3), ('vmap', 4, 2, 1)],
)
def test_members_are_reduced_as_by_numpy(strategy, width, devices, parts):
  layout = program.Layout(strategy, width, devices)
  own = reduction.make(METRICS, SOURCES, BATCHES, COUNTS)
  values = values_of(layout.members)
  live = np.arange(layout.members) < layout.members - 1  # the last one is padding
  cuts = np.array_split(np.arange(sum(BATCHES.values())), parts)
  member = member_lib.Member(*[None] * 8, [], None, own)
  reducer = program.Program(
    layout, member, program.make_mesh(layout), None, None, None,
    program.make_reduce(own, layout),
  )  # fmt: skip
  rows = [jax.tree.map(lambda x, cut=cut: jnp.asarray(x[:, cut]), values)
          for cut in cuts]  # fmt: skip
  results = jax.device_get(program.reduce_rows(reducer, rows, jnp.asarray(live)))
  first = 0
  for split, batches in BATCHES.items():
    for i in np.flatnonzero(live):
      part = slice(first, first + batches)
      numbers = history.finish(
        METRICS,
        jax.tree.map(lambda x, i=i, part=part: x[i][part], values),
        COUNTS[split],
        jax.tree.map(lambda x, i=i: x[i], results[split]),
      )
      wanted = numbers['by_numpy']['by_numpy']
      assert numbers['product']['product'] == pytest.approx(wanted, rel=1e-9)
      labels = values['product']['label'][i][part].reshape(-1)[: COUNTS[split]]
      assert numbers['labels']['labels'] == labels.sum()
    first += batches


def test_metrics_that_read_the_same_are_reduced_once():
  own = reduction.make(METRICS, SOURCES, BATCHES, COUNTS)
  assert [name for name, _ in own.functions] == ['product']
  assert own.rows == ('product',)
  assert own == reduction.make(METRICS, SOURCES, BATCHES, COUNTS)
  assert member_lib.host_sources(METRICS) == ['product']
  on_device = {name: METRICS[name] for name in ('product', 'labels')}
  assert member_lib.host_sources(on_device) == []
  layout = program.Layout('map', 1, 1)
  assert program.make_reduce(own, layout) is program.make_reduce(own, layout)


def test_a_group_with_fewer_members_is_reduced_as_a_batch_of_that_width(monkeypatch):
  widths = []

  def at_once(own, parts, width, platform, rule=reduction.at_once):
    widths.append(width)
    return rule(own, parts, width, platform)

  monkeypatch.setattr(reduction, 'at_once', at_once)
  own = reduction.make(METRICS, SOURCES, BATCHES, COUNTS)
  values = values_of(6)
  live = np.array([True, True, True, True, True, False])  # 3 and 2 members

  def reduce(layout, at):
    with program.wide():
      rows = jax.tree.map(lambda x: jnp.asarray(x[at]), values)
      run = program.make_reduce.__wrapped__(own, layout)
      return jax.device_get(run((rows,), jnp.asarray(live[at])))

  together = reduce(program.Layout('vmap', 3, 2, rest=2), slice(None))
  assert widths == [3, 2]
  for width, at in ((3, slice(0, 3)), (2, slice(3, 5))):
    alone = reduce(program.Layout('vmap', width, 1), at)
    jax.tree.map(lambda x, v, at=at: np.testing.assert_array_equal(x[at], v),
                 together, alone)  # fmt: skip


def test_without_such_metrics_there_is_no_reduction():
  alone = {'by_numpy': METRICS['by_numpy']}
  assert reduction.make(alone, member_lib.sources(alone), BATCHES, COUNTS) is None


def test_sums_have_no_rows_to_reduce():
  wrong = {'mean': METRICS['product']._replace(merge='sum')}
  with pytest.raises(errors.UserError, match=r"metric 'mean': reduce .* merge='conc"):
    reduction.make(wrong, SOURCES, BATCHES, COUNTS)


def test_members_side_by_side_divide_the_width_and_fit(monkeypatch):
  own = reduction.make(METRICS, SOURCES, BATCHES, COUNTS)
  one = jax.tree.map(lambda x: x[0], values_of(1))
  assert reduction.at_once(own, (one,), 6, 'cpu') == 6
  each = reduction.cost.peak(reduction.trace(own, (one,), 'cpu'))
  monkeypatch.setattr(reduction, 'BUDGET', 4 * each)
  assert reduction.at_once(own, (one,), 6, 'cpu') == 3
  monkeypatch.setattr(reduction, 'BUDGET', 1)
  assert reduction.at_once(own, (one,), 6, 'cpu') == 1
