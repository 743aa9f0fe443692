"""The section on attribution: what brings the gain, and what gains more together."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlsteroids.analysis import attribution, statistics
from dlsteroids.report import blocks, facts, formats, tables
from dlsteroids.study import study as study_lib

LOG, RAW = attribution.LOG, attribution.RAW
_MOST = 3  # of a list, and of the interactions in each direction
Row = Mapping[str, Any]
_NOTES = {
  'uncorrected': 'The p-values are those of single rows, not corrected for their '
  'number.',
  'one_budget': 'Compute is no player, since there is one budget: '
  'study.budgets=0.0625,0.25 adds smaller ones.',
  'no_ratio': 'No headline ratio was declared beforehand (study.ratio): the widest is '
  'shown.',
  'unequal_flops': 'A budget is equal {regime}, not equal FLOPs (study.regimes=flops): '
  'what an idea costs in compute is counted as the idea’s.',
  'untuned': 'Numbers such as the learning rate are the same at every budget, not '
  'tuned (study.tune): a budget at which they are ill-chosen changes the shares.',
  'ratio_left_out': 'The ratio {ratio:g} is left out. {refusal}',
  'levels_between': 'Of each factor the first level is present and the last absent.',
  'orders': 'Estimated from {count} of {of:,} orders of the ideas; the intervals are '
  'over seeds and orders.',
  'fraction': 'Estimated by main effects from {count} of {of} combinations of the '
  'ideas: what three or more do only together is not separated.',
  'seeds_dropped': '{n} of {planned} seeds have every run that is needed.',
  'few_seeds': 'With {n} seeds the intervals are Student’s t, descriptive only; from '
  '{fewest} seeds on they are those of the sign-flip test.',
  'diverged': '{runs} diverged and count with the score of a guess.',
  'no_log': 'No shares of the logarithm of the error: {why}.',
  'no_shares': '{why}: no shares ({scale}).',
  'estimated_gain': 'The bare or the full model was not run: the gain is an estimate '
  '({scale}).',
  'order_error': 'Which orders were drawn adds a standard error of up to {percent:.2g} '
  '% of the gain ({scale}).',
}
_REFUSALS = {
  'design': 'it needs combinations of factors, and the design {design} leaves them '
  'out; use study.design=factorial (2^{factors} combinations of {factors} factors), '
  'fraction or permutations.',
  'reserved': 'rename the factor {factor!r}, a row is so named.',
  'excluded': '{listed} cannot be, so the game is not defined; leave one of the two '
  'out (study.only).',
  'missing_arms': '{count} of {of} combinations have no arm ({listed}); run the study '
  'again to plan them.',
  'confounded': 'the combinations that were run confound ideas with pairs of ideas (no '
  'fraction of resolution IV); use study.design=factorial.',
  'unfinished': 'no run has ended of {listed}; run the study again, it trains what is '
  'missing.',
  'mostly_diverged': 'most runs diverged of {listed}, so their scores are no evidence.',
  'seeds': '{has}; it takes 2 for an interval and {fewest} for one that is more than '
  'descriptive (study.seeds).',
  'ratio': 'the headline ratio {ratio:g} is none of the ratios of budgets ({listed}); '
  'change study.ratio or study.budgets.',
}
_NO_LOG = {
  'equal': 'all runs score the same',
  'unknown_size': 'the number of test examples is unknown',
  'no_error': '{metric} is no error',
  'not_positive': '{metric} is not always above zero',
}
NO_SHARES = {
  attribution.FEW_SEEDS: 'too few seeds',
  attribution.NO_GAIN: 'the interval of the whole gain includes 0',
  attribution.OUTSIDE: f'a share lies outside 0 to 100{formats.THIN}%',
  attribution.DISAGREE: 'compute first and ideas first disagree by more than their '
  'interval',
}
_UNDIVIDED = (attribution.FEW_SEEDS, attribution.NO_GAIN)


def section(study: study_lib.Study, result: attribution.Attribution) -> blocks.Section:
  """Sentences, tables and notes; the refusal if there is no attribution."""
  parts: list[Any] = [blocks.Prose(text) for text in sentences(study, result)]
  if not result.refusal:
    parts += _tables(study, result)
    notes = tuple(map(describe, result.notes))
    parts += [blocks.Bullets(notes)] if notes else []
  return blocks.Section('Compute or idea', parts, 'attribution')


def sentences(study: study_lib.Study, result: attribution.Attribution) -> list[str]:
  """The attribution in words, at the headline ratio; or the refusal.

  E.g. 'Compute (16×) accounts for 38 % [31, 44] of the gain in log-error from bare to
  full model; convolution 30 % [22, 37]; ideas together 62 % [56, 69].'
  """
  if result.refusal:
    return [describe(result.refusal)]
  ends = attribution.at_headline(result, result.ends, RAW)[0]
  column = study.metric.column
  verb = 'falls' if ends['full'] < ends['bare'] else 'rises'
  at = f' at 1/{result.ratio:g} of the compute' if result.ratio > 1 else ''
  texts = [
    f'From the bare model{at} to the full one, {facts.words(study, column)} {verb} '
    f'from {formats.value(column, ends["bare"])} to '
    f'{formats.value(column, ends["full"])} ({ends["n"]} seeds).'
  ]
  for scale in (LOG, RAW):
    rows = attribution.at_headline(result, result.players, scale)
    texts += [_tell_shares(study, result, rows, scale)] if rows else []
  return texts + tell_orders(study, result) + _tell_pairs(study, result)


def tell_orders(study: study_lib.Study, result: attribution.Attribution) -> list[str]:
  """What compute and the ideas bring where either comes first, in a sentence."""
  why = attribution.why_no_shares(result)
  rows = attribution.at_headline(result, result.orders, RAW if why else '')
  if not rows or why in _UNDIVIDED:
    return []
  if why:
    texts = [tell_row(study, RAW, row) for row in rows]
    return [
      f'Compute alone, given to the bare model, improves {name_scale(study, RAW)} by '
      f'{texts[0]}, the ideas then by {texts[1]}. The ideas alone, without more '
      f'compute, improve it by {texts[2]}, compute then by {texts[3]}.'
    ]
  digits = choose_digits(rows)
  texts = [' '.join(tell_share(row, digits)) for row in rows]
  gain = 'gain' if rows[0]['phi'] + rows[1]['phi'] > 0 else 'loss'
  what = f'of the {gain} in {name_scale(study, result.scale)}'
  return [
    f'Compute alone, given to the bare model, brings {texts[0]} {what}, the ideas then '
    f'{texts[1]}. The ideas alone, without more compute, bring {texts[2]}, compute '
    f'then {texts[3]}.'
  ]


def name_scale(study: study_lib.Study, scale: str) -> str:
  """What a gain is counted in: 'test accuracy', 'log-error', 'the logarithm of …'."""
  words = facts.words(study, study.metric.column)
  if scale != LOG:
    return words
  return LOG if formats.is_share(study.metric.column) else f'the logarithm of {words}'


def name_player(result: attribution.Attribution, player: str) -> str:
  """A row's player in words: 'compute (16×)', 'batch norm', 'ideas together'."""
  if player == attribution.COMPUTE:
    return f'compute ({result.ratio:g}×)'
  names = {attribution.IDEAS: 'ideas together', attribution.REMAINDER: 'not separated'}
  return names.get(player, player.replace('_', ' '))


def choose_digits(rows: Sequence[Row]) -> int:
  """Decimals of shares in percent: one if an interval is narrow, else none."""
  widths = [100 * (row['share_high'] - row['share_low']) for row in rows]
  return 0 if min(widths, default=0.0) >= 2 else 1


def tell_share(row: Row, digits: int = 1) -> tuple[str, str]:
  """A row's share of the gain in percent, and its interval; '' where there is none."""
  if formats.missing(row['share']):
    return '', ''
  share, low, high = (
    f'{round(100 * row[name], digits) + 0.0:.{digits}f}'.replace('-', formats.MINUS)
    for name in ('share', 'share_low', 'share_high')
  )
  return f'{share}{formats.THIN}%', f'[{low}, {high}]'


def tell_amount(
  study: study_lib.Study, scale: str, amount: float, width: float = math.nan
) -> str:
  """A contribution with its sign, in the metric's unit or as a logarithm.

  The `width` of its interval sets the decimals of logarithms.
  """
  if scale == RAW:
    return formats.delta(study.metric.column, amount, unit=True)
  digits = min(max(1 - math.floor(math.log10(width)), 2), 5) if width > 0 else 2
  rounded = round(amount, digits)
  text = f'{rounded + 0.0:{"+" if rounded else ""}.{digits}f}'
  return text.replace('-', formats.MINUS)


def tell_row(study: study_lib.Study, scale: str, row: Row) -> str:
  """A row's contribution with its interval."""
  amount = tell_amount(study, scale, row['phi'], width_of(row))
  return f'{amount} {_interval(study, scale, row)}'


def width_of(row: Row) -> float:
  """Of a row's interval."""
  return row['ci_high'] - row['ci_low']


def _tell_shares(
  study: study_lib.Study,
  result: attribution.Attribution,
  rows: Sequence[Row],
  scale: str,
) -> str:
  """What brings the gain on one scale."""
  by_player = {row['player']: row for row in rows}
  total, what = by_player.pop(attribution.TOTAL), name_scale(study, scale)
  why = attribution.why_no_shares(result, scale)
  if why in _UNDIVIDED:
    return (
      f'The improvement of {what} from bare to full model, '
      f'{tell_row(study, scale, total)}, is not divided: {NO_SHARES[why]}.'
    )
  ideas = [row for name, row in by_player.items() if name not in attribution.RESERVED]
  ideas.sort(key=lambda row: row['phi'] / total['phi'], reverse=True)
  names = (attribution.REMAINDER, attribution.IDEAS)[: 2 if len(ideas) > 1 else 1]
  others = [by_player.get(name) for name in names]
  ordered = [by_player.get(attribution.COMPUTE), *ideas, *others]
  shown = [row for row in ordered if row is not None]
  if why:
    text = f'No shares of the gain in {what} are printed, as {NO_SHARES[why]}'
    if scale != RAW:
      return f'{text}.'
    parts = [
      f'{name_player(result, row["player"])} {tell_row(study, scale, row)}'
      for row in (*shown, total)
    ]
    return f'{text}. Improvements: {", ".join(parts)}.'
  digits = choose_digits(shown)
  (first, share), *rest = [
    (name_player(result, row['player']), ' '.join(tell_share(row, digits)))
    for row in shown
  ]
  gain = 'gain' if total['phi'] > 0 else 'loss'
  parts = [
    f'{formats.sentence_case(first)} accounts for {share} of the {gain} in {what} from '
    'bare to full model',
    *(f'{name} {share}' for name, share in rest),
  ]
  return f'{"; ".join(parts)}.'


def _tell_pairs(study: study_lib.Study, result: attribution.Attribution) -> list[str]:
  """The largest interactions that stand after Holm's step-down, `_MOST` each way."""
  rows = attribution.at_headline(result, result.interactions)
  adjusted = statistics.holm([row['p'] for row in rows])
  significant = [
    row
    for row, p in zip(rows, adjusted)
    if p <= study.alpha and row['ci_low'] * row['ci_high'] > 0
  ]
  significant.sort(key=lambda row: abs(row['index']), reverse=True)
  what, texts = name_scale(study, result.scale), []
  for word, sign in (('More', 1), ('Less', -1)):
    parts = [
      ' and '.join(name_player(result, row[key]) for key in ('player', 'with'))
      + f' ({tell_amount(study, result.scale, row["index"], width_of(row))})'
      for row in [row for row in significant if sign * row['index'] > 0][:_MOST]
    ]
    if parts:
      texts.append(f'{word} together than apart, in {what}: {"; ".join(parts)}.')
  return texts


def _tables(
  study: study_lib.Study, result: attribution.Attribution
) -> list[blocks.Table]:
  """Players on each scale at the headline ratio, and which gain more together."""
  players = {
    scale: attribution.at_headline(result, result.players, scale)
    for scale in dict.fromkeys((result.scale, LOG, RAW))
  }
  orders = [
    {'Order': row['order'], **_player_cells(study, result, result.scale, row)}
    for row in attribution.at_headline(result, result.orders)
  ]
  pairs = [
    {
      'Player': name_player(result, row['player']),
      'With': name_player(result, row['with']),
      'More together': tell_amount(study, result.scale, row['index'], width_of(row)),
      'Interval': _interval(study, result.scale, row),
      'p': formats.p_value(row['p']),
      'Seeds': formats.count(row['n']),
    }
    for row in attribution.at_headline(result, result.interactions)
  ]
  rows_by_title = {
    f'The gain in {name_scale(study, scale)}': [
      _player_cells(study, result, scale, row) for row in rows
    ]
    for scale, rows in players.items()
  } | {'Compute first, or last': orders, 'Interactions': pairs}
  words = ('Order', 'Player', 'With')
  return [
    tables.make(title, rows, words) for title, rows in rows_by_title.items() if rows
  ]


def _player_cells(
  study: study_lib.Study, result: attribution.Attribution, scale: str, row: Row
) -> dict[str, str]:
  share, interval = tell_share(row)
  return {
    'Player': name_player(result, row['player']),
    'Contribution': tell_amount(study, scale, row['phi'], width_of(row)),
    'Interval': _interval(study, scale, row),
    'Share': share or formats.NOTHING,
    'Interval of it': interval or formats.NOTHING,
    'p': formats.p_value(row['p']),
    'Seeds': formats.count(row['n']),
  }


def _interval(study: study_lib.Study, scale: str, row: Row) -> str:
  ends = (row['ci_low'], row['ci_high'])
  if any(map(formats.missing, ends)):
    return formats.NOTHING
  if scale == RAW:
    return formats.interval(study.metric.column, *ends)
  low, high = (tell_amount(study, scale, end, width_of(row)) for end in ends)
  return f'[{low}, {high}]'


def describe(note: attribution.Note) -> str:
  """A note or a refusal in one sentence."""
  values = {**note.values, **_VALUES.get(note.kind, dict)(note.values)}
  if note.kind in _NOTES:
    return _NOTES[note.kind].format(**values)
  return f'No attribution: {_REFUSALS[note.kind].format(**values)}'


def _count_seeds(values: Mapping[str, Any]) -> str:
  several = f'{values["n"]} of {values["planned"]} seeds has every run'
  return several if values['planned'] > 1 else 'there is one seed'


def _list_arms(values: Mapping[str, Any]) -> dict[str, str]:
  arms = [f'{arm} at budget {budget:g}' for arm, budget in values['arms']]
  return {'listed': formats.first_few(arms, _MOST)}


_VALUES: Mapping[str, Callable[[Any], dict[str, Any]]] = {  # beside the note's own
  'ratio_left_out': lambda v: {'refusal': describe(v['refusal'])},
  'diverged': lambda v: {'runs': f'{v["count"]} run{"s" if v["count"] > 1 else ""}'},
  'no_log': lambda v: {
    'why': _NO_LOG[v['why']].format(metric=formats.name(v['metric']))
  },
  'no_shares': lambda v: {'why': formats.sentence_case(NO_SHARES[v['why']])},
  'order_error': lambda v: {'percent': 100 * v['share']},
  'excluded': lambda v: {'listed': formats.listing(v['pairs'])},
  'missing_arms': lambda v: {
    'count': len(v['cells']),
    'listed': formats.first_few(v['cells'], _MOST),
  },
  'unfinished': _list_arms,
  'mostly_diverged': _list_arms,
  'seeds': lambda v: {'has': _count_seeds(v)},
  'ratio': lambda v: {
    'listed': ', '.join(f'{x:g}' for x in v['ratios']) or 'there is only one budget'
  },
}
