"""The two-way interval against slow loops that draw one example at a time."""

import numpy as np
import pytest

from dlsteroids.analysis import two_way
from tests.fixtures import studies

N, SEEDS = 120, 6


def make(official: bool, seed: int = 0):
  study = studies.make_study(['a'], SEEDS, data={'official_test': official})
  rng = np.random.default_rng(seed)
  hard = rng.uniform(0, 0.3, 400)  # examples differ in how often they are missed
  stored = {}
  for s in range(SEEDS):
    index = np.arange(N) if official else rng.permutation(400)[:N]
    for arm, extra in (('baseline', 0.0), ('a=no', 0.08 + 0.02 * s)):
      order = rng.permutation(N)
      right = rng.uniform(size=N) > hard[index] + extra
      label = index % 10
      stored[arm, s] = {
        'test/index': index[order],
        'test/prediction': np.where(right, label, label + 1)[order],
        'test/label': label[order],
      }
  runs = studies.make_runs(study, {a['name']: [0.5] * SEEDS for a in study['arms']})
  return study, runs, stored, lambda arm, s: stored.get((arm, s))


def differences(stored):
  table = []
  for s in range(SEEDS):
    sides = []
    for arm in ('a=no', 'baseline'):
      run = stored[arm, s]
      right = run['test/prediction'] == run['test/label']
      sides.append(dict(zip(run['test/index'].tolist(), right.tolist())))
    table.append([sides[0][i] - sides[1][i] for i in sorted(sides[0])])
  return np.array(table)


@pytest.mark.parametrize('official', [True, False])
def test_interval_equals_a_slow_bootstrap(official):
  study, runs, stored, arrays = make(official)
  found = two_way.two_way(study, runs, arrays, study['contrasts'][0])
  table = differences(stored)
  rng = np.random.default_rng(123)
  means = []
  for _ in range(3000):
    rows = rng.integers(SEEDS, size=SEEDS)
    if official:
      columns = np.broadcast_to(rng.integers(N, size=N), (SEEDS, N))
    else:
      columns = rng.integers(N, size=(SEEDS, N))
    means.append(np.take_along_axis(table[rows], columns, 1).mean())
  assert found is not None
  assert found.delta == pytest.approx(table.mean(), abs=1e-12)
  expected = np.quantile(means, [0.025, 0.975])
  assert (found.low, found.high) == pytest.approx(expected, abs=0.006)
  assert found[3:] == (SEEDS, N, not official)
  assert two_way.two_way(study, runs, arrays, study['contrasts'][0]) == found
  tuned = lambda arm, seed, state=0: arrays(arm, seed) if state else None
  contrast, claimed = study['contrasts'][0], runs.assign(tuned=1)
  assert two_way.two_way(study, claimed, tuned, contrast, tuned=1) == found
  assert two_way.two_way(study, claimed, tuned, contrast) is None


def test_an_equal_difference_everywhere_has_no_width():
  study, runs, stored, arrays = make(True)
  for (arm, _), run in stored.items():
    run['test/prediction'] = run['test/label'] + (arm != 'baseline')
  found = two_way.two_way(study, runs, arrays, study['contrasts'][0])
  assert found is not None
  assert found[:3] == (-1, -1, -1)


def test_failed_runs_drop_their_seed_and_diverged_ones_guess():
  study, runs, stored, arrays = make(True)
  runs = studies.set_run(runs, 'a=no', 0, status='failed')
  runs = studies.set_run(runs, 'a=no', 1, status='diverged')
  del stored['a=no', 1]
  found = two_way.two_way(study, runs, arrays, study['contrasts'][0])
  table = differences({**stored, ('a=no', 1): stored['baseline', 1]}).astype(float)
  base = stored['baseline', 1]
  table[1] = 0.1 - np.mean(base['test/prediction'] == base['test/label'])
  assert found is not None
  assert found.seeds == SEEDS - 1
  assert found.delta == pytest.approx(table[1:].mean(), abs=1e-12)


def test_without_predictions_there_is_none():
  study, runs, _, _ = make(True)
  assert two_way.two_way(study, runs, lambda *_: None, study['contrasts'][0]) is None


@pytest.mark.parametrize('official', [True, False])
def test_unmatched_examples_raise(official):
  study, runs, stored, arrays = make(official)
  stored['a=no', 2]['test/index'] = stored['a=no', 2]['test/index'] + 1
  with pytest.raises(ValueError, match='other test examples'):
    two_way.two_way(study, runs, arrays, study['contrasts'][0])


def test_an_official_split_that_moves_raises():
  study, runs, _, arrays = make(False)
  study['data']['official_test'] = True
  with pytest.raises(ValueError, match='seeds differ'):
    two_way.two_way(study, runs, arrays, study['contrasts'][0])


def test_scores_of_a_metric_are_drawn_in_blocks_of_neighbours():
  """Oracle: a slow bootstrap of whole blocks, the last one shorter."""
  size, count = 7, 100
  study = studies.make_study(
    ['a'], SEEDS, data={'official_test': True, 'facts': {'block': size}}
  )
  rng = np.random.default_rng(4)
  waves = np.repeat(rng.normal(size=-(-count // size)), size)[:count]
  stored = {
    (arm, s): {'test/index': np.arange(count), 'test/accuracy_rows': rows}
    for s in range(SEEDS)
    for arm, rows in (('baseline', np.zeros(count)), ('a=no', waves + 0.1 * s))
  }
  runs = studies.make_runs(study, {a['name']: [0.5] * SEEDS for a in study['arms']})
  arrays = lambda arm, s: stored.get((arm, s))
  found = two_way.two_way(study, runs, arrays, study['contrasts'][0])
  table = np.stack([stored['a=no', s]['test/accuracy_rows'] for s in range(SEEDS)])
  blocks = np.split(np.arange(count), range(size, count, size))
  means = []
  for _ in range(4000):
    rows = rng.integers(SEEDS, size=SEEDS)
    drawn = rng.integers(len(blocks), size=len(blocks))
    columns = np.concatenate([blocks[i] for i in drawn])
    means.append(table[rows][:, columns].mean())
  assert found is not None
  assert found.delta == pytest.approx(table.mean())
  expected = np.quantile(means, [0.025, 0.975])
  np.testing.assert_allclose([found.low, found.high], expected, atol=0.08)
