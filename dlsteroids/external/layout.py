"""Which column of a table is which: a row a run, with arm, seed, scores and cost."""

import collections
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from dlsteroids.external import cells, sheets
from dlsteroids.util import errors

# Columns that are recognised without being named, in this order, in any case, also as
# 'params.arm', 'tags.arm', 'config.arm' or 'model/arm'.
ARMS = ('arm', 'variant', 'condition', 'method', 'treatment', 'group', 'ablation')
SEEDS = ('seed', 'random_seed', 'rng_seed', 'random_state', 'replicate', 'trial')
RUNS = ('name', 'run_name', 'run', 'tags.mlflow.runname')  # 'ARM-seed3'
STATES = ('state', 'status')
ENDED = ('finished', 'success', 'completed', 'complete', 'done', 'ok')
DIVERGED = ('diverged',)
BROKEN = (
  *('failed', 'crashed', 'killed', 'running', 'pending', 'scheduled', 'preempted'),
  *('timeout', 'cancelled', 'canceled', 'out_of_memory', 'oom', 'node_fail', 'error'),
  *('aborted', 'interrupted', 'stopped', 'queued'),
)
# Numbers that tools write beside the scores.
BOOKKEEPING = re.compile(
  r'^(_.*|.*\b(step|epoch|runtime|duration|created|updated|time|timestamp|job|id)\b.*)$',
  re.I,
)
# Columns that are arms in no table with a column an arm.
NO_ARMS = (
  *('step', 'global_step', 'epoch', 'runtime', 'time', 'timestamp', 'duration'),
  *('created', 'updated', 'id', 'job', 'index'),
)
_SEED = re.compile(r'^(?:seed|run|s)?[ _=:.-]*(\d+)$', re.I)


class Choice(NamedTuple):
  """Which columns the user names; '' or () where they are to be recognised.

  Attributes:
    arm: one column, or several with commas between.
    seed, flops, budget, status: columns.
    metrics: columns of scores, the deciding one first.
    reference: the arm that the others are compared with.
  """

  arm: str = ''
  seed: str = ''
  metrics: tuple[str, ...] = ()
  reference: str = ''
  flops: str = ''
  budget: str = ''
  status: str = ''


class Run(NamedTuple):
  """One row of the table.

  Attributes:
    arm: name.
    seed: as in the table; '' without seeds.
    scores: by metric column; None where the table has none.
    status: 'ok', 'diverged' or 'failed', as the table says.
    flops, budget: of the run; None where the table has none.
    line: of the table, 1 is the first row of runs.
  """

  arm: str
  seed: str
  scores: Mapping[str, float | None]
  status: str
  flops: float | None
  budget: float | None
  line: int


class Runs(NamedTuple):
  """The runs of a table, and the columns they were read from ('' if none).

  Attributes:
    runs: a row a run, in the table's order.
    layout: as `study.Table` has it.
    choice: the columns; of a wide table its arms have none.
    percent: the metrics with cells such as '91.2%', which are read as 0.912.
  """

  runs: tuple[Run, ...]
  layout: str
  choice: Choice
  percent: frozenset[str] = frozenset()


def read_runs(sheet: sheets.Sheet, choice: Choice) -> Runs:
  """Reads the runs of a table.

  Raises:
    UserError: a column that is not there, that holds text in place of numbers, or that
      has to be named.
  """
  frame, layout = sheet.frame, sheet.layout
  named = choice.arm or _recognise(frame, ARMS)
  if not named and layout == 'table' and _is_wide(frame, choice):
    return _read_wide(frame, choice)
  arms, seeds, choice = _identify(sheet, choice)
  spread = _seed_columns(frame, choice) if not choice.seed else {}
  if layout == 'table' and spread:
    return _read_spread(frame, choice, arms, spread)
  columns = {
    role: find(frame, name, role) if name else ''
    for role, name in (('flops', choice.flops), ('budget', choice.budget))
  }
  status_column, statuses = _read_status(frame, choice.status)
  taken = {choice.seed, status_column, *columns.values(), *choice.arm.split(',')}
  metrics = tuple(find(frame, name, 'metric') for name in choice.metrics)
  metrics = metrics or (_only_metric(frame, layout, taken),)
  numbers = {name: read_numbers(frame, name, 'metric') for name in metrics}
  costs: dict[str, Sequence[float | None]] = {
    role: read_numbers(frame, name, role) if name else [None] * len(frame)
    for role, name in columns.items()
  }
  runs = tuple(
    Run(
      arms[i],
      seeds[i],
      {name: values[i] for name, values in numbers.items()},
      statuses[i],
      costs['flops'][i],
      costs['budget'][i],
      i + 1,
    )
    for i in range(len(frame))
  )
  choice = choice._replace(
    metrics=metrics,
    status=status_column,
    flops=columns['flops'],
    budget=columns['budget'],
  )
  percent = frozenset(name for name in metrics if _is_percent(frame, (name,), name))
  return Runs(runs, 'long' if layout == 'table' else layout, choice, percent)


def find(frame: pd.DataFrame, name: str, role: str) -> str:
  """The column called `name`, also without the prefix a tool gives it, in any case.

  Raises:
    UserError: if there is none, or several.
  """
  names = [str(column) for column in frame.columns]
  tests: Sequence[Callable[[str], bool]] = (
    lambda column: column == name,
    lambda column: column.lower() == name.lower(),
    lambda column: re.split(r'[./]', column.lower())[-1] == name.lower(),
    lambda column: (
      re.sub(r'[^a-z0-9]+', '_', column.lower())
      == re.sub(r'[^a-z0-9]+', '_', name.lower())
    ),
  )
  for test in tests:
    matches = [column for column in names if test(column)]
    if len(matches) == 1:
      return matches[0]
    if matches:
      raise errors.UserError(
        f'--{role}={name} may be any of the columns {listing(matches)}: name one'
      )
  raise errors.UserError(
    f'no column {name!r} for --{role}{errors.did_you_mean(name, names)}; the table has '
    f'{listing(names)}'
  )


def read_numbers(frame: pd.DataFrame, name: str, role: str) -> list[float | None]:
  """A column's numbers; None where a cell is empty; UserError where one is text."""
  numbers = []
  for line, cell in enumerate(frame[name], 1):
    try:
      numbers.append(cells.number(cell))
    except ValueError as error:
      raise errors.UserError(
        f'--{role}={name}: the column holds text ({cells.text(cell)!r} in row {line}), '
        'not numbers'
      ) from error
  if all(value is None for value in numbers):
    raise errors.UserError(f'--{role}={name}: the column is empty')
  return numbers


def listing(names: Sequence[str], most: int = 24) -> str:
  """'a, b, c', and how many more there are."""
  more = f' and {len(names) - most} more' if len(names) > most else ''
  return ', '.join(names[:most]) + more


def _recognise(frame: pd.DataFrame, wanted: Sequence[str]) -> str:
  """The first column with one of the names, '' if there is none."""
  by_name: dict[str, str] = {}
  for column in map(str, frame.columns):
    by_name.setdefault(column.lower(), column)
    by_name.setdefault(re.split(r'[./]', column.lower())[-1], column)
  columns = (by_name[name] for name in wanted if name in by_name)
  # the page of W&B has columns such as Group that nobody filled
  return next((c for c in columns if any(map(cells.label, frame[c].tolist()))), '')


def _identify(
  sheet: sheets.Sheet, choice: Choice
) -> tuple[list[str], list[str], Choice]:
  """Every row's arm and seed, and the columns they come from."""
  frame = sheet.frame
  parts = [find(frame, name, 'arm') for name in filter(None, choice.arm.split(','))]
  own = _recognise(frame, ARMS) if not parts else ''
  parts = parts or ([own] if own else [])
  seed = find(frame, choice.seed, 'seed') if choice.seed else _recognise(frame, SEEDS)
  if not parts and sheet.layout == 'hydra':
    parts = _varying(frame, seed)
    if not parts:
      raise errors.UserError(
        'the jobs of this multirun differ in no override but the seed: there is one '
        'arm only, and nothing to compare'
      )
  if parts:
    tells_default = sheet.layout == 'hydra'  # a job's overrides are its changes alone
    arms = [
      _arm_name(row, parts, tells_default)
      for row in frame[parts].itertuples(index=False)
    ]
    seeds = [cells.label(cell) for cell in frame[seed]] if seed else [''] * len(arms)
    if '' in arms:
      raise errors.UserError(
        f'--arm={",".join(parts)}: row {arms.index("") + 1} has no arm'
      )
    return arms, seeds, choice._replace(arm=','.join(parts), seed=seed)
  run = _recognise(frame, RUNS)
  split = [sheets.split_run(cells.text(cell)) for cell in frame[run]] if run else []
  if run and all(split):
    arms = [one[0] for one in split if one]
    seeds = [cells.label(cell) for cell in frame[seed]] if seed else []
    if not (choice.seed or (seeds and all(seeds))):
      seeds, seed = [str(one[1]) for one in split if one], run
    return arms, seeds, choice._replace(arm=run, seed=seed)
  hint = ''
  if run:
    lacking = next(c for c, one in zip(frame[run], split) if one is None)
    hint = f'; the run {cells.text(lacking)!r} tells no arm and seed, as ARM-seed3 does'
  raise errors.UserError(
    f'which column holds the arms? --arm=…; the table has '
    f'{listing([str(c) for c in frame.columns])}{hint}'
  )


def _varying(frame: pd.DataFrame, seed: str) -> list[str]:
  """The overrides in which jobs differ, the seed apart."""
  return [
    name
    for name in map(str, frame.columns)
    if name.startswith('config.')
    and name != seed
    and len(set(map(cells.text, frame[name]))) > 1
  ]


def _arm_name(row: Sequence[Any], parts: Sequence[str], tells_default: bool) -> str:
  """'adam', or of several columns 'optimizer=adam, depth=3'.

  With `tells_default` an empty cell is a default: 'depth=3', or 'default' without any.
  """
  texts = [cells.text(cell) for cell in row]
  if tells_default and not any(texts):
    return 'default'
  if len(parts) == 1:
    return texts[0]
  names = [re.split(r'[./]', part)[-1] for part in parts]
  return ', '.join(
    f'{name}={value}' for name, value in zip(names, texts) if value or not tells_default
  )


def _read_status(frame: pd.DataFrame, named: str) -> tuple[str, list[str]]:
  """The column of statuses, '' if none, and every row's status."""
  meanings = {
    **dict.fromkeys(ENDED, 'ok'),
    **dict.fromkeys(DIVERGED, 'diverged'),
    **dict.fromkeys(BROKEN, 'failed'),
  }
  column = find(frame, named, 'status') if named else _recognise(frame, STATES)
  if not column:
    return '', ['ok'] * len(frame)
  words = [cells.label(cell).lower() for cell in frame[column]]
  strange = sorted({word for word in words if word and word not in meanings})
  if strange and named:
    raise errors.UserError(
      f'--status={named}: {strange[0]!r} is none of {", ".join(meanings)}'
    )
  if strange:
    return '', ['ok'] * len(frame)
  return column, [meanings.get(word, 'ok') for word in words]


def _only_metric(frame: pd.DataFrame, layout: str, taken: set[str]) -> str:
  """The only column that may be a score; UserError if there are several or none."""
  names = [str(name) for name in frame.columns if str(name) not in taken]
  if layout == 'mlflow' and any(name.startswith('metrics.') for name in names):
    names = [name for name in names if name.startswith('metrics.')]
  names = [
    name
    for name in names
    if not name.startswith(('params.', 'tags.', 'config.'))
    and (name.startswith('metrics.') or not BOOKKEEPING.match(name))
    and any(cells.is_number(cell) and cells.text(cell) for cell in frame[name])
  ]
  if len(names) == 1:
    return names[0]
  if not names:
    texts = [
      f'{name} holds text, {cells.text(frame[name].iloc[0])!r}'
      for name in map(str, frame.columns)
      if name not in taken and cells.text(frame[name].iloc[0])
    ]
    raise errors.UserError(
      'no column of numbers is left to be the metric; the table has '
      f'{listing([str(c) for c in frame.columns])}{f" ({texts[-1]})" if texts else ""}'
    )
  raise errors.UserError(f'which metric? --metric=…; there are {listing(names)}')


def _is_wide(frame: pd.DataFrame, choice: Choice) -> bool:
  """Whether the columns are arms: the reference is one, or all have numbers."""
  names = [str(name) for name in frame.columns]
  if choice.reference:
    return choice.reference in names
  seed = choice.seed or _recognise(frame, SEEDS)
  rest = [name for name in names if name != seed]
  numbers = [n for n in rest if any(map(cells.is_number, frame[n]))]
  return len(numbers) == len(rest) >= 2 and bool(default_reference(rest))


def default_reference(arms: Sequence[str]) -> str:
  """The arm that is called as references usually are, '' if none is."""
  by_name = {arm.lower(): arm for arm in arms}
  usual = ('baseline', 'reference', 'control', 'default', 'base', 'intact', 'full')
  return next((by_name[name] for name in usual if name in by_name), '')


def _read_wide(frame: pd.DataFrame, choice: Choice) -> Runs:
  """A column an arm, a row a seed."""
  seed = find(frame, choice.seed, 'seed') if choice.seed else _recognise(frame, SEEDS)
  metric = _wide_metric(choice)
  arms = [str(name) for name in frame.columns if str(name) != seed]
  strange = [arm for arm in arms if arm.lower().lstrip('_') in NO_ARMS]
  if strange:
    raise errors.UserError(
      f'column {strange[0]!r} would be an arm, in a table of a column an arm: drop it, '
      'or rename it if it is one'
    )
  labels = (
    [cells.label(c) for c in frame[seed]] if seed else list(map(str, range(len(frame))))
  )
  runs = []
  for arm in arms:
    for line, (label, value) in enumerate(
      zip(labels, read_numbers(frame, arm, 'metric')), 1
    ):
      if value is not None:
        runs.append(Run(arm, label, {metric: value}, 'ok', None, None, line))
  choice = choice._replace(arm='', seed=seed, metrics=(metric,))
  percent = frozenset({metric} if _is_percent(frame, arms, metric) else ())
  return Runs(tuple(runs), 'wide', choice, percent)


def _wide_metric(choice: Choice) -> str:
  """The metric of a table whose columns are arms or seeds.

  Raises:
    UserError: for several metrics, or columns that such a table has no room for.
  """
  if len(choice.metrics) > 1:
    raise errors.UserError(
      'a table with a column an arm, or a column a seed, holds one metric: name one by '
      '--metric'
    )
  for role in ('flops', 'budget', 'status'):
    if getattr(choice, role):
      raise errors.UserError(f'--{role} needs a table with a row a run')
  return choice.metrics[0] if choice.metrics else 'score'


def _is_percent(frame: pd.DataFrame, columns: Iterable[str], metric: str) -> bool:
  """Whether the cells of a metric are such as '91.2%'.

  Raises:
    UserError: some are, and others are plain numbers.
  """
  values = [cell for name in columns for cell in frame[name] if cells.is_number(cell)]
  plain = [cell for cell in values if not cells.is_percent(cell)]
  percent = next(filter(cells.is_percent, values), None)
  number = next(
    (cell for cell in plain if math.isfinite(cells.number(cell) or 0)), None
  )
  if percent is not None and number is not None:
    raise errors.UserError(
      f'--metric={metric}: {cells.text(percent)!r} is in percent, '
      f'{cells.text(number)!r} is not: write all of them the same way'
    )
  return percent is not None


def _seed_columns(frame: pd.DataFrame, choice: Choice) -> dict[str, str]:
  """Seeds by column, where a table has a column for every seed; {} where it has not."""
  if choice.metrics and any(name in frame.columns for name in choice.metrics):
    return {}
  matches = {str(name): _SEED.match(str(name)) for name in frame.columns}
  seeds = {name: match[1] for name, match in matches.items() if match}
  return seeds if len(seeds) >= 2 else {}


def _read_spread(
  frame: pd.DataFrame, choice: Choice, arms: Sequence[str], seeds: Mapping[str, str]
) -> Runs:
  """A row an arm, a column a seed."""
  twice = [arm for arm, count in collections.Counter(arms).items() if count > 1]
  if twice:
    raise errors.UserError(
      f'arm {twice[0]!r} has two rows, in a table of a column a seed'
    )
  metric = _wide_metric(choice)
  runs = []
  for name, seed in seeds.items():
    for line, (arm, value) in enumerate(
      zip(arms, read_numbers(frame, name, 'metric')), 1
    ):
      if value is not None:
        runs.append(Run(arm, seed, {metric: value}, 'ok', None, None, line))
  choice = choice._replace(metrics=(metric,))
  percent = frozenset({metric} if _is_percent(frame, seeds, metric) else ())
  return Runs(tuple(runs), 'wide by seed', choice, percent)
