"""What a factorial design shows beyond main effects; all of it is descriptive."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.analysis import looks, pairs, statistics
from dlsteroids.study import study as study_lib

INTERACTIONS = (
  'factor',
  'level',
  'with',
  'with_level',
  'metric',
  'n',
  'delta',
  'ci_low',
  'ci_high',
  'ci_kind',
  'p',
)
ANOVA = ('source', 'df', 'sum_sq', 'mean_sq', 'F', 'p')


def interactions(
  study: study_lib.Study, runs: pd.DataFrame, alpha: float | None = None
) -> pd.DataFrame:
  """Pairwise interactions on the deciding metric, in the declared tuning state.

  Per seed: what the intact level of `factor` adds over `level` when `with` is intact,
  minus what it adds when `with` is at `with_level`, averaged over the admissible cells
  of the other factors. Then the sign-flip test and interval of these differences.
  Interactions with a cell most of whose runs diverged are left out.

  Args:
    study: the study.
    runs: the runs of the declared condition.
    alpha: the level of the intervals; by default that of this look.

  Returns:
    A frame with exactly `INTERACTIONS`; no rows unless the design is factorial. Pairs
    of levels whose four cells do not all exist are left out.
  """
  rows = []
  if study.design == 'factorial':
    if alpha is None:
      alpha = looks.state(study, runs).alpha
    column = study.metric.column
    scores = pairs.tabulate(study, runs, column, study.tuned)
    value = scores.value.drop(columns=list(scores.mostly_diverged))
    for factor, level, other, other_level, plus, minus in _quartets(study):
      if not {*plus, *minus} <= set(value):
        continue
      sums = value[plus].to_numpy().sum(1) - value[minus].to_numpy().sum(1)
      delta = sums[~np.isnan(sums)] / (len(plus) / 2)
      names = factor, level, other, other_level, column, len(delta)
      mean = float(delta.mean()) if len(delta) else float('nan')
      interval = statistics.interval(delta, alpha)
      rows.append((*names, mean, *interval, statistics.sign_flip(delta)))
  return pd.DataFrame(rows, columns=list(INTERACTIONS))


def _quartets(
  study: study_lib.Study,
) -> Iterator[tuple[str, str, str, str, list[str], list[str]]]:
  """Yields two factors' levels with the cells that count plus and minus."""
  names = [factor.name for factor in study.factors]
  cells = {
    tuple(arm.assignment.get(name) for name in names): arm.name for arm in study.arms
  }
  for (i, one), (j, two) in itertools.combinations(enumerate(study.factors), 2):
    for first, second in itertools.product(one.levels[1:], two.levels[1:]):
      plus, minus = [], []
      for key in cells:
        if (key[i], key[j]) != (one.levels[0].name, two.levels[0].name):
          continue
        corners = [
          cells.get(_replaced(key, {i: a, j: b}))
          for a, b in itertools.product((key[i], first.name), (key[j], second.name))
        ]
        arms = [corner for corner in corners if corner is not None]
        if len(arms) == 4:
          plus += [arms[0], arms[3]]
          minus += [arms[1], arms[2]]
      if plus:
        yield one.name, first.name, two.name, second.name, plus, minus


def _replaced(key: tuple[Any, ...], changes: Mapping[int, Any]) -> tuple[Any, ...]:
  return tuple(changes.get(i, level) for i, level in enumerate(key))


def anova(study: study_lib.Study, runs: pd.DataFrame) -> pd.DataFrame:
  """Analysis of variance of the deciding metric, blocked by seed (type II).

  Sources are the seed, every factor with two or more levels among the runs, and every
  two-way interaction of factors all of whose cells were run; then the residual. Arms
  most of whose runs diverged are left out.

  Returns:
    A frame with exactly `ANOVA`; no rows unless the design is factorial and more runs
    ended than the model has parameters. F and p are nan for the residual.
  """
  empty = pd.DataFrame([], columns=list(ANOVA))
  if study.design != 'factorial':
    return empty
  scores = pairs.tabulate(study, runs, study.metric.column, study.tuned)
  table = _long(study, scores.value.drop(columns=list(scores.mostly_diverged)))
  terms = _terms(study, table)
  if not terms:
    return empty
  # Half a second of imports that only factorial designs need.
  import statsmodels.formula.api
  import statsmodels.stats.anova

  fit = statsmodels.formula.api.ols('y ~ ' + ' + '.join(terms), table).fit()
  if fit.df_resid < 1 or fit.model.rank < fit.model.exog.shape[1]:
    return empty
  with np.errstate(divide='ignore', invalid='ignore'):
    result = statsmodels.stats.anova.anova_lm(fit, typ=2)
    mean_sq = result['sum_sq'] / result['df']
  return pd.DataFrame(
    {
      'source': [terms.get(source, 'residual') for source in result.index],
      'df': result['df'].astype(int).to_numpy(),
      'sum_sq': result['sum_sq'].to_numpy(),
      'mean_sq': mean_sq.to_numpy(),
      'F': result['F'].to_numpy(),
      'p': result['PR(>F)'].to_numpy(),
    }
  )


def _terms(study: study_lib.Study, table: pd.DataFrame) -> dict[str, str]:
  """The model's terms with the names of their sources."""
  names = [factor.name for factor in study.factors]
  varying = [i for i, _ in enumerate(names) if table[f'f{i}'].nunique() > 1]
  terms = {f'C(f{i})': names[i] for i in varying}
  for i, j in itertools.combinations(varying, 2):
    grid = table[f'f{i}'].nunique() * table[f'f{j}'].nunique()
    if len(table[[f'f{i}', f'f{j}']].drop_duplicates()) == grid:
      terms[f'C(f{i}):C(f{j})'] = f'{names[i]}:{names[j]}'
  return {'C(seed)': 'seed', **terms} if table['seed'].nunique() > 1 else terms


def _long(study: study_lib.Study, value: pd.DataFrame) -> pd.DataFrame:
  """One row a scored run: y, seed, and factor i's level as column f<i>."""
  names = [f'f{i}' for i, _ in enumerate(study.factors)]
  rows = []
  for arm in (arm for arm in study.arms if arm.name in value):
    levels = [str(arm.assignment.get(factor.name)) for factor in study.factors]
    for seed, y in value[arm.name].dropna().items():
      rows.append((y, seed, *levels))
  return pd.DataFrame(rows, columns=['y', 'seed', *names])
