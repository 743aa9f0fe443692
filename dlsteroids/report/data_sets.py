"""The page of several studies of the same arms: effects over data sets, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dlsteroids.analysis import data_sets as data_sets_lib
from dlsteroids.analysis import summary
from dlsteroids.report import blocks, facts, formats, sentences, tables
from dlsteroids.report.blocks import Prose, Section

_SHOWN = 10  # arms of the matrix
_FEW = 4  # data sets below which an interval for a further one spans everything
_LACKS = {
  data_sets_lib.FEW: 'one data set alone has runs that are evidence',
  data_sets_lib.NO_SPREAD: 'its difference has no spread over the seeds of a data set',
}
_Row = Mapping[Any, Any]  # of the frames of `DataSets`


def title(result: data_sets_lib.DataSets) -> str:
  """The question over all data sets."""
  return f'Which parts matter on {formats.listing(_names(result))}?'


def make(
  result: data_sets_lib.DataSets,
  drawings: Sequence[blocks.Drawing],
  command: str,
  links: Sequence[tuple[str, str]] = (),
) -> blocks.Report:
  """The whole page as a tree.

  Args:
    result: `analysis.data_sets.compare` of the studies.
    drawings: its figures.
    command: that makes the page again.
    links: files beside the page, or its studies' pages, and what they hold.
  """
  runs = sum(len(case.runs) for case in result.cases)
  changes = formats.plural(len(result.means), 'change')
  lead = (
    f'{len(result.cases)} studies of {changes}, each on a data set of its own, '
    f'{runs:,} runs, judged by {_metric(result)}.'
  )
  again = Section('Again', (blocks.Code(command), blocks.Links(tuple(links))))
  return blocks.Report(
    title(result),
    'over data sets',
    (Prose(lead, 'lead'), *(Prose(text, 'notice') for text in notes(result))),
    (
      Section('The answer', (_answer(result), *drawings), 'answer'),
      _effects(result),
      _means(result),
      _matrix(result),
      _studies(result),
      again,
    ),
  )


def notes(result: data_sets_lib.DataSets) -> list[str]:
  """What a reader must know before any number."""
  cells, texts = result.cells, []
  short = [
    f'{row["data"]} ({row["n"]})'
    for row in cells.drop_duplicates('study').to_dict('records')
    if row['n'] < result.seeds
  ]
  if short:
    have = 'has' if len(short) == 1 else 'have'
    texts.append(
      f'To answer one of {len(cells)} questions asked at once takes {result.seeds} '
      f'seeds; {formats.listing(short)} {have} fewer, so that Holm’s procedure over '
      'all can confirm there only what follows on smaller p elsewhere.'
    )
  if len(result.cases) < _FEW + 1:
    texts.append(
      f'{len(result.cases)} data sets are few: how much true effects differ between '
      'them is hardly known, and the intervals of means are as wide as that makes them.'
    )
  late = sorted(set(cells.loc[cells['exploratory'], 'study']))
  if late:
    texts.append(f'Verdicts of {formats.listing(late)} are exploratory.')
  texts += [
    f'{name} alone compares {formats.listing(arms)}: left out here.'
    for name, arms in result.alone.items()
  ]
  return [*texts, *_differing_levels(result)]


def _differing_levels(result: data_sets_lib.DataSets) -> list[str]:
  """A sentence for each arm whose levels are not the same in all studies."""
  texts = []
  for row in result.means.to_dict('records'):
    changes = {
      case.study.data.name: _change(case, row)
      for case in result.cases
      if _has(result, case, row)
    }
    if len(set(changes.values())) > 1:
      words = (f'{change} on {data}' for data, change in changes.items())
      texts.append(f'{row["arm"]} is {formats.listing(list(words))}.')
  return texts


def _has(result: data_sets_lib.DataSets, case: data_sets_lib.Case, row: _Row) -> bool:
  return bool(len(_cell(result.cells, case, row)))


def _cell(cells: pd.DataFrame, case: data_sets_lib.Case, row: _Row) -> pd.DataFrame:
  """The rows of a contrast in a study: one or none."""
  same = (cells['arm'] == row['arm']) & (cells['reference'] == row['reference'])
  return cells[same & (cells['study'] == case.name)]


def _change(case: data_sets_lib.Case, row: _Row) -> str:
  """'relu → tanh', as the study has it."""
  return facts.name_change(case.study, dict(row))


def _first_change(result: data_sets_lib.DataSets, row: _Row) -> str:
  case = next(case for case in result.cases if _has(result, case, row))
  return _change(case, row)


def _names(result: data_sets_lib.DataSets) -> list[str]:
  return [case.study.data.name for case in result.cases]


def _metric(result: data_sets_lib.DataSets) -> str:
  study = result.cases[0].study
  return facts.words(study, study.metric.column)


def _answer(result: data_sets_lib.DataSets) -> blocks.Verdicts:
  """A sentence a change: its mean over data sets, then how many data sets agree."""
  column = result.cases[0].study.metric.column
  items = []
  for row in result.means.to_dict('records'):
    cells = result.cells[
      (result.cells['arm'] == row['arm'])
      & (result.cells['reference'] == row['reference'])
    ]
    counts = cells['own'].value_counts()
    own = [f'{name} on {counts[name]}' for name in sentences.MARKS if name in counts]
    by_itself = f'verdicts of the studies: {formats.listing(own) or "none"}'
    name = f'{row["factor"] or row["arm"]}, {_first_change(result, row)}'
    if row['lack']:
      items.append(
        ('inconclusive', f'{name}: no mean, {_LACKS[row["lack"]]}; {by_itself}.')
      )
      continue
    mean = (
      f'{formats.delta(column, row["delta"], unit=True)} '
      f'{formats.interval(column, row["ci_low"], row["ci_high"])} on average over '
      f'{row["k"]} data sets ({row["verdict"]})'
    )
    items.append((row['verdict'], f'{name}: {mean}; {by_itself}.'))
  return blocks.Verdicts(tuple(items))


def _effects(result: data_sets_lib.DataSets) -> Section:
  """Changes × data sets, then all cells with their p."""
  column = result.cases[0].study.metric.column
  unit = formats.unit_of(column, short=True)
  rows = []
  for row in result.means.to_dict('records'):
    cells = {
      case.study.data.name: _effect_cell(column, _cell(result.cells, case, row))
      for case in result.cases
    }
    mean = formats.NOTHING if row['lack'] else _estimate(column, row)
    rows.append(
      {
        'Factor': str(row['factor'] or row['arm']),
        'Change': _first_change(result, row),
        **cells,
        'Mean': mean,
      }
    )
  marks = sentences.MARKS
  text = (
    f'Difference: arm − reference{f", in {unit}" if unit else ""}, with the study’s '
    f'interval over seeds. {marks["helps"]} helps, {marks["hurts"]} hurts, '
    f'{marks["equivalent"]} equivalent, {marks["inconclusive"]} inconclusive: the '
    'study’s own verdict, of the component or, where one level stands in place of '
    'another, of the change. An asterisk: that verdict holds with Holm’s procedure '
    f'over all {len(result.cells)} cells.'
  )
  table = tables.make('Effects', rows, ('Factor', 'Change'))
  details = Section('Every cell', (_details(result),), collapsed=True)
  return Section('Effects', (table, Prose(text, 'small'), details), 'effects')


def _effect_cell(column: str, cells: pd.DataFrame) -> str:
  """'▼* −0.60 [−0.97, −0.22]'; a dash where the study has no such change."""
  if not len(cells):
    return formats.NOTHING
  row = cells.iloc[0].to_dict()
  if not row['own']:
    return 'diverged'
  holds = '*' if row['own'] == row['verdict'] != 'inconclusive' else ''
  return f'{sentences.MARKS[row["own"]]}{holds} {_estimate(column, row)}'


def _estimate(column: str, row: _Row) -> str:
  delta = formats.delta(column, row['delta'])
  return f'{delta} {formats.interval(column, row["ci_low"], row["ci_high"])}'


def _details(result: data_sets_lib.DataSets) -> blocks.Table:
  column = result.cases[0].study.metric.column
  rows = [
    {
      'Arm': row['arm'],
      'Data': row['data'],
      'Own verdict': row['own'] or 'none: diverged',
      'Over all': row['verdict'] or 'none: diverged',
      'Difference': formats.delta(column, row['delta']),
      'Interval': formats.interval(column, row['ci_low'], row['ci_high']),
      'p': formats.p_value(row['p']),
      'p (Holm, all)': formats.p_value(row['p_holm']),
      'Seeds': formats.count(row['n']),
    }
    for row in result.cells.to_dict('records')
  ]
  return tables.make('Every cell', rows, ('Arm', 'Data', 'Own verdict', 'Over all'))


def _means(result: data_sets_lib.DataSets) -> Section:
  """The means, and how much data sets differ."""
  column = result.cases[0].study.metric.column
  rows = []
  for row in result.means.to_dict('records'):
    if row['lack']:
      continue
    share = f'{100 * row["i_squared"]:.0f}{formats.THIN}%'
    cells = {
      'Factor': str(row['factor'] or row['arm']),
      'Change': _first_change(result, row),
      tables.VERDICT: row['verdict'],
      'Data sets': formats.count(row['k']),
      'Mean': formats.delta(column, row['delta']),
      'Interval': formats.interval(column, row['ci_low'], row['ci_high']),
      'p (Holm)': formats.p_value(row['p_holm']),
      'τ': formats.delta(column, row['tau']).lstrip('+'),
      'I²': share,
      'p (equal)': formats.p_value(row['q_p']),
    }
    if len(result.cases) >= _FEW:
      ends = row['predicted_low'], row['predicted_high']
      cells['A further data set'] = formats.interval(column, *ends)
    rows.append(cells)
  text = (
    'The random-effects mean over data sets, each with a true effect of its own: '
    'Paule and Mandel’s τ, the standard deviation of the true effects; Hartung and '
    'Knapp’s interval, Student’s t over data sets. I²: share of the scatter that is of '
    'the true effects. p (equal): that all data sets have one true effect. Holm’s '
    'procedure goes over the means.'
  )
  words = ('Factor', 'Change', tables.VERDICT)
  name = 'Means over data sets'
  if not rows:
    return Section(name, (Prose('No change has runs on two data sets.'),), 'means')
  return Section(name, (tables.make(name, rows, words), Prose(text, 'small')), 'means')


def _matrix(result: data_sets_lib.DataSets) -> Section:
  """The multi-comparison matrix of the arms that all studies have."""
  arms = list(result.scores.index)
  if len(arms) < 2:
    text = 'No two arms are in all studies.'
    return Section('Arms against arms', (Prose(text),), 'matrix')
  column = result.cases[0].study.metric.column
  more = len(arms) - _SHOWN
  best = f' The best {_SHOWN} of {len(arms)} arms; all are in matrix.csv.' * (more > 0)
  arms = arms[:_SHOWN]
  by_arms = {
    (row['row'], row['column']): row for row in result.matrix.to_dict('records')
  }
  rows = []
  for arm in arms[:-1]:
    cells = {'': arm}
    for other in arms[1:]:
      cells[other] = _matrix_cell(column, by_arms.get((arm, other)))
    rows.append(cells)
  text = (
    'Row minus column, best mean first: the random-effects mean of the difference over '
    'data sets with its interval; in parentheses, on how many data sets the row is '
    'better, equal and worse in the mean over seeds. An asterisk: the interval '
    'excludes 0, without correction for the number of pairs. An entry depends on its '
    f'two arms alone.{best}'
  )
  name = 'Arms against arms'
  return Section(name, (tables.make(name, rows, ('',)), Prose(text, 'small')), 'matrix')


def _matrix_cell(column: str, row: _Row | None) -> str:
  """'+0.55* [+0.10, +1.19] (3/0/0)'."""
  if row is None:
    return ''
  counts = f'({row["better"]}/{row["ties"]}/{row["worse"]})'
  if formats.missing(row['delta']):
    return counts
  mark = '*' * (row['ci_low'] > 0 or row['ci_high'] < 0)
  ends = formats.interval(column, row['ci_low'], row['ci_high'])
  return f'{formats.delta(column, row["delta"])}{mark} {ends} {counts}'


def _studies(result: data_sets_lib.DataSets) -> Section:
  rows = []
  for case in result.cases:
    study = case.study
    arm = summary.intact_arm(study)
    runs = case.runs[(case.runs['arm'] == arm) & (case.runs['tuned'] == study.tuned)]
    rows.append(
      {
        'Study': case.name,
        'Data': study.data.name,
        'Training examples': formats.count(study.data.sizes.get('train', float('nan'))),
        'Steps': formats.count(study.arm(arm).steps),
        'Seeds': formats.count(len(study.seeds)),
        f'{formats.sentence_case(_metric(result))}, intact': formats.value(
          study.metric.column, float(runs[study.metric.column].mean())
        ),
        'Margin': formats.delta(study.metric.column, study.margin).lstrip('+')
        if study.margin
        else formats.NOTHING,
      }
    )
  name = 'The studies'
  return Section(name, (tables.make(name, rows, ('Study', 'Data')),), 'studies')
