"""The section on published claims: what was published, what this study measured."""

from collections.abc import Sequence

import pandas as pd

from dlsteroids.analysis import claims as claims_lib
from dlsteroids.analysis import reach
from dlsteroids.report import blocks, facts, formats, tables
from dlsteroids.report import gains as gain_words
from dlsteroids.report import sentences as sentences_lib
from dlsteroids.study import study as study_lib

COLUMNS = ('paper', 'claim', 'published', 'ours', 'outcome', 'why')
_REASONS = {
  'empty claim': 'the claim has neither a direction nor a number',
  'no verdict': 'the study has no verdict on it',
  'inconclusive': 'our verdict is inconclusive',
  'same verdict': 'our verdict is the same',
  'opposite verdict': 'our verdict is the opposite',
  'difference not claimed': 'there is a difference where none was claimed',
  'no difference': 'there is no difference that matters where one was claimed',
  'no column': 'the runs have no column {}',
  'no arm': 'the study has no arm {}',
  'no value': 'not every run of {} has a value',
  'not above 0': 'a ratio needs numbers above 0',
  'pairs': 'only {} of {} pairs of runs are complete',
  'runs': 'only {} of {} runs are complete',
  'few seeds': '{} seeds are too few for an interval that claims anything',
  'diverged': 'most runs diverged of {}',
  'no interval': 'there is no interval',
  'unbounded': 'the gain is bounded on no side',
  'no gain': 'no compute-equivalent gain was measured',
  'no gain of it': 'no compute-equivalent gain of it was measured',
}
_PLACES = {
  'inside': 'lies in our interval',
  'inside some': 'lies in some of our intervals: targets differ',
  'outside': 'lies outside our interval',
  'below': 'lies below our interval',
  'above': 'lies above our interval',
}


def table(
  study: study_lib.Study, results: Sequence[claims_lib.Result], alpha: float
) -> pd.DataFrame:
  """A row a claim with exactly `COLUMNS`, from `analysis.claims.compare`."""
  rows = []
  for result in results:
    texts = [_measured(part) for part in result.parts if part.estimates]
    why = '; '.join(dict.fromkeys(_why(study, p.reason, alpha) for p in result.parts))
    rows.append(
      {
        'paper': result.claim.paper,
        'claim': result.claim.claim,
        'published': _published(result),
        'ours': '; '.join(dict.fromkeys(texts)) or formats.NOTHING,
        'outcome': result.outcome,
        'why': f'exploratory: {why}' if result.exploratory else why,
      }
    )
  return pd.DataFrame(rows, columns=list(COLUMNS))


def section(board: pd.DataFrame) -> blocks.Section:
  """The claims in sentences and as a table, from `table`."""
  heads = [name.capitalize() for name in COLUMNS]
  rows = [
    dict(zip(heads, map(str, row))) for row in board[list(COLUMNS)].to_numpy().tolist()
  ]
  parts = [blocks.Prose(text) for text in sentences(board)]
  comparison = tables.make('Published claims', rows, heads)
  return blocks.Section('Published claims', [*parts, comparison], 'claims')


def sentences(frame: pd.DataFrame) -> list[str]:
  """The counts of outcomes in a sentence, then one for every claim that differs."""
  if not len(frame):
    return []
  words = {
    claims_lib.AGREES: ('agrees', 'agree'),
    claims_lib.DIFFERS: ('differs', 'differ'),
    claims_lib.INCONCLUSIVE: ('is inconclusive', 'are inconclusive'),
  }
  outcomes = frame['outcome']
  parts = []
  for outcome, verbs in words.items():
    number = int((outcomes == outcome).sum())
    of = f' of {len(frame)} published claims' * (outcome == claims_lib.AGREES)
    if number or of:
      parts.append(f'{number}{of} {verbs[number != 1]}')
  texts = [f'{", ".join(parts)}.']
  if len(frame) == 1:
    texts = [f'The one published claim {words[outcomes.iloc[0]][0]}.']
  return texts + [
    f'{row["paper"]}, {row["claim"]}: published {row["published"]}, here '
    f'{row["ours"]}: {row["why"]}.'
    for row in frame[outcomes == claims_lib.DIFFERS].to_dict('records')
  ]


def _why(study: study_lib.Study, reason: claims_lib.Reason, alpha: float) -> str:
  kind, values = reason
  if kind in _PLACES:
    return f'the published number{" with its tolerance" * values[0]} {_PLACES[kind]}'
  match kind:
    case 'unreachable':
      return sentences_lib.describe_reach(reach.reach(study, alpha))
    case 'not the deciding metric':
      return f'verdicts are made on {facts.words(study, values[0])} only'
    case 'contrasts':
      count, factor, level = values
      subject = f'{factor}={level}' if level else factor
      return f'the study makes {count or "no"} contrasts of {subject}'
    case 'no effect':
      return f'there is no effect on {facts.words(study, values[0])}'
    case 'no number':
      lacking, count, column = values
      return f'in {lacking} of {count} seeds a run has no {formats.name(column)}'
  return _REASONS[kind].format(*values)


def _measured(part: claims_lib.Part) -> str:
  """Our numbers, behind our verdict if the part has one."""
  text = '; '.join(_estimate(part, estimate) for estimate in part.estimates)
  return f'{part.verdict}: {text}' if part.verdict else text


def _estimate(part: claims_lib.Part, estimate: claims_lib.Estimate) -> str:
  column, ends = part.column, (estimate.low, estimate.high)
  if estimate.gain is not None:
    target = formats.value(column, float(estimate.gain['target']))
    text = f'{gain_words.describe(estimate.gain)} at {target}'
  elif part.quantity == 'delta':
    difference = formats.delta(column, estimate.value, unit=True)
    text = f'{difference} {formats.interval(column, *ends)}'
  elif part.quantity == 'ratio':
    low, high = (formats.number(end, 3) for end in ends)
    text = f'{_times(estimate.value)} [{low}, {high}]'
  else:
    value, low, high = (formats.value(column, x) for x in (estimate.value, *ends))
    text = f'{value} [{low}, {high}]'
  of = f'{estimate.n} of ' if estimate.n != estimate.planned else ''
  return f'{text}, {of}{formats.plural(estimate.planned, "seed")}'


def _times(number: float) -> str:
  return formats.NOTHING if formats.missing(number) else f'{formats.number(number, 3)}×'


def _published(result: claims_lib.Result) -> str:
  """What was published: 'helps, +2.00 points ± 0.10'."""
  claim, column = result.claim, result.column or result.claim.metric
  parts: list[str] = [claim.direction] if claim.direction else []
  if claim.number is not None:
    if claim.quantity in ('gain', 'ratio'):
      text, tolerance = _times(claim.number), _times(claim.tolerance or 0)
      text += ' the compute' if claim.quantity == 'gain' else ''
    else:
      text = formats.value(column, claim.number)
      if claim.quantity == 'delta':
        text = formats.delta(column, claim.number, unit=True)
      tolerance = formats.delta(column, claim.tolerance or 0).lstrip('+')
    parts.append(f'{text} ± {tolerance}' if claim.tolerance else text)
  return ', '.join(parts)
