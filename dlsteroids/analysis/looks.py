"""How often a study has been looked at, and the level that leaves.

Whatever showed a p-value or an interval is a look, a report of incomplete runs too. The
look of an incomplete report is completed by the report of the runs that the same plan
(question and seeds) asked for: its size was fixed before anything was shown. Changing
the plan after a look, e.g. stopping at the seeds that have ended, makes another look.
Looks at other data, or at models trained otherwise, are no looks at these.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from dlsteroids.analysis import pairs
from dlsteroids.study import study as study_lib
from dlsteroids.util import memoise

# What a contrast asks of the runs; its other fields are for words.
CONTRAST_FIELDS = (
  *('factor', 'level', 'arm', 'reference'),
  *('arm_cells', 'reference_cells', 'component'),
)


class Look(NamedTuple):
  """One look at a study's results.

  Attributes:
    number: 1 for the first report, and so on.
    alpha: the level in force at this look.
    exploratory: whether the verdicts of this look are no claims.
    complete: whether all planned runs of the claim have ended.
    declared: how many looks were declared beforehand.
    runs_digest: sha256 hex of the runs looked at; '' if unknown.
  """

  number: int
  alpha: float
  exploratory: bool
  complete: bool
  declared: int
  runs_digest: str


class _Key(NamedTuple):
  """What tells looks apart: the plan, and the runs of its complete report."""

  question: str
  seeds: int
  runs_digest: str = ''  # while its report is incomplete


def digest(study: study_lib.Study, runs: pd.DataFrame) -> str:
  """Sha256 hex of the statuses and scores of the study's runs, in any row order.

  Wall times do not count, and scores count to 12 digits, so that runs read back from a
  table give the same digest.
  """
  rows = pairs.select(study, runs).sort_values(['arm', 'tuned', 'seed'])
  splits = ('validation/', 'test/', 'final/')
  scores = sorted(column for column in rows.columns if column.startswith(splits))
  lines = [','.join(scores)]
  for row in rows[['arm', 'tuned', 'seed', 'status', *scores]].itertuples(index=False):
    arm, tuned, seed, status, *values = row
    lines.append(f'{arm},{int(tuned)},{int(seed)},{status},')
    lines[-1] += ','.join(f'{float(value):.12g}' for value in values)
  return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def complete(study: study_lib.Study, runs: pd.DataFrame) -> bool:
  """Whether every planned run of the claim has ended and no contrast lacks pairs.

  A run that failed has ended; a contrast with under 90 % of its pairs lacks some.
  """
  claimed = pairs.select(study, runs, study.tuned)
  planned = sum(len(study.seeds_of(arm.name)) for arm in study.arms)
  if study.paired and len(claimed) < planned:
    return False
  scores = pairs.tabulate(study, runs, study.metric.column, study.tuned)
  return all(pairs.match(c, scores, study.paired).enough for c in study.contrasts)


def question(study: study_lib.Study) -> str:
  """Sha256 hex of what a study asks of its runs; another question is another look."""
  content = {
    'contrasts': [
      {name: getattr(contrast, name) for name in CONTRAST_FIELDS}
      for contrast in study.contrasts
    ],
    'metric': study.metric._asdict(),
    'margin': study.margin,
    'alpha': study.alpha,
    'regime': study.regime,
    'tuned': study.tuned,
  }
  text = json.dumps(content, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()


@memoise.memoised
def state(study: study_lib.Study, runs: pd.DataFrame | None = None) -> Look:
  """The look that a report of `runs` is, whether or not it is logged already.

  Without `runs` it is the last look logged, or the first one to come. A report of the
  same runs as an earlier look is that look again. With k > 1 looks declared, look j has
  alpha / (j (j + 1)). Looks beyond the declared ones are exploratory, and so is a
  report before the study is complete.
  """
  looks = _logged(study)
  declared, number = max(study.looks_declared, 1), len(looks) or 1
  whole, runs_digest = True, ''
  if runs is not None:
    runs_digest, whole = digest(study, runs), complete(study, runs)
    key = _Key(question(study), len(study.seeds), runs_digest)
    number = _place(looks, key, whole) + 1
  if study.until:  # a lost log must not make a later look an earlier one
    number = max(number, 1 + sum(n < len(study.seeds) for n in study.until.sizes))
  alpha = level(study.alpha, number) if declared > 1 else study.alpha
  exploratory = number > declared or not whole
  return Look(number, alpha, exploratory, whole, declared, runs_digest)


def level(alpha: float, number: int) -> float:
  """What look `number`, from 1, spends of `alpha`; all looks spend less than it."""
  return alpha / (number * (number + 1))


def taken(study: study_lib.Study) -> list[tuple[str, int]]:
  """Question and number of seeds of each look logged at the study's present data."""
  return [look[:2] for look in _logged(study)]


def log(
  study: study_lib.Study,
  runs: pd.DataFrame,
  time: str,
  answers: Sequence[Sequence[str]] = (),
) -> tuple[study_lib.LookRecord, ...]:
  """The study's looks with this report entered; unchanged if it repeats one.

  Args:
    study: the study.
    runs: the runs table of the report.
    time: when the report was made, ISO 8601.
    answers: its verdicts in words, which stand if it is the last look declared.
  """
  look = state(study, runs)
  record = study_lib.LookRecord(
    look.number,
    len(study.seeds),
    look.complete,
    look.runs_digest,
    question(study),
    tuple(tuple(answer) for answer in answers),
    time,
    study.data.digest,
    study.code,
    study.training,
  )
  same = lambda entry: (
    (entry.runs_digest, entry.complete) == (record.runs_digest, record.complete)
    and _key(study, entry) == _key(study, record)
  )
  if any(same(entry) for entry in _of_these_data(study)):
    return study.looks
  return (*study.looks, record)


def standing(study: study_lib.Study) -> study_lib.LookRecord | None:
  """The record of the last declared look, whose answers stand; None without one."""
  looks, declared = _logged(study), max(study.looks_declared, 1)
  if len(looks) < declared or not looks[declared - 1].runs_digest:
    return None
  return next(
    entry
    for entry in _of_these_data(study)
    if entry.complete and _key(study, entry) == looks[declared - 1]
  )


def _of_these_data(study: study_lib.Study) -> list[study_lib.LookRecord]:
  """The logged looks at the study's present data, trained as now."""
  return [
    look
    for look in study.looks
    if look.data in ('', study.data.digest) and look.training in ('', study.training)
  ]


def _key(study: study_lib.Study, record: study_lib.LookRecord) -> _Key:
  """The key of a logged look; old records lack their question."""
  return _Key(
    record.question or question(study),
    record.seeds,
    record.runs_digest if record.complete else '',
  )


def _place(looks: Sequence[_Key], key: _Key, whole: bool) -> int:
  """The index of the look that a report is; len(looks) if it is a new one."""
  plan = key._replace(runs_digest='')
  if whole:
    candidates = [key, plan]
  else:
    candidates = [look for look in looks if look[:2] == plan[:2]]
  return next((looks.index(c) for c in candidates if c in looks), len(looks))


def _logged(study: study_lib.Study) -> list[_Key]:
  """The distinct looks so far, in order."""
  looks: list[_Key] = []
  for record in _of_these_data(study):
    key = _key(study, record)
    place = _place(looks, key, record.complete)
    if place == len(looks):
      looks.append(key)
    elif record.complete:
      looks[place] = key
  return looks
