"""The two-way interval against textbook formulas and a slow bootstrap."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api
import statsmodels.stats.anova

from dlsteroids.analysis import effects, two_way
from tests.fixtures import studies

N, SEEDS = 120, 6


def make(official: bool, seed: int = 0):
  data = {'official_test': official, 'sizes': {'train': 200, 'test': N}}
  study = studies.make_study(['a'], SEEDS, data=data)
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
  runs = studies.make_runs(study, {a.name: [0.5] * SEEDS for a in study.arms})
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


@pytest.mark.parametrize('spread', [0.0, 0.5])
def test_crossed_interval_by_the_analysis_of_variance(spread):
  """Oracle: statsmodels' mean squares; Satterthwaite's formula by hand."""
  study, runs, stored, arrays = make(True)
  waves = spread * np.random.default_rng(2).normal(size=N)
  for (arm, _), run in stored.items():
    right = (run['test/prediction'] == run['test/label']).astype(float)
    if arm == 'a=no':
      right += waves[run['test/index']]
    run['test/accuracy_rows'] = right
  span = two_way.two_way(study, runs, arrays, study.contrasts[0])
  table = differences(stored) + waves
  frame = pd.DataFrame(table).melt(ignore_index=False).reset_index()
  fit = statsmodels.formula.api.ols('value ~ C(index) + C(variable)', frame).fit()
  squares = statsmodels.stats.anova.anova_lm(fit)
  rows, columns, rest = squares['mean_sq']
  assert (columns > rest) == (spread > 0)
  if columns < rest:
    columns = rest = 0
  error = math.sqrt((rows + columns - rest) / table.size)
  freedom = (rows + columns - rest) ** 2 / (
    rows**2 / (SEEDS - 1) + columns**2 / (N - 1) + rest**2 / ((SEEDS - 1) * (N - 1))
  )
  half = error * scipy.stats.t.ppf(0.975, freedom)
  assert span is not None
  assert span.delta == pytest.approx(table.mean(), abs=1e-12)
  expected = (table.mean() - half, table.mean() + half)
  assert (span.low, span.high) == pytest.approx(expected, rel=1e-9)
  assert span[3:] == (SEEDS, N, False)
  assert two_way.two_way(study, runs, arrays, study.contrasts[0]) == span


def test_overlapping_splits_widen_the_interval():
  """Oracle: Nadeau and Bengio's (2003) corrected resampled t, by hand."""
  study, runs, stored, arrays = make(False)
  span = two_way.two_way(study, runs, arrays, study.contrasts[0])
  deltas = differences(stored).mean(1)
  half = scipy.stats.t.ppf(0.975, SEEDS - 1) * math.sqrt(
    (1 / SEEDS + N / 200) * deltas.var(ddof=1)
  )
  expected = (deltas.mean() - half, deltas.mean() + half)
  assert span is not None
  assert (span.low, span.high) == pytest.approx(expected, rel=1e-12)
  assert span[3:] == (SEEDS, N, True)
  unknown = study | {'data': {'official_test': False, 'sizes': {}}}
  assert two_way.two_way(unknown, runs, arrays, study.contrasts[0]) is None


def test_tuned_runs_are_asked_for_as_such():
  study, runs, _, arrays = make(True)
  contrast, claimed = study.contrasts[0], runs.assign(tuned=1)
  span = two_way.two_way(study, runs, arrays, contrast)
  tuned = lambda arm, seed, state=0: arrays(arm, seed) if state else None
  assert two_way.two_way(study, claimed, tuned, contrast, tuned=1) == span
  assert two_way.two_way(study, claimed, tuned, contrast) is None


def test_one_seed_has_no_interval():
  study, runs, _, arrays = make(True)
  assert (
    two_way.two_way(study | {'seeds': [0]}, runs, arrays, study.contrasts[0]) is None
  )


def test_an_equal_difference_everywhere_has_no_width():
  study, runs, stored, arrays = make(True)
  for (arm, _), run in stored.items():
    run['test/prediction'] = run['test/label'] + (arm != 'baseline')
  found = two_way.two_way(study, runs, arrays, study.contrasts[0])
  assert found is not None
  assert found[:3] == (-1, -1, -1)


def test_failed_runs_drop_their_seed_and_diverged_ones_guess():
  study, runs, stored, arrays = make(True)
  runs = studies.set_run(runs, 'a=no', 0, status='failed')
  runs = studies.set_run(runs, 'a=no', 1, status='diverged')
  del stored['a=no', 1]
  found = two_way.two_way(study, runs, arrays, study.contrasts[0])
  table = differences({**stored, ('a=no', 1): stored['baseline', 1]}).astype(float)
  base = stored['baseline', 1]
  table[1] = 0.1 - np.mean(base['test/prediction'] == base['test/label'])
  assert found is not None
  assert found.seeds == SEEDS - 1
  assert found.delta == pytest.approx(table[1:].mean(), abs=1e-12)


def test_scores_are_bounded_by_the_fallback_as_effects_are():
  """Oracle: effects' delta over the same runs, whose deciding metric is bounded."""
  loss = {'better': 'lower', 'fallback': 2.0}
  study = studies.make_study(['a'], SEEDS, metrics={'nats': loss})
  study['metric'] = {'name': 'nats', 'split': 'test', **loss}
  rng = np.random.default_rng(5)
  stored, scores = {}, {'baseline': [], 'a=no': []}
  for seed in range(SEEDS):
    for arm, of_arm in scores.items():
      exploded = arm == 'a=no' and seed in (1, 4)
      rows = rng.uniform(0, 3, N) + 30 * exploded
      stored[arm, seed] = {'test/index': np.arange(N), 'test/nats_rows': rows}
      of_arm.append(rows.mean())
  runs = studies.make_runs(study, scores, 'test/nats')
  arrays = lambda arm, seed, tuned=0: stored[arm, seed]
  row = effects.measure(study, runs).iloc[0]
  assert row['n_bounded_arm'] == 2
  span = two_way.two_way(study, runs, arrays, study.contrasts[0], metric='test/nats')
  assert span is not None
  assert span.delta == pytest.approx(row['delta'], abs=1e-12)
  assert span.low < row['delta'] < span.high < 2


def test_without_predictions_there_is_none():
  study, runs, _, _ = make(True)
  assert two_way.two_way(study, runs, lambda *_: None, study.contrasts[0]) is None


@pytest.mark.parametrize('official', [True, False])
def test_unmatched_examples_raise(official):
  study, runs, stored, arrays = make(official)
  stored['a=no', 2]['test/index'] = stored['a=no', 2]['test/index'] + 1
  with pytest.raises(ValueError, match='other test examples'):
    two_way.two_way(study, runs, arrays, study.contrasts[0])


def test_an_official_split_that_moves_raises():
  study, runs, _, arrays = make(False)
  study['data']['official_test'] = True
  with pytest.raises(ValueError, match='seeds differ'):
    two_way.two_way(study, runs, arrays, study.contrasts[0])


def test_neighbours_count_as_one_example():
  """Oracle: a slow bootstrap of whole blocks, the last one shorter."""
  size, count, seeds = 7, 298, 20
  study = studies.make_study(
    ['a'], seeds, data={'official_test': True, 'facts': {'block': size}}
  )
  rng = np.random.default_rng(4)
  waves = np.repeat(rng.normal(size=-(-count // size)), size)[:count]
  stored = {
    (arm, s): {'test/index': np.arange(count), 'test/accuracy_rows': rows}
    for s in range(seeds)
    for arm, rows in (('baseline', np.zeros(count)), ('a=no', waves + 0.02 * s))
  }
  runs = studies.make_runs(study, {a.name: [0.5] * seeds for a in study.arms})
  arrays = lambda arm, s: stored.get((arm, s))
  span = two_way.two_way(study, runs, arrays, study.contrasts[0])
  table = np.stack([stored['a=no', s]['test/accuracy_rows'] for s in range(seeds)])
  blocks = np.split(np.arange(count), range(size, count, size))
  means = []
  for _ in range(4000):
    rows = rng.integers(seeds, size=seeds)
    drawn = rng.integers(len(blocks), size=len(blocks))
    columns = np.concatenate([blocks[i] for i in drawn])
    means.append(table[rows][:, columns].mean())
  assert span is not None
  assert span.delta == pytest.approx(table.mean())
  expected = np.quantile(means, [0.025, 0.975])
  np.testing.assert_allclose([span.low, span.high], expected, atol=0.03)
  few = study | {'data': {'official_test': True, 'facts': {'block': 30}}}
  assert two_way.two_way(few, runs, arrays, study.contrasts[0]) is None
