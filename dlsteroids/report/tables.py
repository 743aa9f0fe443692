"""The report's tables as plain words: effects, interactions, compute, references."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dlsteroids.analysis import effects as effects_lib
from dlsteroids.analysis import looks, summary, two_way
from dlsteroids.report import blocks, facts, formats
from dlsteroids.study import study as study_lib
from dlsteroids.util import memoise

VERDICT = 'Verdict'  # this column's cells are verdicts
_NAMES = ('Factor', 'Change', VERDICT)  # columns that hold no number
_WORDS = {
  'factor': 'Factor',
  'level': 'instead',
  'with': 'With',
  'with_level': 'instead of it',
  'delta': 'Interaction',
  'ci_low': 'Interval',
  'source': 'Source',
  'df': 'df',
  'sum_sq': 'Sum of squares',
  'mean_sq': 'Mean square',
  'n': 'Seeds',
}
_HIDDEN = {'metric', 'ci_kind', 'ci_high'}


def make(
  title: str, rows: Sequence[Mapping[str, str]], words: Sequence[str] = ()
) -> blocks.Table:
  """A table of rows `{heading: cell}`; all columns but `words` hold numbers."""
  head = tuple(rows[0] if rows else words)
  numeric = tuple(name not in words for name in head)
  return blocks.Table(title, head, numeric, tuple(tuple(row.values()) for row in rows))


def make_effects(source: summary.Source) -> list[blocks.Table]:
  """Effects on the deciding metric, the tuning state that decides first."""
  study, states = source.study, summary.states(source)
  exploratory = looks.state(study, source.tables.runs).exploratory
  tables = []
  for state in sorted(states, key=lambda state: state != study.tuned):
    decides = state == study.tuned
    marks = ['decides' if decides else 'descriptive'] if len(states) > 1 else []
    marks += ['exploratory'] if decides and exploratory else []
    title = 'Tuned per arm' if state else 'As configured'
    title = title if study.table is None else 'Differences'
    title += f' ({", ".join(marks)})' if marks else ''
    tables.append(_effects(source, title, study.metric.column, state))
  return tables


def make_other_effects(source: summary.Source) -> list[blocks.Table]:
  """Effects on the other metrics, and on every metric at the last step."""
  effects, study = source.tables.effects, source.study
  columns = dict.fromkeys(effects['metric'] if len(effects) else ())
  columns.pop(study.metric.column, None)
  tables = []
  for column in columns:
    words = formats.sentence_case(formats.name(column.removeprefix('final/')))
    step = 'last step' if column.startswith('final/') else 'best step'
    title = words if study.table else f'{words}, {step}'
    tables.append(_effects(source, title, column, study.tuned))
  return tables


def _effects(
  source: summary.Source, title: str, column: str, state: int
) -> blocks.Table:
  """A row a contrast; columns without an entry are left out."""
  study = source.study
  decides = column == study.metric.column and state == study.tuned
  unit = formats.unit_of(column, short=True)
  difference = f'Difference, {unit}' if unit else 'Difference'
  p, p_name = ('p_holm', 'p (Holm)') if decides else ('p', 'p')
  scored = column in ('test/accuracy', study.metric.column)
  two_ways = intervals_with_examples(source, column, state) if scored else {}
  crossed = study.data.official_test
  population = 'over seeds × examples' if crossed else 'for the population'
  rows = []
  for row in summary.effects_of(source, column, state):
    interval = formats.interval(column, row['ci_low'], row['ci_high'])
    if 'descriptive' in str(row['ci_kind']) and interval != formats.NOTHING:
      interval += '*'
    ends = two_ways.get(key_of(row))
    is_main = row['effect'] == effects_lib.MAIN
    cells = {
      'Factor': str(row['factor'] or row['arm']) + is_main * ' (main effect)',
      'Change': facts.name_change(study, row),
      VERDICT: verdict_cell(row),
      'Reference': formats.value(column, row['reference_mean']),
      'Arm': formats.value(column, row['arm_mean']),
      difference: formats.delta(column, row['delta']),
      'Median': formats.delta(column, row['delta_median']),
      'Interval over seeds': interval,
      population: formats.interval(column, *ends) if ends else '',
      p_name: '' if formats.missing(row[p]) else formats.p_value(row[p]),
      'P(better)': _probability(row),
      'Seeds' if study.paired else 'Runs': _count(study, row),
    }
    if effects_lib.is_mostly_diverged(row):  # no evidence of anything
      names = (*_NAMES, 'Reference', 'Seeds', 'Runs')
      cells = {name: cell if name in names else '' for name, cell in cells.items()}
    rows.append(cells)
  heads = [head for head in rows[0] if any(row[head] for row in rows)] if rows else []
  filled = [{head: row[head] or formats.NOTHING for head in heads} for row in rows]
  return make(title, filled, _NAMES)


def _count(study: study_lib.Study, row: Mapping[str, Any]) -> str:
  """'8'; of runs that are not paired '8 and 10'."""
  count = formats.count(row['n'])
  return count if study.paired else f'{count} and {formats.count(row["n_reference"])}'


def verdict_cell(row: facts.Row) -> str:
  """The verdict; of a contrast without one why, or ''."""
  if not formats.missing(row['verdict']):
    return str(row['verdict'])
  return 'none: diverged' if effects_lib.is_mostly_diverged(row) else ''


def _probability(row: Mapping[str, Any]) -> str:
  """'0.93 [0.81, 1.00]', the interval where it was measured."""
  names = ('prob_improvement', 'improvement_low', 'improvement_high')
  share, low, high = (formats.number(row[name], 2) for name in names)
  return (
    share if formats.missing(row['improvement_low']) else f'{share} [{low}, {high}]'
  )


def key_of(row: Mapping[str, Any]) -> tuple[str, ...]:
  """What tells the contrasts of a study apart."""
  return tuple(str(row[name]) for name in ('arm', 'factor', 'level', 'reference'))


def intervals_with_examples(
  source: summary.Source, column: str, state: int
) -> Mapping[tuple[str, ...], tuple[float, float]]:
  """Two-way intervals of the contrasts, where the scores of examples are stored."""
  study, runs = source.study, source.tables.runs
  alpha = looks.state(study, runs).alpha
  # A study differs from itself before this look was entered in its looks alone.
  parts = (study.contrasts, study.metrics, study.data, runs, source.arrays)
  return memoise.once(
    (intervals_with_examples, *parts, alpha, column, state),
    lambda: _measure_with_examples(source, alpha, column, state),
  )


def _measure_with_examples(
  source: summary.Source, alpha: float, column: str, state: int
) -> dict[tuple[str, ...], tuple[float, float]]:
  study, runs = source.study, source.tables.runs
  intervals = {}
  for contrast in dict.fromkeys((*summary.family(study), *study.contrasts)):
    try:
      span = two_way.two_way(study, runs, source.arrays, contrast, alpha, column, state)
    except ValueError:  # arms that see other examples have no example in common
      continue
    if span is not None:
      intervals[key_of(contrast._asdict())] = span.low, span.high
  return intervals


def make_frame(
  title: str, frame: pd.DataFrame | None, column: str
) -> blocks.Table | None:
  """Interactions or ANOVA as a table; None if there are no rows.

  Differences (`delta`, `ci_low`, `ci_high`) are of the metric `column`.
  """
  if frame is None or not len(frame):
    return None
  names = [str(name) for name in frame if name not in _HIDDEN]
  heads = {name: _WORDS.get(name, name) for name in names}
  rows = [
    {head: _frame_cell(row, name, column) for name, head in heads.items()}
    for row in frame.to_dict('records')
  ]
  numeric = pd.api.types.is_numeric_dtype
  return make(title, rows, [heads[name] for name in names if not numeric(frame[name])])


def _frame_cell(row: Mapping[Any, Any], name: str, column: str) -> str:
  if name == 'ci_low':
    return formats.interval(column, row['ci_low'], row['ci_high'])
  if name == 'delta':
    return formats.delta(column, row['delta'], unit=True)
  if name == 'p':
    return formats.p_value(row['p'])
  return row[name] if isinstance(row[name], str) else formats.number(row[name])


def make_compute(source: summary.Source) -> blocks.Table:
  """Parameters, FLOPs, wall time and memory per arm."""
  costs = summary.compute_of(source, source.study.tuned)
  streams = not all(formats.missing(cost['stall']) for cost in costs)
  rows = []
  for cost in costs:
    row = {
      'Arm': cost['arm'],
      'Parameters': formats.count(cost['params']),
      'Steps': formats.count(cost['steps']),
      'FLOPs a step, nominal': formats.flops(cost['nominal']),
      'executed': formats.flops(cost['executed']),
      'FLOPs a run': formats.flops(cost['run']),
      'against intact': f'{cost["ratio"]:.2f}×',
      'all its runs': formats.flops(cost['all']),
      'Wall time a run': formats.seconds(cost['wall']),
    }
    if streams:  # wall time a step, and the part of it spent waiting
      row |= dict.fromkeys(('a step', 'of it waiting for input'), formats.NOTHING)
      if cost['wall'] and not formats.missing(cost['stall']):
        waited = formats.seconds(cost['stall'] / cost['steps'])
        row['a step'] = formats.seconds(cost['wall'] / cost['steps'])
        part = cost['stall'] / cost['wall']
        row['of it waiting for input'] = f'{waited} ({part:.0%})'
    share = cost['share']
    row['of the peak'] = formats.NOTHING if formats.missing(share) else f'{share:.0%}'
    row['Activations'] = formats.size(cost['activations'])
    row['State'] = formats.size(cost['state'])
    rows.append(row)
  return make('Compute', rows, ['Arm'])


def make_flops(source: summary.Source) -> blocks.Table:
  """FLOPs of a run of every arm, as the table of runs has them."""
  rows = [
    {
      'Arm': cost['arm'],
      'FLOPs a run': formats.flops(cost['run']),
      'against the reference': f'{cost["ratio"]:.2f}×',
    }
    for cost in summary.compute_of(source, source.study.tuned)
  ]
  return make('FLOPs', rows, ['Arm'])


def make_problems(source: summary.Source) -> blocks.Table | None:
  """Diverged and failed runs; None if there are none."""
  rows = [
    {
      'Arm': row['arm'],
      'Numbers': 'tuned' if row['tuned'] else 'as configured',
      'Status': row['status'],
      'Runs': str(len(row['seeds'])),
      'Seeds': ', '.join(map(str, row['seeds'])),
    }
    for row in summary.list_problems(source)
  ]
  words = ('Arm', 'Numbers', 'Status', 'Seeds')
  return make('Runs that did not end well', rows, words) if rows else None


def make_references(source: summary.Source) -> blocks.Table | None:
  """Real images and methods without gradient descent beside the intact arm, or None."""
  study = source.study
  methods = study.data.references
  columns = dict.fromkeys(column for row in methods.values() for column in row)
  names = [name for name in columns if facts.scores(study, name)]
  if not names:
    return None
  arm = summary.intact_arm(study)
  means = [summary.mean_of(source, arm, name, study.tuned) for name in names]
  seeds = summary.scores_of(source, study.tuned).value[arm].count()
  heads = [formats.sentence_case(facts.words(study, name)) for name in names]
  lines = [(arm, formats.count(seeds), means)]
  for method in methods:
    scores = [facts.scores(study, name).get(method, float('nan')) for name in names]
    lines.append((method, formats.NOTHING, scores))
  rows = [
    {
      'Method': method,
      'Seeds': count,
      **dict(zip(heads, map(formats.value, names, row))),
    }
    for method, count, row in lines
  ]
  only_floor = set(methods) == {facts.FLOOR}
  title = 'Beside real images' if only_floor else 'Without gradient descent'
  return make(title, rows, ['Method'])


def make_choices(study: study_lib.Study) -> blocks.Table | None:
  """The numbers that tuning chose for each arm; None without tuning."""
  if study.tuning is None:
    return None
  chosen = {
    choice.arm: choice.numbers
    for choice in study.tuning.choices
    if (choice.regime, choice.budget, choice.size) == (study.regime, 1, 1)
  }
  paths = sorted({path for numbers in chosen.values() for path in numbers})
  if not paths:
    return None
  rows = [
    {'Arm': arm, **{path: f'{numbers.get(path, formats.NOTHING)}' for path in paths}}
    for arm, numbers in chosen.items()
  ]
  return make('What tuning chose', rows, ['Arm'])


def make_expected_best(
  study: study_lib.Study, frame: pd.DataFrame | None
) -> blocks.Table | None:
  """The expected best validation score by trials, at 1, 2, 5, 10, … and all of them."""
  if frame is None or not len(frame):
    return None
  most = int(frame['trials'].max())
  shown = [k * 10**e for e in range(4) for k in (1, 2, 5) if k * 10**e < most] + [most]
  rows = []
  for arm in dict.fromkeys(frame['arm']):
    own = frame[frame['arm'] == arm].set_index('trials')['expected']
    cells = {str(k): formats.value(study.metric.column, own[k]) for k in shown}
    rows.append({'Arm': str(arm), **cells})
  return make('Expected best validation score by number of trials', rows, ['Arm'])
