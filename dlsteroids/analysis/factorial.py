"""What a factorial design shows beyond main effects; all of it is descriptive."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.analysis import looks, pairs, statistics

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


def interactions(study: Mapping[str, Any], runs: pd.DataFrame) -> pd.DataFrame:
  """Pairwise interactions on the deciding metric, in the declared tuning state.

  Per seed: what the intact level of `factor` adds over `level` when `with` is intact,
  minus what it adds when `with` is at `with_level`, averaged over the admissible cells
  of the other factors. Then the sign-flip test and interval of these differences.

  Returns:
    A frame with exactly `INTERACTIONS`; no rows unless the design is factorial. Pairs
    of levels whose four cells do not all exist are left out.
  """
  rows = []
  if study['design'] == 'factorial':
    alpha = looks.state(study, runs).alpha
    column = pairs.deciding(study)
    value = pairs.tabulate(study, runs, column, pairs.declared(study)).value
    for one, level, two, other, plus, minus in _quartets(study):
      both = value[plus].to_numpy().sum(1) - value[minus].to_numpy().sum(1)
      delta = both[~np.isnan(both)] / (len(plus) / 2)
      span = statistics.interval(delta, alpha)
      mean = float(delta.mean()) if len(delta) else float('nan')
      ends = span.low, span.high, span.kind
      p = statistics.sign_flip(delta)
      rows.append((one, level, two, other, column, len(delta), mean, *ends, p))
  return pd.DataFrame(rows, columns=list(INTERACTIONS))


def _quartets(
  study: Mapping[str, Any],
) -> Iterator[tuple[str, str, str, str, list[str], list[str]]]:
  """Yields two factors' levels with the cells that count plus and minus."""
  names = [factor['name'] for factor in study['factors']]
  cells = {
    tuple(arm['assignment'].get(name) for name in names): arm['name']
    for arm in study['arms']
  }
  for (i, one), (j, two) in itertools.combinations(enumerate(study['factors']), 2):
    for first, second in itertools.product(one['levels'][1:], two['levels'][1:]):
      plus, minus = [], []
      for key in cells:
        if (key[i], key[j]) != (one['levels'][0]['name'], two['levels'][0]['name']):
          continue
        corners = [
          cells.get(_replaced(key, {i: a, j: b}))
          for a, b in itertools.product(
            (key[i], first['name']), (key[j], second['name'])
          )
        ]
        found = [corner for corner in corners if corner is not None]
        if len(found) == 4:
          plus += [found[0], found[3]]
          minus += [found[1], found[2]]
      if plus:
        yield one['name'], first['name'], two['name'], second['name'], plus, minus


def _replaced(key: tuple[Any, ...], changes: Mapping[int, Any]) -> tuple[Any, ...]:
  return tuple(changes.get(i, level) for i, level in enumerate(key))


def anova(study: Mapping[str, Any], runs: pd.DataFrame) -> pd.DataFrame:
  """Analysis of variance of the deciding metric, blocked by seed (type II).

  Sources are the seed, every factor with two or more levels among the runs, and every
  two-way interaction of factors all of whose cells were run; then the residual.

  Returns:
    A frame with exactly `ANOVA`; no rows unless the design is factorial and more runs
    ended than the model has parameters. F and p are nan for the residual.
  """
  empty = pd.DataFrame([], columns=list(ANOVA))
  if study['design'] != 'factorial':
    return empty
  scores = pairs.tabulate(study, runs, pairs.deciding(study), pairs.declared(study))
  table = _long(study, scores.value)
  names = [factor['name'] for factor in study['factors']]
  kept = [i for i, _ in enumerate(names) if table[f'f{i}'].nunique() > 1]
  terms = {f'C(f{i})': names[i] for i in kept}
  for i, j in itertools.combinations(kept, 2):
    grid = table[f'f{i}'].nunique() * table[f'f{j}'].nunique()
    if len(table[[f'f{i}', f'f{j}']].drop_duplicates()) == grid:
      terms[f'C(f{i}):C(f{j})'] = f'{names[i]}:{names[j]}'
  if table['seed'].nunique() > 1:
    terms = {'C(seed)': 'seed', **terms}
  if not terms:
    return empty
  # Half a second of imports that only factorial designs need.
  import statsmodels.formula.api
  import statsmodels.stats.anova

  fit = statsmodels.formula.api.ols('y ~ ' + ' + '.join(terms), table).fit()
  if fit.df_resid < 1 or fit.model.rank < fit.model.exog.shape[1]:
    return empty
  with np.errstate(divide='ignore', invalid='ignore'):
    made = statsmodels.stats.anova.anova_lm(fit, typ=2)
    mean_sq = made['sum_sq'] / made['df']
  return pd.DataFrame(
    {
      'source': [terms.get(source, 'residual') for source in made.index],
      'df': made['df'].astype(int).to_numpy(),
      'sum_sq': made['sum_sq'].to_numpy(),
      'mean_sq': mean_sq.to_numpy(),
      'F': made['F'].to_numpy(),
      'p': made['PR(>F)'].to_numpy(),
    }
  )


def _long(study: Mapping[str, Any], value: pd.DataFrame) -> pd.DataFrame:
  """One row a scored run: y, seed, and factor i's level as column f<i>."""
  rows = []
  for arm in study['arms']:
    levels = {
      f'f{i}': str(arm['assignment'].get(factor['name']))
      for i, factor in enumerate(study['factors'])
    }
    for seed, y in value[arm['name']].dropna().items():
      rows.append({'y': y, 'seed': seed, **levels})
  columns = ['y', 'seed', *(f'f{i}' for i, _ in enumerate(study['factors']))]
  return pd.DataFrame(rows, columns=columns)
