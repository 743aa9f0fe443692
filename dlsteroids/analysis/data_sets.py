"""The same arms on several data sets: effects, their means, and arms against arms.

A contrast is the same in two studies if its arm and its reference have the same names;
what one study alone compares is left out. All effects on all data sets are one family:
Holm's procedure goes over the p of every cell, and over the p of equivalence of every
cell with its study's margin. The means over data sets (`meta_analysis`) are a second
family.

Arms against arms are a multi-comparison matrix (Ismail-Fawaz et al. 2023,
arXiv:2305.11921): for every two arms the mean difference over data sets, and on how
many one is better. An entry depends on its two arms alone; there are no ranks over all
arms, and no groups of arms that "do not differ".
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.analysis import effects as effects_lib
from dlsteroids.analysis import meta_analysis, pairs, permutation, statistics, summary
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib

CELLS = (
  *('study', 'data', 'factor', 'level', 'arm', 'reference', 'n', 'delta', 'error'),
  *('ci_low', 'ci_high', 'ci_kind', 'p', 'p_holm', 'exploratory', 'own', 'verdict'),
)
MEANS = (
  *('factor', 'level', 'arm', 'reference', 'k', 'delta', 'ci_low', 'ci_high', 'p'),
  *('p_holm', 'verdict', 'tau', 'q', 'q_p', 'i_squared', 'predicted_low'),
  *('predicted_high', 'lack'),
)
MATRIX = (
  *('row', 'column', 'k', 'delta', 'ci_low', 'ci_high', 'p', 'better', 'ties', 'worse'),
)
FEW = 'few data sets'  # why there is no mean
NO_SPREAD = 'no spread'


class Case(NamedTuple):
  """A study on a data set.

  Attributes:
    name: of the study, unique.
    study: what was compared.
    runs: those of the declared condition.
    effects: its `effects.measure`.
  """

  name: str
  study: study_lib.Study
  runs: pd.DataFrame
  effects: pd.DataFrame


class DataSets(NamedTuple):
  """Several studies of the same arms.

  Attributes:
    cases: the studies.
    cells: a row for every contrast of a study, `CELLS`: `error` is the standard error
      of `delta` over seeds, `ci_low` and `ci_high` are the study's own, and so is the
      verdict `own`; `p_holm` and `verdict` are over all cells.
    means: a row a contrast, `MEANS`: the random-effects mean over the `k` data sets
      that have it; `lack` says why there is none, else ''.
    alone: arms that one study alone compares, by study; they are left out.
    matrix: a row for every two arms that all studies have, `MATRIX`: row minus column;
      data sets on which the row is `better`, equal and `worse` in the mean over seeds.
    scores: mean score by arm (all studies have them) and study, the best arm first.
    alpha: level of verdicts and intervals.
    seeds: the fewest with which a cell could be significant among all.
  """

  cases: tuple[Case, ...]
  cells: pd.DataFrame
  means: pd.DataFrame
  alone: Mapping[str, tuple[str, ...]]
  matrix: pd.DataFrame
  scores: pd.DataFrame
  alpha: float
  seeds: int


class _Cell(NamedTuple):
  """A contrast of a study with its pairs and its row of the effects.

  `same` is the contrast as the first study has it, whose side all verdicts speak of.
  """

  case: Case
  contrast: factors_lib.Contrast
  same: factors_lib.Contrast
  pair: pairs.Pairs
  row: Mapping[str, Any]

  @property
  def key(self) -> tuple[str, str]:
    return self.contrast.arm, self.contrast.reference

  @property
  def variance(self) -> float:
    """Of the mean difference over seeds; nan if most runs of a side diverged."""
    if self.pair.mostly_diverged:
      return math.nan
    sides = self.pair.arm, self.pair.reference
    return _variance(*sides, paired=self.pair.unpaired is None)


def compare(cases: Sequence[Case]) -> DataSets:
  """Holds the same arms of several studies side by side.

  Raises:
    ValueError: what `check` says, or effects that lack a contrast of their study.
  """
  check(cases)
  alpha = cases[0].study.alpha
  cells, alone = _gather(cases)
  order = list(dict.fromkeys(cell.key for cell in cells))
  cells.sort(key=lambda cell: order.index(cell.key))
  table = pd.DataFrame(_describe_cells(cells, alpha), columns=list(CELLS))
  by_key = [[cell for cell in cells if cell.key == key] for key in order]
  means = pd.DataFrame(_means(by_key, alpha), columns=list(MEANS))
  scores = _scores(cases)
  matrix = pd.DataFrame(_matrix(cases, list(scores.index), alpha), columns=list(MATRIX))
  seeds = next(n for n in itertools.count(2) if 2.0 ** (1 - n) * len(cells) <= alpha)
  return DataSets(tuple(cases), table, means, alone, matrix, scores, alpha, seeds)


def check(cases: Sequence[Case]) -> None:
  """Whether studies can be compared over data sets.

  Raises:
    ValueError: one line: fewer than two studies, two of one name or data set, different
      metrics or levels, arms that mean different things, a design of sampled orders, or
      no contrast that two studies share.
  """
  if len(cases) < 2:
    raise ValueError(f'a summary takes two studies or more, not {len(cases)}')
  for what, values in (
    ('named', [case.name for case in cases]),
    ('of the data set', [case.study.data.name for case in cases]),
  ):
    twice = {value for value in values if values.count(value) > 1}
    if twice:
      raise ValueError(
        f'two studies are {what} {min(twice)!r}: a mean over data sets takes each once'
      )
  first = cases[0]
  for case in cases:
    for what, own, other in (
      ('the metric', case.study.metric.column, first.study.metric.column),
      (
        'the direction of the metric',
        case.study.metric.better,
        first.study.metric.better,
      ),
      ('study.alpha', case.study.alpha, first.study.alpha),
    ):
      if own != other:
        raise ValueError(
          f'{what} of {case.name} is {own}, of {first.name} {other}: a mean takes one'
        )
    if case.study.design == 'permutations':
      raise ValueError(
        f'{case.name} samples orders of its factors: it has no fixed arms'
      )
  _check_contrasts(cases)


def _check_contrasts(cases: Sequence[Case]) -> None:
  before: dict[tuple[str, str], tuple[Case, factors_lib.Contrast]] = {}
  shared = False
  for case in cases:
    for contrast in summary.family(case.study):
      key = contrast.arm, contrast.reference
      other, same = before.setdefault(key, (case, contrast))
      shared |= other is not case
      for name in ('factor', 'component'):
        own, others = getattr(contrast, name), getattr(same, name)
        if own != others:
          raise ValueError(
            f'{contrast.arm}: its {name} is {own!r} in {case.name}, {others!r} in '
            f'{other.name}'
          )
  if not shared:
    arms = '; '.join(
      f'{case.name}: {", ".join(c.arm for c in summary.family(case.study))}'
      for case in cases
    )
    raise ValueError(f'no two studies compare the same arms: {arms}')


def _gather(
  cases: Sequence[Case],
) -> tuple[list[_Cell], dict[str, tuple[str, ...]]]:
  """The contrasts that two studies share, and the arms of others by study."""
  groups: dict[tuple[str, str], list[tuple[Case, factors_lib.Contrast]]] = {}
  for case in cases:
    for contrast in summary.family(case.study):
      groups.setdefault((contrast.arm, contrast.reference), []).append((case, contrast))
  same = {key: group[0][1] for key, group in groups.items() if len(group) > 1}
  alone: dict[str, tuple[str, ...]] = {}
  for group in groups.values():
    if len(group) == 1:
      case, contrast = group[0]
      alone[case.name] = (*alone.get(case.name, ()), contrast.arm)
  return [cell for case in cases for cell in _cells(case, same)], alone


def _cells(
  case: Case, same: Mapping[tuple[str, str], factors_lib.Contrast]
) -> Iterable[_Cell]:
  """The contrasts of a study that others share, with rows of its effects."""
  study, table = case.study, case.effects
  column = study.metric.column
  scores = pairs.tabulate(study, case.runs, column, study.tuned)
  table = table[(table['metric'] == column) & (table['tuned'] == study.tuned)]
  if 'regime' in table:
    table = table[table['regime'] == study.regime]
  for contrast in summary.family(study):
    if (contrast.arm, contrast.reference) not in same:
      continue
    rows = table
    for name in ('arm', 'factor', 'reference'):
      rows = rows[rows[name].astype(str) == getattr(contrast, name)]
    if not len(rows):
      raise ValueError(
        f'the effects of {case.name} lack {contrast.arm} against {contrast.reference}: '
        'they are of another version of the study; its command writes them again'
      )
    row = {str(name): value for name, value in rows.iloc[0].items()}
    first = same[contrast.arm, contrast.reference]
    pair = pairs.match(contrast, scores, study.paired)
    yield _Cell(case, contrast, first, pair, row)


def _variance(arm: np.ndarray, reference: np.ndarray, *, paired: bool) -> float:
  """Of the difference of means: 0 but for rounding is 0; nan below two runs."""
  if min(len(arm), len(reference)) < 2:
    return math.nan
  if paired:
    deltas = arm - reference
    rounding = statistics.TIE * max(np.abs(arm).max(), np.abs(reference).max())
    return float(deltas.var(ddof=1)) / len(arm) if np.ptp(deltas) > rounding else 0.0
  return float(arm.var(ddof=1) / len(arm) + reference.var(ddof=1) / len(reference))


def _describe_cells(cells: Sequence[_Cell], alpha: float) -> list[dict[str, Any]]:
  """Rows of `CELLS`, with verdicts over all of them."""
  p_difference = statistics.holm([cell.row['p'] for cell in cells])
  p_equivalence = statistics.holm([_equivalence(cell) for cell in cells])
  rows = []
  for cell, differs, equals in zip(cells, p_difference, p_equivalence):
    study, contrast, row = cell.case.study, cell.same, cell.row
    kinds = statistics.INVERSION, permutation.INVERSION
    verdict = '' if cell.pair.mostly_diverged else 'inconclusive'
    if verdict and cell.pair.enough and row['ci_kind'] in kinds:
      if equals <= alpha:
        verdict = 'equivalent'
      elif differs <= alpha:
        verdict = _verdict(study, contrast, row['delta'])
    rows.append(
      {
        'study': cell.case.name,
        'data': study.data.name,
        **{name: getattr(contrast, name) for name in ('factor', 'level')},
        'arm': contrast.arm,
        'reference': contrast.reference,
        **{name: row[name] for name in ('n', 'delta', 'ci_low', 'ci_high', 'ci_kind')},
        'error': math.sqrt(cell.variance),
        'p': row['p'],
        'p_holm': math.nan if cell.pair.mostly_diverged else float(differs),
        'exploratory': str(row.get('exploratory', '')) == 'True',
        'own': _own_verdict(cell),
        'verdict': verdict,
      }
    )
  return rows


def _own_verdict(cell: _Cell) -> str:
  """The study's verdict, of the side that the first study's verdict is on."""
  verdict = cell.row['verdict']
  if not isinstance(verdict, str):
    return ''
  if cell.contrast.subject != cell.same.subject:
    return {'helps': 'hurts', 'hurts': 'helps'}.get(verdict, verdict)
  return verdict


def _equivalence(cell: _Cell) -> float:
  """p that the difference is not within the study's margin; 1 without one."""
  margin, pair = cell.case.study.margin, cell.pair
  if not margin > 0 or pair.mostly_diverged or not len(pair.arm):
    return 1.0
  if pair.unpaired is not None:
    return permutation.equivalence(pair.arm, pair.reference, margin)
  return statistics.equivalence(pair.delta, margin)


def _verdict(
  study: study_lib.Study, contrast: factors_lib.Contrast, delta: float
) -> str:
  sign = effects_lib.sign_of_improvement(study, contrast, study.metric.column)
  return 'helps' if delta * sign > 0 else 'hurts'


def _means(groups: Sequence[Sequence[_Cell]], alpha: float) -> list[dict[str, Any]]:
  """Rows of `MEANS`: a group a contrast."""
  means: list[meta_analysis.Mean | None] = []
  rows = []
  for cells in groups:
    usable = [cell for cell in cells if not math.isnan(cell.variance)]
    deltas = [float(cell.row['delta']) for cell in usable]
    variances = [cell.variance for cell in usable]
    lack, mean = _lack(variances), None
    if not lack:
      mean = meta_analysis.combine(deltas, variances, alpha)
    means.append(mean)
    contrast = cells[0].same
    rows.append(
      {
        **dict.fromkeys(MEANS, math.nan),
        **{n: getattr(contrast, n) for n in ('factor', 'level', 'arm', 'reference')},
        **({} if mean is None else _columns(mean)),
        'k': len(usable),
        'verdict': '',
        'lack': lack,
      }
    )
  present = [i for i, mean in enumerate(means) if mean is not None]
  adjusted = statistics.holm([rows[i]['p'] for i in present])
  for i, p in zip(present, adjusted):
    cell = groups[i][0]
    rows[i]['p_holm'] = float(p)
    rows[i]['verdict'] = 'inconclusive'
    if p <= alpha:
      rows[i]['verdict'] = _verdict(cell.case.study, cell.same, rows[i]['delta'])
  return rows


def _lack(variances: Sequence[float]) -> str:
  """Why there is no mean of effects with these variances; '' if there is one."""
  if len(variances) < 2:
    return FEW
  return '' if min(variances) > 0 else NO_SPREAD


def _columns(mean: meta_analysis.Mean) -> dict[str, float]:
  """A mean as columns of `MEANS` and `MATRIX`."""
  values: dict[str, float] = mean._asdict()
  names = {'value': 'delta', 'low': 'ci_low', 'high': 'ci_high'}
  return {names.get(name, name): value for name, value in values.items()}


def _scores(cases: Sequence[Case]) -> pd.DataFrame:
  """Mean scores of the arms that all studies have evidence of, the best first."""
  columns = {}
  for case in cases:
    study = case.study
    scores = pairs.tabulate(study, case.runs, study.metric.column, study.tuned)
    means = scores.value.mean()
    columns[case.name] = means.drop(list(scores.mostly_diverged))
  table = pd.DataFrame(columns).dropna()
  best = table.mean(axis=1).sort_values(
    ascending=cases[0].study.metric.better == 'lower', kind='stable'
  )
  return table.loc[best.index]


def _matrix(
  cases: Sequence[Case], arms: Sequence[str], alpha: float
) -> list[dict[str, Any]]:
  """Rows of `MATRIX`: every two arms."""
  metric = cases[0].study.metric
  tables = [
    pairs.tabulate(case.study, case.runs, metric.column, case.study.tuned).value
    for case in cases
  ]
  rows = []
  for i, arm in enumerate(arms):
    for other in arms[i + 1 :]:
      deltas, variances = [], []
      for case, table in zip(cases, tables):
        sides = table[[arm, other]]
        if case.study.paired:
          sides = sides.dropna()
        one, two = (sides[name].dropna().to_numpy() for name in (arm, other))
        deltas.append(
          float(one.mean() - two.mean()) if min(len(one), len(two)) else 0.0
        )
        variances.append(_variance(one, two, paired=case.study.paired))
      gains = np.sign(deltas) * metric.sign
      row: dict[str, Any] = {
        **dict.fromkeys(MATRIX, math.nan),
        **{'row': arm, 'column': other, 'k': len(cases)},
        'better': int((gains > 0).sum()),
        'ties': int((gains == 0).sum()),
        'worse': int((gains < 0).sum()),
      }
      if all(variance > 0 for variance in variances):
        mean = _columns(meta_analysis.combine(deltas, variances, alpha))
        row |= {name: mean[name] for name in ('delta', 'ci_low', 'ci_high', 'p')}
      rows.append(row)
  return rows
