"""The typed study, and its runs, of a table of runs trained elsewhere."""

import collections
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import dlsteroids
from dlsteroids.external import layout, sheets
from dlsteroids.study import conditions, factors
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

PAIRINGS = ('auto', 'paired', 'unpaired')
SHARED = 0.5  # of two arms' seeds, in both: from there on equal seeds are pairs
PERCENT = 1.5  # an accuracy above this is one in percent
_SPLITS = {
  **dict.fromkeys(('test', 'testing'), 'test'),
  **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'validation'),
  **dict.fromkeys(('train', 'training'), 'train'),
  **dict.fromkeys(('eval', 'evaluation'), 'evaluation'),
}
_WORDS = '|'.join(_SPLITS)
_BEFORE = re.compile(rf'^({_WORDS})[^a-z0-9]+(.+)$', re.I)
_AFTER = re.compile(rf'^(.+?)[^a-z0-9]+({_WORDS})$', re.I)
# Words of metrics of which less is better.
LESS = {
  *('loss', 'error', 'err', 'mse', 'rmse', 'mae', 'mape', 'nll', 'nats', 'bits'),
  *('perplexity', 'ppl', 'bpc', 'bpd', 'bpb', 'wer', 'cer', 'fid', 'kid', 'lpips'),
  *('regret', 'cost', 'energy', 'latency', 'time', 'seconds', 'ece', 'brier'),
  *('losses', 'errors', 'logloss', 'crossentropy', 'xent', 'eer', 'crps', 'smape'),
  *('kl', 'divergence', 'distance', 'mpjpe'),
}
_HUMP = re.compile(r'(?<=[a-z0-9])(?=[A-Z][a-z]{2})')  # of valLoss, not of mIoU
_WHOLE = 2**63  # whole numbers below it are kept as seeds


class Settings(NamedTuple):
  """What a table does not tell.

  Attributes:
    name, question, command: of the study.
    better: 'higher' or 'lower' of the deciding metric; '' follows its name.
    margin: of equivalence, in the table's unit; 0: none declared.
    fallback: what a run that diverged scores, in the table's unit; None: the worst that
      the metric or the table has.
    alpha: family-wise level.
    looks: how many were declared beforehand.
    pairing: one of `PAIRINGS`.
  """

  name: str
  question: str = ''
  command: str = ''
  better: str = ''
  margin: float = 0.0
  fallback: float | None = None
  alpha: float = 0.05
  looks: int = 1
  pairing: str = 'auto'


class Judged(NamedTuple):
  """A study of runs trained elsewhere.

  Attributes:
    study: typed, without config or factors.
    every: one row per run of all budgets, as in runs.csv.
  """

  study: study_lib.Study
  every: pd.DataFrame


class _Scores(NamedTuple):
  """A metric: its description, its column in the table, a score a run, its origins."""

  metric: study_lib.Metric
  column: str
  values: list[float | None]
  percent: bool
  assumed: bool
  fallback: str


def make(sheet: sheets.Sheet, choice: layout.Choice, settings: Settings) -> Judged:
  """Reads a table as a study.

  Raises:
    UserError: a column or an arm that is not there, one arm only, a run twice, text in
      place of numbers.
  """
  table = layout.read_runs(sheet, choice)
  arms, reference = _list_arms(table, choice.reference)
  budgets = _budgets(table.runs)
  labels = _seed_labels(table.runs)
  paired = _are_paired(table.runs, labels, budgets, arms, reference, settings.pairing)
  seeds = _number_seeds(table.runs, labels, budgets, paired)
  if settings.pairing != 'unpaired':
    _check_repeats(table.runs, labels, budgets)
  scores = [
    _read_metric(table, name, settings, decides=not i)
    for i, name in enumerate(table.choice.metrics)
  ]
  _check_names([one.metric.column for one in scores])
  every = _frame(table.runs, seeds, budgets, scores)
  declared = every[every['budget'] == 1.0]
  all_seeds = tuple(sorted({int(seed) for seed in every['seed']}))
  planned = [(str(a), int(s)) for a, s in zip(declared['arm'], declared['seed'])]
  if paired:  # a run that is not there is one that failed
    absent = [(a, s) for a in arms for s in all_seeds if (a, s) not in set(planned)]
    if absent:  # rows of an empty frame would turn every column into objects
      every = pd.concat([every, _absent(absent, every)], ignore_index=True)
    planned = [(arm, seed) for arm in arms for seed in all_seeds]
  study = study_lib.Study(
    name=settings.name,
    question=settings.question,
    design='arms',
    config={},
    factors=(),
    arms=tuple(_describe_arm(arm, declared) for arm in arms),
    contrasts=tuple(_contrast(arm, reference) for arm in arms if arm != reference),
    seeds=all_seeds,
    metric=scores[0].metric,
    metrics={one.metric.column: one.metric for one in scores},
    alpha=settings.alpha,
    margin=settings.margin / (100 if scores[0].percent else 1),
    looks_declared=settings.looks,
    conditions=tuple(
      conditions.Condition('steps', budget)
      for budget in sorted(set(budgets), key=lambda b: (b != 1, b))
    ),
    data=study_lib.Data(settings.name, ''),
    runs=tuple(study_lib.PlannedRun(arm, seed, 0, '') for arm, seed in planned),
    command=settings.command,
    dlsteroids=dlsteroids.__version__,
    paired=paired,
    table=study_lib.Table(
      path=sheet.path,
      layout=table.layout,
      arm=table.choice.arm,
      seed=table.choice.seed,
      flops=table.choice.flops,
      budget=table.choice.budget,
      status=table.choice.status,
      metrics={one.metric.column: one.column for one in scores},
      rows=len(sheet.frame),
      digest=sheet.digest,
      percent=tuple(one.metric.column for one in scores if one.percent),
      assumed=tuple(one.metric.column for one in scores if one.assumed),
      fallback=scores[0].fallback,
    ),
  )
  return Judged(study, every)


def name_metric(column: str) -> tuple[str, str]:
  """Split and name of a table's metric: ('test', 'accuracy') of 'test_acc'."""
  text = re.sub(r'^(?:metrics|summary)[./]', '', column.strip())
  text = _HUMP.sub('_', text)
  split = ''
  for pattern, places in ((_BEFORE, (1, 2)), (_AFTER, (2, 1))):
    if match := pattern.match(text):
      split, text = _SPLITS[match[places[0]].lower()], match[places[1]]
      break
  name = re.sub(r'\W+', '_', text).strip('_').lower()
  return split, re.sub(r'(^|_)acc$', r'\1accuracy', name) or 'score'


def infer_better(name: str) -> str:
  """'lower' of a loss, an error, nats …; else 'higher'; 'neg_' turns it round."""
  words = re.split(r'[^a-z]+', name.lower().replace('cross_entropy', 'crossentropy'))
  less = bool(LESS & set(words))
  if words[0] in ('neg', 'negative') and (less or 'likelihood' in words):
    less = not less
  return 'lower' if less else 'higher'


def _list_arms(table: layout.Runs, named: str) -> tuple[list[str], str]:
  """The arms, the reference first, and the reference."""
  arms = list(dict.fromkeys(run.arm for run in table.runs))
  if len(arms) < 2:
    only = f'one arm only, {arms[0]!r}' if arms else 'no runs'
    raise errors.UserError(f'nothing to compare: the table has {only}')
  reference = named or layout.default_reference(arms)
  if not reference:
    raise errors.UserError(
      'which arm are the others compared with? --reference=…; there are '
      f'{layout.listing(arms)}'
    )
  if reference not in arms:
    raise errors.UserError(
      f'no arm {reference!r}{errors.did_you_mean(reference, arms)} for --reference; '
      f'there are {layout.listing(arms)}'
    )
  return sorted(arms, key=lambda arm: arm != reference), reference


def _budgets(runs: Sequence[layout.Run]) -> list[float]:
  """Every run's compute as a multiple of what its arm's declared run has; 1 of most."""
  _check_flops(runs)
  if any(run.budget is not None for run in runs):
    values = [run.budget for run in runs]
    if any(value is None or not 0 < value < math.inf for value in values):
      raise errors.UserError('--budget: every run needs a number above 0')
    budgets = [float(value) for value in values if value is not None]
    scale = 1.0 if 1.0 in budgets else max(budgets)
    return [value / scale for value in budgets]
  groups: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
  for index, run in enumerate(runs):
    groups[run.arm, run.seed].append(index)
  costs = [run.flops for run in runs]
  repeated = any(len(group) > 1 for (_, seed), group in groups.items() if seed)
  if not repeated or any(cost is None for cost in costs):
    return [1.0] * len(runs)
  if not all(len({costs[i] for i in group}) == len(group) for group in groups.values()):
    return [1.0] * len(runs)  # equal runs are repeats, not budgets
  return _rungs([float(cost or 0) for cost in costs], list(groups.items()))


def _check_flops(runs: Sequence[layout.Run]) -> None:
  for run in runs:
    if run.flops is not None and not 0 < run.flops < math.inf:
      raise errors.UserError(
        f'--flops: row {run.line} has {run.flops:g}; FLOPs of a run are above 0'
      )


def _rungs(
  costs: Sequence[float], groups: Sequence[tuple[tuple[str, str], list[int]]]
) -> list[float]:
  """Budgets of runs that each arm has at several costs for a seed, by their rank."""
  budgets = [1.0] * len(costs)
  for arm in dict.fromkeys(key[0] for key, _ in groups):
    ranked = [sorted(g, key=costs.__getitem__) for key, g in groups if key[0] == arm]
    if len({len(group) for group in ranked}) > 1:
      raise errors.UserError(
        f'arm {arm!r} has a different number of runs for its seeds: name the column of '
        'their budgets by --budget'
      )
    levels = np.median([[costs[i] for i in group] for group in ranked], axis=0)
    for group in ranked:
      for rank, index in enumerate(group):
        budgets[index] = float(f'{levels[rank] / levels[-1]:.4g}')
  return budgets


def _seed_labels(runs: Sequence[layout.Run]) -> list[str]:
  """Every run's seed as text, '3' of '3.0' and '03'; '' where it has none."""
  labels = [_plain(run.seed) for run in runs]
  for run in runs:
    if any(labels) and not run.seed:
      raise errors.UserError(f'row {run.line} (arm {run.arm!r}) has no seed')
  return labels


def _plain(label: str) -> str:
  """A whole number without zeros before or behind it; other text as it is."""
  try:
    return str(int(label))  # not by a float, which rounds long ones
  except ValueError:
    pass
  try:
    value = float(label)
  except ValueError:
    return label
  return str(int(value)) if value.is_integer() else label


def _are_paired(
  runs: Sequence[layout.Run],
  labels: Sequence[str],
  budgets: Sequence[float],
  arms: Sequence[str],
  reference: str,
  pairing: str,
) -> bool:
  """Whether runs of equal seeds are pairs."""
  if pairing == 'unpaired':
    return False
  seeds: dict[str, set[str]] = {arm: set() for arm in arms}
  for run, label, budget in zip(runs, labels, budgets):
    if budget == 1 and label:
      seeds[run.arm].add(label)
  shares = [
    len(seeds[arm] & seeds[reference]) / max(len(seeds[arm] | seeds[reference]), 1)
    for arm in arms
    if arm != reference
  ]
  if pairing == 'auto':
    return min(shares) >= SHARED
  if not min(shares):
    lacking = arms[1 + shares.index(0.0)]
    raise errors.UserError(
      f'--pairing=paired: arm {lacking!r} shares no seed with {reference!r}'
      if any(labels)
      else '--pairing=paired: the table has no column of seeds (--seed)'
    )
  return True


def _number_seeds(
  runs: Sequence[layout.Run],
  labels: Sequence[str],
  budgets: Sequence[float],
  paired: bool,
) -> list[int]:
  """Seeds as whole numbers; runs without seeds, or not paired, count up by arm."""
  if any(labels):
    try:
      numbers = [int(label) for label in labels]
    except ValueError:
      numbers = []
    if not numbers or max(map(abs, numbers)) >= _WHOLE:
      order = {label: i for i, label in enumerate(sorted(set(labels)))}
      numbers = [order[label] for label in labels]
    keys = [(run.arm, n, b) for run, n, b in zip(runs, numbers, budgets)]
    if paired or len(set(keys)) == len(keys):
      return numbers
  counts: collections.Counter[tuple[str, float]] = collections.Counter()
  numbers = []
  for run, budget in zip(runs, budgets):
    numbers.append(counts[run.arm, budget])
    counts[run.arm, budget] += 1
  return numbers


def _check_repeats(
  runs: Sequence[layout.Run], labels: Sequence[str], budgets: Sequence[float]
) -> None:
  """Raises UserError if an arm has a seed twice at one budget."""
  lines: dict[tuple[str, str, float], list[int]] = {}
  for run, label, budget in zip(runs, labels, budgets):
    if label:
      lines.setdefault((run.arm, label, budget), []).append(run.line)
  twice = [(key, rows) for key, rows in lines.items() if len(rows) > 1]
  if twice:
    named = '; '.join(
      f'arm {arm!r} has seed {seed} in rows {" and ".join(map(str, rows))}'
      for (arm, seed, _), rows in twice[:3]
    )
    more = f' and {len(twice) - 3} more' if len(twice) > 3 else ''
    raise errors.UserError(
      f'duplicated seeds: {named}{more}; keep one row each, tell the arms apart by '
      '--arm=COLUMN,COLUMN, or judge them as they are by --pairing=unpaired'
    )


def _read_metric(
  table: layout.Runs, column: str, settings: Settings, *, decides: bool
) -> _Scores:
  """One metric of the table: shares in percent become shares."""
  split, name = name_metric(column)
  values = [run.scores[column] for run in table.runs]
  if column in table.percent:  # as margin and fallback are then
    values = [None if value is None else value * 100 for value in values]
  finite = [value for value in values if value is not None and math.isfinite(value)]
  if not finite:
    raise errors.UserError(f'--metric={column}: no run has a finite number')
  share = study_lib.Metric(name, 'higher', 0.0, split).is_share
  percent = share and (column in table.percent or max(finite) > PERCENT)
  if share and not (min(finite) >= 0 and max(finite) <= (100 if percent else 1)):
    name, share, percent = f'{name}_score', False, False
  if percent:
    values = [None if value is None else value / 100 for value in values]
    finite = [value / 100 for value in finite]
  declared = settings.better if decides else ''
  better = declared or infer_better(name)
  worst = min if better == 'higher' else max
  fallback, origin = worst(finite), 'worst run'
  if share:
    fallback, origin = (0.0 if better == 'higher' else 1.0), 'worst possible'
  if settings.fallback is not None and decides:
    fallback, origin = settings.fallback / (100 if percent else 1), 'declared'
  metric = study_lib.Metric(name, better, float(fallback), split)
  return _Scores(metric, column, values, percent, not declared, origin)


def _check_names(columns: Sequence[str]) -> None:
  """Raises UserError for a metric that has the name of another, or of a column."""
  for name in columns:
    if name in factors.COLUMNS:
      raise errors.UserError(
        f'--metric={name}: runs.csv has a column of that name; rename the metric'
      )
    if columns.count(name) > 1:
      raise errors.UserError(f'two metrics would be called {name!r}: name one of them')


def _frame(
  runs: Sequence[layout.Run],
  seeds: Sequence[int],
  budgets: Sequence[float],
  scores: Sequence[_Scores],
) -> pd.DataFrame:
  """The runs as runs.csv has them."""
  rows: list[dict[str, Any]] = []
  for i, run in enumerate(runs):
    score = scores[0].values[i]
    status = run.status
    if status == 'ok' and score is None:
      status = 'failed'
    elif status == 'ok' and score is not None and not math.isfinite(score):
      status = 'diverged'
    row = _row(run.arm, seeds[i], status, budgets[i])
    row['flops'] = math.nan if run.flops is None else run.flops
    for one in scores:
      value = one.values[i]
      row[one.metric.column] = math.nan if value is None else value
    rows.append(row)
  return pd.DataFrame(rows)


def _row(arm: str, seed: int, status: str, budget: float) -> dict[str, Any]:
  nothing = dict.fromkeys(('steps', 'params', 'flops', 'wall_s', 'best_step'), math.nan)
  state = {'tuned': 0, 'regime': 'steps', 'budget': budget, 'size': 1.0}
  return {'arm': arm, 'seed': seed, 'status': status, **state, **nothing}


def _absent(pairs: Sequence[tuple[str, int]], frame: pd.DataFrame) -> pd.DataFrame:
  """Rows of runs that the table lacks."""
  rows = [_row(arm, seed, 'failed', 1.0) for arm, seed in pairs]
  return pd.DataFrame(rows, columns=list(frame.columns))


def _describe_arm(name: str, declared: pd.DataFrame) -> study_lib.StudyArm:
  costs = declared.loc[declared['arm'] == name, 'flops'].dropna()
  flops = float(costs.median()) if len(costs) else 0.0
  return study_lib.StudyArm(name, {}, (), (), '', 0, flops, flops, 1)


def _contrast(arm: str, reference: str) -> factors.Contrast:
  return factors.Contrast(
    arm, '', arm, reference, (arm,), (reference,), 'reference', 'swap'
  )
