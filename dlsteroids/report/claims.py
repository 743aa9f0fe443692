"""The section on published claims: what was published, what this study measured."""

import math
from collections.abc import Sequence

import pandas as pd

from dlsteroids.analysis import claims as claims_lib
from dlsteroids.analysis import reach
from dlsteroids.report import blocks, facts, formats, tables
from dlsteroids.report import gains as gain_words
from dlsteroids.report import sentences as sentences_lib
from dlsteroids.study import claims as published_lib
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib

COLUMNS = ('paper', 'claim', 'published', 'ours', 'outcome', 'size', 'why')
NUMBERS = (  # for those who compute with them: the claim as declared, our estimate
  *('component', 'direction', 'quantity', 'metric', 'published_value'),
  *('setting', 'verified'),
  *('value', 'low', 'high', 'n', 'seeds', 'ours_on'),
  *('size_outcome', 'size_ratio', 'size_low', 'size_high'),
)
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

SIZES = (
  'Size: our difference as a multiple of the published one. It is compared and decides '
  'nothing where that was measured in another setting.'
)


def table(
  study: study_lib.Study, results: Sequence[claims_lib.Result], alpha: float
) -> pd.DataFrame:
  """A row a claim with exactly `COLUMNS` and `NUMBERS`, from `compare`.

  Args:
    study: the study.
    results: its `analysis.claims.compare`.
    alpha: the level of this look.

  Returns:
    A frame. `value`, `low` and `high` are our estimate in the unit of `quantity` (of a
    gain, at the first target), from `n` of `seeds` seeds on what `ours_on` says.
    `size_ratio` with its ends is ours / the published difference.
  """
  rows = []
  ours_on = describe_setting(study)
  for result in results:
    texts = [_measured(part) for part in result.parts if part.estimates]
    why = '; '.join(dict.fromkeys(_why(study, p.reason, alpha) for p in result.parts))
    rows.append(
      {
        'paper': name_paper(result.claim),
        'claim': result.claim.claim,
        'published': describe_published(
          result.claim, result.column or result.claim.metric
        ),
        'ours': '; '.join(dict.fromkeys(texts)) or formats.NOTHING,
        'outcome': result.outcome,
        'size': _describe_size(result.size),
        'why': f'exploratory: {why}' if result.exploratory else why,
        **_numbers(study, result),
        'ours_on': ours_on,
      }
    )
  return pd.DataFrame(rows, columns=[*COLUMNS, *NUMBERS])


def describe_setting(study: study_lib.Study) -> str:
  """What the study was measured on: data, their size, steps, tuning."""
  side = study.config.get('data', {}).get('size')
  pixels = f' at {side}×{side}' if isinstance(side, int) and side > 0 else ''
  parts = [f'{study.data.name}{pixels}']
  examples = study.data.sizes.get('train')
  parts += [f'{examples:,} training examples'] if examples else []
  steps = {arm.steps for arm in study.arms}
  parts += [f'{study.arms[0].steps:,} steps'] if len(steps) == 1 else []
  parts += ['tuned'] if study.tuned else []
  return ', '.join(parts)


def name_paper(claim: published_lib.Claim) -> str:
  """'He et al. 2016 (unverified)': the source, and whether it was not read."""
  return claim.paper if claim.verified else f'{claim.paper} (unverified)'


def name_component(
  factors: Sequence[factors_lib.Factor], claim: published_lib.Claim
) -> str:
  """What helps or hurts as a claim says: 'ReLU', 'norm: batch', 'loss: a against b'.

  An explicit arm of a factor with several levels goes by its own name.
  """
  factor = next((one for one in factors if one.name == claim.factor), None)
  if factor is None:
    return claim.factor or claim.arm
  first, *others = factor.levels
  level = next((one for one in others if one.name == claim.level), others[0])
  name = factor.about or factor.name.replace('_', ' ')
  if len(others) == 1 and (factor.about or level.kind != 'swap'):
    return name
  if claim.arm and len(others) > 1 and claim.arm != f'{factor.name}={level.name}':
    return claim.arm
  if level.kind == 'swap':
    return f'{name}: {first.name} against {level.name}'
  return f'{name}: {level.name}' if level.kind == 'add' else name


def _numbers(study: study_lib.Study, result: claims_lib.Result) -> dict[str, object]:
  """The columns `NUMBERS` but `ours_on`."""
  claim, size = result.claim, result.size
  estimates = [estimate for part in result.parts for estimate in part.estimates]
  ours = (size.ours if size else None) or (estimates[0] if estimates else None)
  published = published_lib.published_value(claim)
  return {
    'component': name_component(study.factors, claim),
    'direction': claim.direction,
    'quantity': claim.quantity,
    'metric': result.column,
    'published_value': math.nan if published is None else published,
    'setting': claim.setting,
    'verified': claim.verified,
    'value': ours.value if ours else math.nan,
    'low': ours.low if ours else math.nan,
    'high': ours.high if ours else math.nan,
    'n': ours.n if ours else 0,
    'seeds': len(study.seeds),
    'size_outcome': size.outcome if size else '',
    'size_ratio': size.ratio if size else math.nan,
    'size_low': size.low if size else math.nan,
    'size_high': size.high if size else math.nan,
  }


def _describe_size(size: claims_lib.Size | None) -> str:
  """'smaller: 0.41× [0.32, 0.50]'; '' where no size was published."""
  if size is None:
    return ''
  if formats.missing(size.ratio):
    return size.outcome
  low, high = (formats.number(end, 2) for end in (size.low, size.high))
  return f'{size.outcome}: {_times(size.ratio, 2)} [{low}, {high}]'


def section(board: pd.DataFrame) -> blocks.Section:
  """The claims in sentences and as a table, from `table`."""
  shown = [name for name in COLUMNS if name != 'size' or (board['size'] != '').any()]
  heads = [name.capitalize() for name in shown]
  rows = [dict(zip(heads, map(str, row))) for row in board[shown].to_numpy().tolist()]
  parts = [blocks.Prose(text) for text in sentences(board)]
  comparison = tables.make('Published claims', rows, heads)
  notes = [blocks.Prose(SIZES, 'small')] * ('size' in shown)
  return blocks.Section('Published claims', [*parts, comparison, *notes], 'claims')


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


def _times(number: float, digits: int = 3) -> str:
  if formats.missing(number):
    return formats.NOTHING
  return f'{formats.number(number, digits)}×'


def describe_published(claim: published_lib.Claim, column: str) -> str:
  """What was published: 'helps, +2.00 points ± 0.10 (ImageNet)'.

  Args:
    claim: as published.
    column: the metric of its number.
  """
  parts: list[str] = [claim.direction] if claim.direction else []
  number = published_lib.published_value(claim)
  if number is not None:
    if claim.quantity in ('gain', 'ratio'):
      text, tolerance = _times(number), _times(claim.tolerance or 0)
      text += ' the compute' if claim.quantity == 'gain' else ''
    else:
      text = formats.value(column, number)
      if claim.quantity == 'delta':
        text = formats.delta(column, number, unit=True)
      tolerance = formats.delta(column, claim.tolerance or 0).lstrip('+')
    parts.append(f'{text} ± {tolerance}' if claim.tolerance else text)
  text = ', '.join(parts)
  return f'{text} ({claim.setting})' if claim.setting else text
