"""What a study says about compute: regimes, gains, attribution, published claims.

Each is measured once, from the runs of all conditions, for the files and the report.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from dlsteroids.analysis import attribution as attribution_lib
from dlsteroids.analysis import claims as claims_lib
from dlsteroids.analysis import gains as gains_lib
from dlsteroids.analysis import looks, pairs
from dlsteroids.analysis import regimes as regimes_lib
from dlsteroids.report import attribution_words, formats, gain_words, sheets
from dlsteroids.report import claims as claim_words
from dlsteroids.report import regimes as regime_words
from dlsteroids.study import study as study_lib

SHOWN = 3  # deviations from what a regime makes equal
GAMES = ('factorial', 'fraction', 'permutations')


class Analyses(NamedTuple):
  """What was measured; None where the study does not ask for it.

  Attributes:
    regimes: the contrasts side by side under several regimes.
    gains: compute-equivalent gains over budgets or sizes.
    anytime: the same read off single learning curves.
    attribution: Shapley values of ideas and compute.
    claims: published claims against what was found, a row each.
  """

  regimes: regimes_lib.Regimes | None = None
  gains: gains_lib.Gains | None = None
  anytime: gains_lib.Gains | None = None
  attribution: attribution_lib.Attribution | None = None
  claims: pd.DataFrame | None = None

  def tables(self) -> dict[str, pd.DataFrame]:
    """The frames that have rows, by file name without its ending."""
    found: dict[str, pd.DataFrame] = {}
    if self.regimes:
      found['regimes'] = self.regimes.frame
    if self.gains:
      found['gains'] = self.gains.frame
    if self.attribution:
      found['attribution'] = self.attribution.players
      found['attribution_orders'] = self.attribution.orders
      found['attribution_interactions'] = self.attribution.interactions
    if self.claims is not None:
      found['claims'] = self.claims
    return {name: frame for name, frame in found.items() if len(frame)}


class Section(NamedTuple):
  """A part of the report: sentences, then figures by name, tables, small print."""

  anchor: str
  title: str
  sentences: tuple[str, ...]
  drawings: tuple[str, ...]
  sheets: tuple[sheets.Sheet, ...]
  notes: tuple[str, ...]


def analyse(
  study: study_lib.Study,
  every: pd.DataFrame,
  runs: pd.DataFrame,
  curves: pd.DataFrame,
  effects: pd.DataFrame,
) -> Analyses:
  """Measures what the study's conditions and design allow.

  Args:
    study: the content of study.json; one of before there were conditions has none.
    every: the runs of all conditions.
    runs: those of the declared one.
    curves: their learning curves.
    effects: their effects.
  """
  under = study.get('conditions') or ()
  several = len({c['regime'] for c in under if (c['budget'], c['size']) == (1, 1)}) > 1
  ladder = len({c['budget'] for c in under}) > 1 or len({c['size'] for c in under}) > 1
  found = Analyses(
    regimes=regimes_lib.compare(study, every) if several else None,
    gains=gains_lib.gains(study, every) if ladder else None,
    anytime=gains_lib.anytime(study, curves) if ladder else None,
  )
  if (study['design'] in GAMES and under) or study.get('ratio'):
    found = found._replace(attribution=attribution_lib.attribute(study, every))
  if study.get('claims'):
    ours = found.gains.frame if found.gains else None
    found = found._replace(
      claims=claim_words.table(
        study,
        claims_lib.compare(study, effects, runs, ours),
        looks.state(study, runs).alpha,
      )
    )
  return found


def lead(study: study_lib.Study, found: Analyses) -> tuple[str, ...]:
  """What a report begins with: verdicts that turn between regimes."""
  return regime_words.flips(study, found.regimes) if found.regimes else ()


def gather(study: study_lib.Study, found: Analyses) -> list[Section]:
  """The sections, those that answer the title question first."""
  made = (
    _attribution(study, found.attribution),
    _regimes(study, found.regimes),
    _gains(study, found.gains, found.anytime),
    _claims(found.claims),
  )
  return [section for section in made if section is not None]


def _attribution(
  study: study_lib.Study, found: attribution_lib.Attribution | None
) -> Section | None:
  if found is None:
    return None
  title = 'Compute or idea'
  if found.refusal:
    return Section('attribution', title, (found.refusal,), (), (), ())
  return Section(
    'attribution',
    title,
    tuple(attribution_words.sentences(study, found)),
    ('waterfall', 'shares'),
    tuple(_attribution_sheets(study, found)),
    (*found.notes, *_unequal(study)),
  )


def _unequal(study: study_lib.Study) -> tuple[str, ...]:
  """What is not as equal as its regime says; the first few."""
  lines = regime_words.deviations(study)
  more = [f'{len(lines) - SHOWN} more such deviations.'] if len(lines) > SHOWN else []
  return (*lines[:SHOWN], *more)


def _attribution_sheets(
  study: study_lib.Study, found: attribution_lib.Attribution
) -> list[sheets.Sheet]:
  """Players on each scale at the headline ratio, and who gains more together."""
  head = ('Player', 'Contribution', 'Interval', 'Share', 'Interval of it', 'p', 'Seeds')
  numeric = (False, *(True,) * 6)
  made = []
  for scale in dict.fromkeys((found.scale, attribution_lib.LOG, attribution_lib.RAW)):
    rows = [
      _player_cells(study, found, scale, row)
      for row in attribution_lib.at_headline(found, found.players, scale)
    ]
    title = f'The gain in {attribution_words.name_scale(study, scale)}'
    made.append(sheets.Sheet(title, head, numeric, tuple(rows)))
  rows = [
    (row['order'], *_player_cells(study, found, found.scale, row))
    for row in attribution_lib.at_headline(found, found.orders)
  ]
  title = 'Compute first, or last'
  made.append(sheets.Sheet(title, ('Order', *head), (False, *numeric), tuple(rows)))
  made.append(_interaction_sheet(study, found))
  return [sheet for sheet in made if sheet.rows]


def _player_cells(
  study: study_lib.Study,
  found: attribution_lib.Attribution,
  scale: str,
  row: Mapping[str, Any],
) -> tuple[str, ...]:
  """Player, contribution, its interval, share, its interval, p and seeds."""
  share, interval = attribution_words.tell_share(row)
  width = attribution_words.width_of(row)
  return (
    attribution_words.name_player(found, row['player']),
    attribution_words.tell_amount(study, scale, row['phi'], width),
    _span(study, scale, row),
    share or formats.NOTHING,
    interval or formats.NOTHING,
    formats.p_value(row['p']),
    formats.count(row['n']),
  )


def _interaction_sheet(
  study: study_lib.Study, found: attribution_lib.Attribution
) -> sheets.Sheet:
  """Pairs of players: what both together gain beyond each alone."""
  head = ('Player', 'With', 'More together', 'Interval', 'p', 'Seeds')
  rows = tuple(
    (
      attribution_words.name_player(found, row['player']),
      attribution_words.name_player(found, row['with']),
      attribution_words.tell_amount(
        study, found.scale, row['index'], attribution_words.width_of(row)
      ),
      _span(study, found.scale, row),
      formats.p_value(row['p']),
      formats.count(row['n']),
    )
    for row in attribution_lib.at_headline(found, found.interactions)
  )
  numeric = (False, False, *(True,) * 4)
  return sheets.Sheet('Interactions', head, numeric, rows)


def _span(study: study_lib.Study, scale: str, row: Mapping[str, Any]) -> str:
  ends = (row['ci_low'], row['ci_high'])
  if any(map(formats.missing, ends)):
    return formats.NOTHING
  if scale == attribution_lib.RAW:
    return formats.interval(pairs.deciding(study), *ends)
  width = attribution_words.width_of(row)
  low, high = (attribution_words.tell_amount(study, scale, end, width) for end in ends)
  return f'[{low}, {high}]'


def _regimes(
  study: study_lib.Study, found: regimes_lib.Regimes | None
) -> Section | None:
  if found is None:
    return None
  sheet = _regime_sheet(study, found)
  refusal = regime_words.refusal(study, found)
  texts = (refusal,) if refusal else ()
  notes = _unequal(study)
  title = 'The same under other regimes'
  return Section('regimes', title, texts, ('regimes',), (sheet,), notes)


def _regime_sheet(study: study_lib.Study, found: regimes_lib.Regimes) -> sheets.Sheet:
  """A row a contrast and regime; what the component gains, and what it costs."""
  column = pairs.deciding(study)
  words = ('Component', 'Regime', 'Reading', 'It gains', 'Interval', 'p (Holm)')
  head = (*words, 'FLOPs with / without', 'Parameters with / without', 'Seeds')
  rows = []
  for row in found.frame.to_dict('records'):
    sides = ('arm', 'reference') if row['component'] == 'arm' else ('reference', 'arm')
    ratios = [
      _ratio(row[f'{sides[0]}_{what}'], row[f'{sides[1]}_{what}'])
      for what in ('flops', 'params')
    ]
    reading = str(row['reading'] or formats.NOTHING)
    rows.append(
      (
        f'{row["factor"]} ({row["level"]})',
        regime_words.WORDS[row['regime']],
        reading if row['declared'] else f'{reading} (descriptive)',
        formats.delta(column, row['gain'], unit=True),
        formats.interval(column, row['gain_low'], row['gain_high']),
        formats.NOTHING if formats.missing(row['p_holm']) else _p(row['p_holm']),
        *ratios,
        formats.count(row['n']),
      )
    )
  numeric = (False, False, False, *(True,) * 6)
  return sheets.Sheet('Side by side', head, numeric, tuple(rows))


_p = formats.p_value


def _ratio(one: float, other: float) -> str:
  known = other and not formats.missing(one) and not formats.missing(other)
  return f'{one / other:.2f}×' if known else formats.NOTHING


def _gains(
  study: study_lib.Study,
  found: gains_lib.Gains | None,
  anytime: gains_lib.Gains | None,
) -> Section | None:
  if found is None:
    return None
  texts = tuple(gain_words.sentences(study, found))
  made = [_gain_sheet(study, 'Compute-equivalent gain', found)]
  if anytime and not anytime.refusal:
    title = 'Anytime gain, read off single validation curves of runs as configured'
    made.append(_gain_sheet(study, title, anytime))
  kept = tuple(sheet for sheet in made if sheet.rows)
  notes = (*gain_words.notes(study, found), *_unequal(study))
  notes += tuple(
    f'Anytime: {text}' for text in (gain_words.notes(study, anytime) if anytime else ())
  )
  title = 'How much compute is it worth?'
  return Section('gains', title, texts, ('ladders', 'gains'), kept, notes)


def _gain_sheet(
  study: study_lib.Study, title: str, found: gains_lib.Gains
) -> sheets.Sheet:
  """A row a contrast, axis and target."""
  head = ('Without', 'Ladder', 'Target', 'Gain', 'Never reached', 'Seeds')
  rows = tuple(
    (
      f'{row["factor"]} ({row["level"]})',
      str(row['axis']),
      formats.value(row['metric'], row['target']),
      gain_words.describe(row),
      f'{row["share_never"]:.0%}',
      formats.count(row['n']),
    )
    for row in found.frame.to_dict('records')
  )
  return sheets.Sheet(title, head, (False, False, True, True, True, True), rows)


def _claims(found: pd.DataFrame | None) -> Section | None:
  if found is None:
    return None
  head = ('Paper', 'Claim', 'Published', 'Ours', 'Outcome', 'Why')
  names = ('paper', 'claim', 'published', 'ours', 'outcome', 'why')
  rows = tuple(
    tuple(str(row[name]) for name in names) for row in found.to_dict('records')
  )
  title = 'Published claims'
  sheet = sheets.Sheet(title, head, (False,) * len(head), rows)
  return Section('claims', title, tuple(claim_words.sentences(found)), (), (sheet,), ())
