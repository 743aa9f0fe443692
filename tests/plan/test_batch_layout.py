"""How many members a program trains a batch; oracle: the rule, by hand."""

import jax
import pytest

from dlsteroids import config as config_lib
from dlsteroids.plan import study_plan
from dlsteroids.train import inspect


def facts(convolves, state_bytes):
  return inspect.Facts(
    digest='',
    live=frozenset(),
    params=0,
    flops=1.0,
    executed_flops=1.0,
    activation_bytes=0,
    evaluation_bytes=0,
    state_bytes=state_bytes,
    traffic_bytes=0.0,
    unknown_loops=False,
    convolves=convolves,
    recurs=False,
    primitives=frozenset(),
    scalars=(),
  )


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='widths of a CPU')
@pytest.mark.parametrize(
  ('convolves', 'state_bytes', 'strategy', 'width'),
  [
    (True, 10**6, 'map', 8),
    (True, 2**26, 'map', 4),
    (True, 260_000_000, 'map', 1),
    (True, 2**33, 'map', 1),
    (False, 10**6, 'vmap', 5),
    (False, 2**28, 'vmap', 4),
  ],
)
def test_a_width_takes_no_more_than_its_bytes(convolves, state_bytes, strategy, width):
  config = config_lib.resolve(config_lib.base(model='mlp', data='digits'))
  found = study_plan.layout(config, facts(convolves, state_bytes), None)
  assert (found.strategy, found.width) == (strategy, width)


def test_what_was_planned_before_comes_first():
  config = config_lib.resolve(config_lib.base(model='mlp', data='digits'))
  before = {'strategy': 'map', 'width': 3}
  found = study_plan.layout(config, facts(True, 10**6), before)
  assert (found.strategy, found.width) == ('map', 3)
