"""What the study answers: one sentence a factor, or that it could not have answered."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from dlsteroids.results import effects, formats, looks, pairs, reach, sentences, summary

MARKS = {'helps': '▲', 'hurts': '▼', 'equivalent': '=', 'inconclusive': '?'}


class Answer(NamedTuple):
  """A contrast's verdict and its sentence."""

  factor: str
  arm: str
  verdict: str
  sentence: str


class Answers(NamedTuple):
  """Everything a report claims.

  Attributes:
    refusal: why nothing can be claimed; '' if something can.
    answers: in the study's order; empty with a refusal.
    standing: the verdicts that stand, where those of this look are exploratory.
    look: the number of the look at which they were made.
  """

  refusal: str
  answers: tuple[Answer, ...]
  standing: tuple[Answer, ...] = ()
  look: int = 0


def gather(source: summary.Source) -> Answers:
  """Reads the verdicts of this look and, if they are exploratory, those that stand."""
  study, runs = source.study, source.tables.runs
  look = looks.state(study, runs)
  design = reach.reach(study, look.alpha)
  if not design.reachable:
    return Answers(design.sentence, ())
  rows = summary.effects_of(source, pairs.deciding(study), pairs.declared(study))
  now = _sentences(study, rows, look)
  frozen = looks.frozen(study) if look.number > study['looks_declared'] else None
  if frozen is None:
    return Answers('', now)
  then = looks.state(frozen)
  table = effects.measure(frozen, runs)
  family = table[table['verdict'] != '']
  old = [{str(k): v for k, v in row.items()} for row in family.to_dict('records')]
  return Answers('', now, _sentences(frozen, old, then), then.number)


def _sentences(
  study: Mapping[str, Any], rows: list[dict[str, Any]], look: looks.Look
) -> tuple[Answer, ...]:
  return tuple(
    Answer(
      str(row['factor'] or row['arm']),
      str(row['arm']),
      str(row['verdict']),
      sentences.sentence(study, row, look),
    )
    for row in rows
    if not formats.missing(row['verdict'])
  )


def silence(frame: pd.DataFrame) -> pd.DataFrame:
  """The effects without test or claim, for a design that could not have shown any."""
  return frame.assign(verdict='', p=float('nan'), p_holm=float('nan'))
