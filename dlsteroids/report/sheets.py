"""The report's tables as plain words, for the page and for Markdown alike."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from dlsteroids.analysis import looks, pairs, summary, two_way
from dlsteroids.report import facts, formats

VERDICT = 'Verdict'  # this column's cells are verdicts
_REFERENCES = 'Without gradient descent'


class Sheet(NamedTuple):
  """A table: its title, its columns, which of them hold numbers, and its rows."""

  title: str
  head: tuple[str, ...]
  numeric: tuple[bool, ...]
  rows: tuple[tuple[str, ...], ...]


class Sheets(NamedTuple):
  """All tables of a report; None or empty where the study has nothing to show."""

  effects: list[Sheet]
  others: list[Sheet]
  interactions: Sheet | None
  anova: Sheet | None
  compute: Sheet
  problems: Sheet | None
  references: Sheet | None
  choices: Sheet | None


def gather(source: summary.Source) -> Sheets:
  """Makes every table once, for the page and for the Markdown."""
  metric, tables = pairs.deciding(source.study), source.tables
  blocked = 'Analysis of variance, blocked by seed'
  return Sheets(
    make_effects(source),
    make_other_effects(source),
    make_frame('Pairwise interactions', tables.interactions, metric),
    make_frame(blocked, tables.anova, metric),
    make_compute(source),
    make_problems(source),
    make_references(source),
    make_choices(source.study),
  )


def _sheet(
  title: str, columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]
) -> Sheet:
  head, numeric = zip(*columns)
  return Sheet(title, head, numeric, tuple(tuple(row) for row in rows))


def make_effects(source: summary.Source) -> list[Sheet]:
  """Effects on the deciding metric, the state that decides first."""
  metric, declared = pairs.deciding(source.study), pairs.declared(source.study)
  found = summary.states(source)
  sheets = []
  for state in sorted(found, key=lambda state: state != declared):
    title = 'Tuned per arm' if state else 'As configured'
    if len(found) > 1:
      title += ' (decides)' if state == declared else ' (descriptive)'
    sheets.append(_effects(source, title, metric, state, state == declared))
  return sheets


def make_other_effects(source: summary.Source) -> list[Sheet]:
  """Effects on the other metrics, and on every metric at the last step."""
  effects = source.tables.effects
  if not len(effects):
    return []
  state = pairs.declared(source.study)
  names = dict.fromkeys(effects['metric'])
  names.pop(pairs.deciding(source.study), None)
  words = {name: _metric_words(name) for name in names}
  return [_effects(source, words[name], name, state, False) for name in names]


def _metric_words(metric: str) -> str:
  last = metric.startswith('final/')
  words = formats.name(metric.removeprefix('final/'))
  return words[:1].upper() + words[1:] + (', last step' if last else ', best step')


def _effects(
  source: summary.Source, title: str, metric: str, state: int, judged: bool
) -> Sheet:
  unit = formats.unit_of(metric, short=True)
  difference = f'Difference, {unit}' if unit else 'Difference'
  p, p_name = ('p_holm', 'p (Holm)') if judged else ('p', 'p')
  scored = metric in ('test/accuracy', pairs.deciding(source.study))
  both = _intervals_with_examples(source, metric, state) if scored else {}
  rows = []
  for row in summary.effects_of(source, metric, state):
    interval = formats.interval(metric, row['ci_low'], row['ci_high'])
    if 'descriptive' in str(row['ci_kind']) and interval != formats.NOTHING:
      interval += '*'
    cells = {
      'Factor': str(row['factor'] or row['arm']),
      'Change': facts.name_change(source.study, row),
      VERDICT: '' if formats.missing(row['verdict']) else str(row['verdict']),
      'Reference': formats.value(metric, row['reference_mean']),
      'Arm': formats.value(metric, row['arm_mean']),
      difference: formats.delta(metric, row['delta']),
      'Interval over seeds': interval,
      'over seeds × examples': both.get(_key(row), ''),
      p_name: '' if formats.missing(row[p]) else formats.p_value(row[p]),
      'P(better)': _probability(row),
      'Seeds': formats.count(row['n']),
    }
    rows.append(cells)
  words = ('Factor', 'Change', VERDICT)
  shown = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
  columns = [(name, name not in words) for name in shown or words]
  filled = [[row[name] or formats.NOTHING for name in shown] for row in rows]
  return _sheet(title, columns, filled)


def _probability(row: Mapping[str, Any]) -> str:
  """'0.93 [0.81, 1.00]', the interval where it was measured."""
  share, *ends = (
    formats.number(row[name], 2)
    for name in ('prob_improvement', 'improvement_low', 'improvement_high')
  )
  known = not formats.missing(row['improvement_low'])
  return f'{share} [{", ".join(ends)}]' if known else share


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
  return tuple(str(row[name]) for name in ('arm', 'factor', 'level', 'reference'))


def _intervals_with_examples(
  source: summary.Source, metric: str, state: int
) -> Mapping[tuple[str, ...], str]:
  """Two-way bootstrap intervals of the contrasts, where examples' scores are stored."""
  study, runs = source.study, source.tables.runs
  alpha = looks.state(study, runs).alpha
  found = {}
  for contrast in study['contrasts']:
    try:
      span = two_way.two_way(study, runs, source.arrays, contrast, alpha, metric, state)
    except ValueError:  # arms that see other examples have no example in common
      continue
    if span is not None:
      words = formats.interval(metric, span.low, span.high)
      found[_key(contrast)] = words
  return found


def make_compute(source: summary.Source) -> Sheet:
  """Parameters, FLOPs, wall time and memory per arm."""
  columns = [
    ('Arm', False),
    ('Parameters', True),
    ('Steps', True),
    ('FLOPs a step, nominal', True),
    ('executed', True),
    ('FLOPs a run', True),
    ('against intact', True),
    ('all its runs', True),
    ('Wall time a run', True),
    ('of the peak', True),
    ('Activations', True),
    ('State', True),
  ]
  costs = summary.compute_of(source, pairs.declared(source.study))
  rows = [
    [
      row['arm'],
      formats.count(row['params']),
      formats.count(row['steps']),
      formats.flops(row['nominal']),
      formats.flops(row['executed']),
      formats.flops(row['run']),
      f'{row["ratio"]:.2f}×',
      formats.flops(row['all']),
      formats.seconds(row['wall']),
      formats.NOTHING if formats.missing(row['share']) else f'{row["share"]:.0%}',
      formats.size(row['activations']),
      formats.size(row['state']),
    ]
    for row in costs
  ]
  if not all(formats.missing(cost['stall']) for cost in costs):
    place = columns.index(('Wall time a run', True)) + 1
    columns[place:place] = [('a step', True), ('of it waiting for input', True)]
    for row, cost in zip(rows, costs):
      row[place:place] = waiting(cost)
  return _sheet('Compute', columns, rows)


def waiting(cost: Mapping[str, Any]) -> list[str]:
  """Of an arm whose data stream: wall time a step, and what of it went by waiting."""
  if formats.missing(cost['stall']) or not cost['wall']:
    return [formats.NOTHING] * 2
  steps = cost['steps']
  share = cost['stall'] / cost['wall']
  return [
    formats.seconds(cost['wall'] / steps),
    f'{formats.seconds(cost["stall"] / steps)} ({share:.0%})',
  ]


def make_problems(source: summary.Source) -> Sheet | None:
  """Diverged and failed runs; None if there are none."""
  rows = [
    [
      row['arm'],
      'tuned' if row['tuned'] else 'as configured',
      row['status'],
      str(len(row['seeds'])),
      ', '.join(map(str, row['seeds'])),
    ]
    for row in summary.list_problems(source)
  ]
  columns = [
    ('Arm', False),
    ('Numbers', False),
    ('Status', False),
    ('Runs', True),
    ('Seeds', False),
  ]
  return _sheet('Runs that did not end well', columns, rows) if rows else None


def make_references(source: summary.Source) -> Sheet | None:
  """Real images and methods without gradient descent beside the intact arm, or None."""
  study = source.study
  known = facts.references(study)
  there = dict.fromkeys(column for row in known.values() for column in row)
  names = [name for name in there if facts.scores(study, name)]
  if not names:
    return None
  arm, state = summary.intact_arm(study), pairs.declared(study)
  means = [summary.mean_of(source, arm, name, state) for name in names]
  numbers = list(map(formats.value, names, means))
  seeds = summary.scores_of(source, state).value[arm].count()
  rows = [[arm, formats.count(seeds), *numbers]]
  for method in known:
    scores = [facts.scores(study, name).get(method, float('nan')) for name in names]
    cells = map(formats.value, names, scores)
    rows.append([method, formats.NOTHING, *cells])
  titles = [facts.words(study, name) for name in names]
  heads = [(text[:1].upper() + text[1:], True) for text in titles]
  columns = [('Method', False), ('Seeds', True), *heads]
  title = 'Beside real images' if set(known) == {facts.FLOOR} else _REFERENCES
  return _sheet(title, columns, rows)


def make_choices(study: Mapping[str, Any]) -> Sheet | None:
  """The numbers tuning chose for each arm; None without tuning."""
  chosen = (study.get('tune') or {}).get('chosen') or {}
  paths = sorted({path for numbers in chosen.values() for path in numbers})
  if not paths:
    return None
  rows = [
    [arm, *(f'{numbers.get(path, formats.NOTHING)}' for path in paths)]
    for arm, numbers in chosen.items()
  ]
  columns = [('Arm', False), *((path, True) for path in paths)]
  return _sheet('What tuning chose', columns, rows)


_WORDS = {
  'factor': 'Factor',
  'level': 'instead',
  'with': 'With',
  'with_level': 'instead of it',
  'delta': 'Interaction',
  'source': 'Source',
  'df': 'df',
  'sum_sq': 'Sum of squares',
  'mean_sq': 'Mean square',
  'n': 'Seeds',
}
_HIDDEN = {'metric', 'ci_kind', 'ci_high'}


def make_frame(title: str, frame: pd.DataFrame | None, metric: str) -> Sheet | None:
  """Interactions or ANOVA as a table; None if there are no rows.

  Args:
    title: its heading.
    frame: differences in `delta`, `ci_low` and `ci_high` are in the metric's unit.
    metric: the deciding metric.
  """
  if frame is None or not len(frame):
    return None
  names = [str(name) for name in frame if name not in _HIDDEN]
  numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in names]
  heads = [_WORDS.get(name, name) for name in names]
  heads = ['Interval' if head == 'ci_low' else head for head in heads]
  rows = []
  for row in frame.to_dict('records'):
    cells = []
    for name in names:
      if name == 'ci_low':
        cells.append(formats.interval(metric, row['ci_low'], row['ci_high']))
      elif name == 'delta':
        cells.append(formats.delta(metric, row['delta'], unit=True))
      elif name == 'p':
        cells.append(formats.p_value(row['p']))
      elif isinstance(row[name], str):
        cells.append(row[name])
      else:
        cells.append(formats.number(row[name]))
    rows.append(cells)
  return _sheet(title, list(zip(heads, numeric)), rows)
