"""An attribution in words: whose the gain is, and who gains more together."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dlsteroids.analysis import attribution, coalitions, pairs, shares, statistics
from dlsteroids.report import facts, formats

LOG, RAW = coalitions.LOG, coalitions.RAW
_SAID = 3  # interactions


def sentences(study: Mapping[str, Any], found: attribution.Attribution) -> list[str]:
  """The attribution in words, at the headline ratio; or the refusal.

  Returns:
    What the gain is; on each scale whose it is, e.g. 'Compute (16×) accounts for 38 %
    [31, 44] of the gain in log-error from bare to full model; convolution 30 %
    [22, 37]; ideas together 62 % [56, 69].'; and who gains more, or less, together.
  """
  if found.refusal:
    return [found.refusal]
  ends = attribution.at_headline(found, found.ends, RAW)[0]
  column = pairs.deciding(study)
  what, moves = facts.words(study, column), ('rises', 'falls')
  start = 'the bare model'
  if found.ratio > 1:
    start += f' at 1/{found.ratio:g} of the compute'
  said = [
    f'From {start} to the full one, {what} {moves[ends["full"] < ends["bare"]]} from '
    f'{formats.value(column, ends["bare"])} to {formats.value(column, ends["full"])} '
    f'({ends["n"]} seeds).'
  ]
  for scale in (LOG, RAW):
    rows = attribution.at_headline(found, found.players, scale)
    said += [_tell(study, found, rows, scale)] if rows else []
  return said + tell_orders(study, found) + _tell_pairs(study, found)


def tell_orders(study: Mapping[str, Any], found: attribution.Attribution) -> list[str]:
  """What compute and the ideas bring where either comes first, in a sentence."""
  rows = attribution.at_headline(found, found.orders)
  if not rows or any(formats.missing(row['share']) for row in rows):
    return []
  digits = choose_digits(rows)
  told = [' '.join(tell_share(row, digits)) for row in rows]
  gain = 'gain' if rows[0]['phi'] + rows[1]['phi'] > 0 else 'loss'
  what = f'{gain} in {name_scale(study, found.scale)}'
  return [
    f'Compute alone, given to the bare model, brings {told[0]} of the {what}, the '
    f'ideas then {told[1]}. The ideas alone, without more compute, bring {told[2]}, '
    f'compute then {told[3]}.'
  ]


def name_scale(study: Mapping[str, Any], scale: str) -> str:
  """What a gain is counted in: 'test accuracy', 'log-error', 'the logarithm of …'."""
  column = pairs.deciding(study)
  if scale == LOG:
    known = formats.is_share(column)
    return LOG if known else f'the logarithm of {facts.words(study, column)}'
  return facts.words(study, column)


def name_player(found: attribution.Attribution, player: str) -> str:
  """A row's player in words: 'compute (16×)', 'batch norm', 'ideas together'."""
  if player == shares.COMPUTE:
    return f'compute ({found.ratio:g}×)'
  known = {shares.IDEAS: 'ideas together', shares.REMAINDER: 'not told apart'}
  return known.get(player, player.replace('_', ' '))


def choose_digits(rows: Sequence[Mapping[str, Any]]) -> int:
  """Decimals of shares in percent: one if an interval is narrow, else none."""
  widths = [100 * (row['share_high'] - row['share_low']) for row in rows]
  return 0 if min(widths, default=0.0) >= 2 else 1


def tell_share(row: Mapping[str, Any], digits: int = 1) -> tuple[str, str]:
  """A row's share of the gain in percent, and its interval; '' where there is none."""
  if formats.missing(row['share']):
    return '', ''
  share, low, high = (
    f'{round(100 * row[name], digits) + 0.0:.{digits}f}'.replace('-', formats.MINUS)
    for name in ('share', 'share_low', 'share_high')
  )
  return f'{share}{formats.THIN}%', f'[{low}, {high}]'


def tell_amount(
  study: Mapping[str, Any], scale: str, amount: float, width: float = math.nan
) -> str:
  """An improvement on a scale, signed: '+3.41 points', '+0.72'.

  Args:
    width: of its interval, which sets the decimals of logarithms.
  """
  if scale == RAW:
    return formats.delta(pairs.deciding(study), amount, unit=True)
  digits = 2
  if width > 0:
    digits = min(max(1 - math.floor(math.log10(width)), 2), 5)
  rounded = round(amount, digits)
  return f'{rounded + 0.0:{"+" if rounded else ""}.{digits}f}'.replace(
    '-', formats.MINUS
  )


def width_of(row: Mapping[str, Any]) -> float:
  """Of a row's interval."""
  return row['ci_high'] - row['ci_low']


def _tell(
  study: Mapping[str, Any],
  found: attribution.Attribution,
  rows: Sequence[Mapping[str, Any]],
  scale: str,
) -> str:
  """Whose the gain on one scale is."""
  named = {row['player']: row for row in rows}
  total, what = named.pop(shares.TOTAL), name_scale(study, scale)
  if formats.missing(total['share']):
    width = width_of(total)
    mean, *ends = (
      tell_amount(study, scale, total[key], width)
      for key in ('phi', 'ci_low', 'ci_high')
    )
    return (
      f'The improvement of {what} from bare to full model, {mean} [{", ".join(ends)}], '
      'cannot be told from none: it is not divided.'
    )
  ideas = [row for name, row in named.items() if name not in coalitions.RESERVED]
  ideas.sort(key=lambda row: row['share'], reverse=True)
  names = (shares.REMAINDER, shares.IDEAS) if len(ideas) > 1 else (shares.REMAINDER,)
  last = (named.get(name) for name in names)
  ordered = [named.get(shares.COMPUTE), *ideas, *last]
  kept = [row for row in ordered if row is not None]
  digits = choose_digits(kept)
  (first, share), *others = [
    (name_player(found, row['player']), ' '.join(tell_share(row, digits)))
    for row in kept
  ]
  gain = 'gain' if total['phi'] > 0 else 'loss'
  parts = [
    f'{first[:1].upper()}{first[1:]} accounts for {share} of the {gain} in {what} from '
    'bare to full model',
    *(f'{name} {share}' for name, share in others),
  ]
  return f'{"; ".join(parts)}.'


def _tell_pairs(study: Mapping[str, Any], found: attribution.Attribution) -> list[str]:
  """The largest interactions that stand after Holm's step-down, `_SAID` each way."""
  rows = attribution.at_headline(found, found.interactions)
  adjusted = statistics.holm([row['p'] for row in rows])
  rows = [
    row
    for row, p in zip(rows, adjusted)
    if p <= study['alpha'] and row['ci_low'] * row['ci_high'] > 0
  ]
  rows.sort(key=lambda row: abs(row['index']), reverse=True)
  said = []
  for more in (True, False):
    mine = [row for row in rows if (row['index'] > 0) == more][:_SAID]
    parts = [
      ' and '.join(name_player(found, row[key]) for key in ('player', 'with'))
      + f' ({tell_amount(study, found.scale, row["index"], width_of(row))})'
      for row in mine
    ]
    if parts:
      what = name_scale(study, found.scale)
      word = 'More' if more else 'Less'
      said.append(f'{word} together than apart, in {what}: {"; ".join(parts)}.')
  return said
