"""How often a study has been looked at, and what that leaves of alpha."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from dlsteroids.analysis import pairs


class Look(NamedTuple):
  """One look at a study's results.

  Attributes:
    number: 1 for the first complete report, and so on.
    alpha: the level in force at this look.
    exploratory: whether the verdicts of this look are no claims.
    new: whether the runs or the question differ from those of every look logged so far.
    complete: whether all planned runs of the claim have ended.
    runs_digest: sha256 hex of the runs looked at; '' if unknown.
    note: one sentence saying why it is exploratory; '' if it is not.
  """

  number: int
  alpha: float
  exploratory: bool
  new: bool
  complete: bool
  runs_digest: str
  note: str


def digest(study: Mapping[str, Any], runs: pd.DataFrame) -> str:
  """Sha256 hex of the statuses and scores of the study's runs, in any row order.

  Wall times do not count, and scores count to 12 digits, so that the same runs read
  back from a table give the same digest.
  """
  mine = pairs.select(study, runs).sort_values(['arm', 'tuned', 'seed'])
  splits = ('validation/', 'test/', 'final/')
  scores = sorted(column for column in mine.columns if column.startswith(splits))
  lines = [','.join(scores)]
  for row in mine[['arm', 'tuned', 'seed', 'status', *scores]].itertuples(index=False):
    arm, tuned, seed, status, *values = row
    lines.append(f'{arm},{int(tuned)},{int(seed)},{status},')
    lines[-1] += ','.join(f'{float(value):.12g}' for value in values)
  return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def complete(study: Mapping[str, Any], runs: pd.DataFrame) -> bool:
  """Whether every planned run of the claim has ended and no contrast lacks pairs.

  A run that failed has ended; a contrast with under 90 % of its pairs lacks some.
  """
  tuned = pairs.declared(study)
  mine = pairs.select(study, runs, tuned)
  if len(mine) < len(study['arms']) * len(study['seeds']):
    return False
  scores = pairs.tabulate(study, runs, pairs.deciding(study), tuned)
  return all(pairs.match(c, scores).enough for c in study['contrasts'])


def question(study: Mapping[str, Any]) -> str:
  """Sha256 hex of what a study asks of its runs: another one is another look."""
  names = ('contrasts', 'metric', 'margin', 'alpha', 'regime')
  asked = {name: study[name] for name in names} | {'tuned': pairs.declared(study)}
  text = json.dumps(asked, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()


def _logged(study: Mapping[str, Any]) -> list[tuple[str, str]]:
  """Digest of runs and question of the complete looks so far, in order, each once."""
  return list(
    dict.fromkeys(_key(study, e) for e in study.get('looks', ()) if e['complete'])
  )


def _key(study: Mapping[str, Any], entry: Mapping[str, Any]) -> tuple[str, str]:
  """What tells a logged look from others; old ones did not log their question."""
  return entry['runs_digest'], entry.get('question') or question(study)


def state(study: Mapping[str, Any], runs: pd.DataFrame | None = None) -> Look:
  """The look that a report of `runs` is, whether or not it is logged already.

  Without `runs` it is the last complete look logged, or the first one to come. A
  report of the same runs as an earlier look is that look again. With `looks_declared`
  k > 1, look j has alpha / (j (j + 1)); looks beyond the declared ones are exploratory,
  and so is a report before the study is complete, which uses up no look.
  """
  logged = _logged(study)
  if runs is None:
    key, whole = (logged[-1] if logged else ('', question(study))), True
  else:
    key, whole = (digest(study, runs), question(study)), complete(study, runs)
  new = key not in logged
  number = len(logged) + 1 if new else logged.index(key) + 1
  declared = max(int(study['looks_declared']), 1)
  alpha = study['alpha']
  if declared > 1:
    alpha = alpha / (number * (number + 1))
  note = ''
  if number > declared:
    plural = 's were' if declared > 1 else ' was'
    note = (
      f'This is look {number} at the study and {declared} look{plural} declared: '
      f'its verdicts are exploratory; those of look {declared} stand.'
    )
  elif not whole:
    note = 'Not all planned runs have ended: the verdicts are exploratory.'
  return Look(number, alpha, bool(note), new, whole, key[0], note)


def log(
  study: Mapping[str, Any],
  runs: pd.DataFrame,
  time: str,
  answers: Sequence[Sequence[str]] = (),
) -> list[dict[str, Any]]:
  """The study's `looks` with this report entered; unchanged if it repeats one.

  Args:
    time: when the report was made, ISO 8601.
    answers: its verdicts in words, which stand if it is the last look declared.
  """
  entries = [dict(entry) for entry in study.get('looks', ())]
  look, asked = state(study, runs), question(study)
  mine = (look.runs_digest, asked), look.complete
  if any((_key(study, entry), entry['complete']) == mine for entry in entries):
    return entries
  entry = {
    'look': look.number,
    'seeds': len(study['seeds']),
    'complete': look.complete,
    'runs_digest': look.runs_digest,
    'question': asked,
    'answers': [list(answer) for answer in answers],
    'time': time,
  }
  return [*entries, entry]


def standing(study: Mapping[str, Any]) -> Mapping[str, Any] | None:
  """The entry of the last declared look, whose answers stand; None before it."""
  declared, logged = max(int(study['looks_declared']), 1), _logged(study)
  if len(logged) < declared:
    return None
  last = logged[declared - 1]
  complete_ones = (entry for entry in study['looks'] if entry['complete'])
  return next(entry for entry in complete_ones if _key(study, entry) == last)
