"""Coverage of the intervals of worth in doublings, by simulation.

Three ideas on power laws with a floor: one doubles the compute that an arm makes use
of, one halves it at small budgets and multiplies it by eight at large ones, one does
nothing. Six candidates, four of them within a tenth of the best; runs scatter by 6 %,
errors on validation and test correlate. Covered is what the same frontiers are worth
without noise.

`python -m tests.analysis.test_frontier_coverage` prints the figures of
docs/statistics.md.
"""

from typing import NamedTuple

import numpy as np
import pytest

from dlsteroids.analysis import frontier
from tests.fixtures import frontier_cases as cases

IDEAS = ('doubles', 'crosses', 'nothing')
OWN, FAR = 4.0 ** np.arange(2, 10), 4.0 ** np.arange(2, 12)
TARGETS = (0.093, 0.045, 0.022)
WORSE = (1.3, 1.02, 1.0, 1.03, 1.4, 1.1)
NOISE = cases.Noise(seed=0.02, run=0.05, split=0.03)
ERRORS = cases.power_law(cases.crossing)


class Coverage(NamedTuple):
  """Of one quantity.

  Attributes:
    truth: its value without noise.
    bias, spread: mean error and SD of the estimates.
    coverage: share of intervals that hold the truth.
    width: their median.
  """

  truth: float
  bias: float
  spread: float
  coverage: float
  width: float


def trace(rng=None, seeds=2, tuning=1, worse=(1.0,), noise=cases.NO_NOISE, times=499):
  budgets = {toolbox: OWN if toolbox else FAR for toolbox in range(8)}
  evidence = cases.evidence(
    IDEAS, ERRORS, budgets,
    seeds=seeds, tuning=tuning, worse=worse, noise=noise, rng=rng,
  )  # fmt: skip
  return frontier.trace(evidence, cases.NATS, times)


def quantities(front):
  """The estimates and intervals by name."""
  result = {}
  for target in TARGETS:
    row = frontier.worth_at(front, target)
    result['together', target] = row.together
    result |= {(idea.idea, target): idea.shapley for idea in row.ideas}
  result['slope', ''] = frontier.growth(front, TARGETS).per_doubling
  ends = frontier.compare_ends(front, 256, 4**7)
  result['share', ''] = ends.ideas_share
  return result


def simulate(n, tuning, times=300):
  """Coverage by quantity, of n seeds of the claim and some of the search."""
  truth = {name: worth.value for name, worth in quantities(trace(times=1)).items()}
  rows = {name: [] for name in truth}
  for i in range(times):
    rng = np.random.default_rng([n, tuning, i])
    for name, worth in quantities(trace(rng, n, tuning, WORSE, NOISE)).items():
      rows[name].append((worth.value, worth.ci_low, worth.ci_high))
  result = {}
  for name, true in truth.items():
    value, low, high = np.array(rows[name]).T
    held = ((low <= true) & (true <= high)).mean()
    result[name] = Coverage(
      true, np.nanmean(value) - true, np.nanstd(value), held, np.median(high - low)
    )
  return result


@pytest.mark.slow
@pytest.mark.parametrize('tuning', [2, 4])
@pytest.mark.parametrize('n', [8, 20])
def test_coverage(n, tuning):
  result = simulate(n, tuning, 200)
  for name, row in result.items():
    assert row.coverage > 0.90, (name, row)  # .93 less three standard errors
  together = np.mean([result['together', t].coverage for t in TARGETS])
  assert 0.92 < together < 0.995
  assert all(abs(row.bias) < 0.08 for row in result.values())


if __name__ == '__main__':
  import sys

  for argument in sys.argv[1:] or ['8:2', '12:2', '20:2', '8:4', '12:4', '20:4']:
    seeds, tuning = map(int, argument.split(':'))
    for (quantity, target), row in simulate(seeds, tuning).items():
      numbers = ' '.join(f'{value:.3f}' for value in row)
      print(seeds, tuning, quantity, target, numbers, flush=True)
