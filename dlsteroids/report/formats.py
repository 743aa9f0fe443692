"""How numbers read: shares as percent, FLOPs and seconds with units, honest signs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

MINUS = '\u2212'
THIN = '\u202f'  # narrow no-break space: a number and its unit stay together
NOTHING = '–'
_INFORMATION = ('nats', 'bits')
_LIKE_THEM = (*_INFORMATION, 'perplexity')  # of one symbol on average
_ERRORS = ('mse', 'mae', 'perplexity')
_DECIMALS = 4  # of nats, bits and small errors: what seeds tell apart
# Of a classifier's features, not Inception's: they are not the FID and KID of papers.
_DISTANCES = {'classifier_fid': 'classifier-FID', 'classifier_kid': 'classifier-KID'}
_NAMES = {**_DISTANCES, 'l1': 'L1', 'psnr': 'PSNR', 'ssim': 'SSIM'}
_FRACTIONS = ('precision', 'recall', 'balance', 'diversity', 'confidence', 'agreement')


def is_share(metric: str) -> bool:
  """Whether `metric` ('test/accuracy' or 'accuracy') is a share, read in percent."""
  return metric.rsplit('/', 1)[-1].endswith(('accuracy', 'error_rate'))


def is_information(metric: str) -> bool:
  """Whether `metric` tells, on average, how unexpected a symbol is."""
  return metric.rsplit('/', 1)[-1] in _LIKE_THEM


def name(column: str) -> str:
  """A column as a reader says it: 'test/classifier_fid' is 'test classifier-FID'."""
  *parts, metric = column.split('/')
  head, _, way = metric.rpartition('_')  # 'psnr_x': of one direction of two
  words = f'{_NAMES[head]} {way}' if head in _NAMES else _NAMES.get(metric, metric)
  return ' '.join([*parts, words]).replace('_', ' ')


def missing(value: Any) -> bool:
  """Whether a cell of a table is empty: None, '', or not a number."""
  if value is None or value == '':
    return True
  return isinstance(value, float) and math.isnan(value)


def _sign(text: str) -> str:
  return text.replace('-', MINUS)


def number(value: float, digits: int = 4) -> str:
  """`value` with `digits` significant digits; thousands are grouped."""
  if missing(value):
    return NOTHING
  if math.isinf(value):
    return '∞' if value > 0 else f'{MINUS}∞'
  if value == 0:
    return '0'
  if float(value).is_integer() and abs(value) < 1e15:
    return _sign(f'{int(value):,}')
  size = math.floor(math.log10(abs(value)))
  if -5 < size < 9:
    return _sign(f'{value:,.{max(0, digits - 1 - size)}f}')
  return _sign(f'{value:.{digits - 1}e}')


def value(metric: str, amount: float) -> str:
  """A metric's value: '97.84 %' for shares, '1.4021' nats or bits.

  Of generated images: '12.3' for distances, '0.912' for fractions, '9.7' for classes.
  All others (perplexity, mse, mae) have four significant digits.
  """
  if missing(amount) or not math.isfinite(amount):
    return number(amount)
  if is_share(metric):
    return _sign(f'{100 * amount:.2f}{THIN}%')
  if unit_of(metric) in _INFORMATION:
    return _sign(f'{amount:,.{_DECIMALS}f}')
  drawn = _of_images(metric, amount)
  return number(amount) if drawn is None else _sign(drawn)


def _of_images(metric: str, amount: float) -> str | None:
  """A number that tells of generated images, if `metric` does; with a plain minus."""
  last = metric.rsplit('/', 1)[-1]
  if last in _DISTANCES:
    return number(amount, 3).replace(MINUS, '-')
  if last in _FRACTIONS:
    return f'{amount:.3f}'
  return f'{amount:.1f}'.removesuffix('.0') if last == 'classes' else None


def delta(metric: str, amount: float, *, unit: bool = False) -> str:
  """A signed difference: '−3.41' points, '+0.0213' nats or mse; else four digits."""
  if missing(amount):
    return NOTHING
  if math.isinf(amount):
    return '∞' if amount > 0 else f'{MINUS}∞'
  counted = unit_of(metric, short=True)
  drawn = _of_images(metric, amount)
  text = f'{amount:+.4g}' if drawn is None else f'{"+" * bool(amount > 0)}{drawn}'
  if is_share(metric):
    text = f'{100 * amount:+.2f}'
  elif counted in _INFORMATION:
    text = f'{amount:+.{_DECIMALS}f}'
  elif metric.rsplit('/', 1)[-1] in _ERRORS and abs(amount) * 10**_DECIMALS >= 0.5:
    text = f'{amount:+.{_DECIMALS}f}' if abs(amount) < 1 else text
  if not any(digit in text for digit in '123456789'):
    text = text.lstrip('+-')  # a rounded nought has no sign
  return _sign(text) + (f'{THIN}{counted}' if counted and unit else '')


def interval(metric: str, low: float, high: float) -> str:
  """An interval of differences: '[−3.90, −2.92]'; an open end is shown as ∞."""
  if missing(low) or missing(high):
    return NOTHING
  return f'[{delta(metric, low)}, {delta(metric, high)}]'


def unit_of(metric: str, *, short: bool = False) -> str:
  """What differences of `metric` are counted in, for headings; '' if unitless."""
  if is_share(metric):
    return 'points' if short else 'percentage points'
  name = metric.rsplit('/', 1)[-1]
  return name if name in _INFORMATION else ''


def p_value(p: float) -> str:
  """A p-value with two significant digits; very small ones as a bound."""
  if missing(p):
    return NOTHING
  return f'{p:.2g}' if p >= 1e-4 else '< 0.0001'


_PREFIXES = ('', 'k', 'M', 'G', 'T', 'P', 'E', 'Z')


def _scaled(amount: float, unit: str, largest: str) -> str:
  if missing(amount):
    return NOTHING
  step = 0
  while abs(amount) >= 999.5 and _PREFIXES[step] != largest:
    amount, step = amount / 1000, step + 1
  digits = 0 if abs(amount) >= 99.5 or (step == 0 and amount == int(amount)) else 1
  digits = 2 if 0 < abs(amount) < 9.95 and step else digits
  return f'{amount:.{digits}f}{THIN}{_PREFIXES[step]}{unit}'


def flops(amount: float) -> str:
  """Floating-point operations: '24.9 GFLOP'."""
  return _scaled(amount, 'FLOP', 'Z')


def size(amount: float) -> str:
  """Memory: '1.2 MB', of 1000 kB."""
  return _scaled(amount, 'B', 'T')


def tick(amount: float) -> str:
  """An axis label: '0', '300', '1.5 k', '10 G'."""
  step = 0
  while abs(amount) >= 1000 and step < 6:
    amount, step = amount / 1000, step + 1
  return f'{amount:.4g}{THIN}{_PREFIXES[step]}'.strip(THIN)


def count(amount: float) -> str:
  """A whole number, grouped: '28,970'."""
  return NOTHING if missing(amount) else f'{int(amount):,}'


def seconds(amount: float) -> str:
  """A duration: '0.31 s', '4 min 10 s', '2 h 05 min'."""
  if missing(amount):
    return NOTHING
  if amount < 100:
    return f'{amount:{".2g" if amount < 9.95 else ".0f"}}{THIN}s'
  minutes, rest = divmod(round(amount), 60)
  if minutes < 60:
    return f'{minutes}{THIN}min {rest}{THIN}s'
  return f'{minutes // 60}{THIN}h {minutes % 60:02d}{THIN}min'


def plural(number: int, noun: str) -> str:
  """'1 seed', '8 seeds'."""
  return f'{number:,} {noun}{"" if number == 1 else "s"}'


def sentence_case(text: str) -> str:
  """`text` with a capital at its start."""
  return text[:1].upper() + text[1:]


def listing(names: Sequence[str]) -> str:
  """Names in a sentence: 'a', 'a and b', 'a, b and c'."""
  if len(names) < 2:
    return ''.join(names)
  return f'{", ".join(names[:-1])} and {names[-1]}'


def first_few(items: Sequence[str], most: int, join: str = '; ') -> str:
  """The first `most` of a list, and how many more there are."""
  more = len(items) - most
  return join.join(items[:most]) + (f' and {more} more' if more > 0 else '')


def those_that_hold(texts: Mapping[str, Any]) -> list[str]:
  """The sentences whose condition is met, in their order."""
  return [text for text, holds in texts.items() if holds]


def clip(text: str, width: int) -> str:
  """`text` cut to `width` characters, the cut shown by an ellipsis."""
  return text if len(text) <= width else f'{text[: width - 1]}…'
