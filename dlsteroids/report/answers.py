"""What the study answers: one sentence a factor, or that it could not have answered."""

from typing import NamedTuple

import pandas as pd

from dlsteroids.analysis import looks, pairs, reach, summary
from dlsteroids.report import design_words, formats, sentences

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
    return Answers(design_words.describe_reach(design), ())
  rows = summary.effects_of(source, pairs.deciding(study), pairs.declared(study))
  now = tuple(
    Answer(
      str(row['factor'] or row['arm']),
      str(row['arm']),
      str(row['verdict']),
      sentences.sentence(study, row, look),
    )
    for row in rows
    if not formats.missing(row['verdict'])
  )
  late = look.number > look.declared
  stands = looks.standing(study) if late else None
  if stands is None:
    return Answers('', now)
  old = tuple(Answer(*answer) for answer in stands.answers)
  return Answers('', now, old, stands.look)


def silence(frame: pd.DataFrame) -> pd.DataFrame:
  """The effects without test or claim, for a design that could not have shown any."""
  return frame.assign(verdict='', p=float('nan'), p_holm=float('nan'))
