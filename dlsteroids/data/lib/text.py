"""From a text to a Dataset: what all texts share.

The text lies on the device once, and examples are windows of it. By position, its
first part is for training, then comes validation, then test. A symbol is scored as a
target, given the symbols before it in the text.
"""

import codecs
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import digest, ngrams, split
from dlsteroids.util import errors

OPTIONS = {
  'symbols': options.Option(
    'characters',
    'characters: those of the text; bytes: all 256',
    choices=('characters', 'bytes'),
  ),
  'window': options.Option(
    128, 'symbols of a training window', 1, 1 << 20, closed='both'
  ),
  'order': options.Option(
    'lanes',
    'lanes: batches continue one another, with carried state; shuffled: at random',
    choices=('lanes', 'shuffled'),
  ),
  'eval_window': options.Option(
    256, 'symbols scored in an evaluation example', 1, 1 << 20, closed='both'
  ),
  'context': options.Option(
    64, 'symbols fed before them, not scored', 0, 1 << 20, closed='both'
  ),
  'validation': split.share(0.1, 'share of the text, before the test part'),
  'test': split.share(0.1, 'share of the text, at its end'),
  'examples': options.Option(0, 'train on the first symbols, this many; 0: all', 0),
}
BYTES = tuple(chr(i) if 32 <= i < 127 else f'\\x{i:02x}' for i in range(256))
LIMIT = 2**31 - 2**24  # bytes; positions of symbols and a window beyond fit in int32
MARKS = {  # that of UTF-32 begins with that of UTF-16
  codecs.BOM_UTF8: 'utf-8',
  codecs.BOM_UTF32_LE: 'utf-32',
  codecs.BOM_UTF32_BE: 'utf-32',
  codecs.BOM_UTF16_LE: 'utf-16',
  codecs.BOM_UTF16_BE: 'utf-16',
}


def make(
  name: str, content: bytes, config: Mapping[str, Any], encoding: str = 'utf-8'
) -> types.Dataset:
  """The Dataset of a text under the options of `config`.

  A training example is `window` symbols and, as targets, the same shifted by one; every
  epoch moves all windows by one offset in [0, window). An evaluation example scores
  `eval_window` targets after `context` symbols that are only fed: it needs no carried
  state, and each symbol of its split is scored once. The context of a split's first
  example lies before the split. Characters of the validation and test parts are in the
  vocabulary.

  Args:
    name: of the data set, in results and errors.
    content: the text as stored.
    config: `OPTIONS`, complete, and other options that shape the text.
    encoding: of `content`; without effect on bytes.

  Raises:
    UserError: an option out of range, a text that is empty, of one symbol, too short
      for the window, or not of that encoding.
  """
  text, classes = _symbols(name, content, config['symbols'], encoding)
  trained, edges = _regions(name, len(text), config)
  arrays = {'text': text}
  return types.Dataset(
    name=name,
    arrays=arrays,
    split=_make_split(trained, edges, config),
    transform=transform,
    digest=digest.of(arrays, config, name, classes),
    classes=classes,
    take=_make_take(edges, config),
    lanes=config['order'] == 'lanes',
    jitter=config['window'],
    facts={
      'window': config['window'],
      'symbols': len(text),
      'unit': 'byte' if config['symbols'] == 'bytes' else 'character',
      'vocabulary': len(classes),
      'treatments': _describe_line_ends(text, classes),
    },
    references=ngrams.references(text, trained, edges[1], len(classes)),
  )


def _symbols(
  name: str, content: bytes, kind: str, encoding: str
) -> tuple[np.ndarray, tuple[str, ...]]:
  """The text as integers [L] (uint8, or uint16 beyond 256 classes), and the classes."""
  if not content:
    raise errors.UserError(f'{name}: the text is empty')
  if kind == 'bytes':
    codes = np.frombuffer(content.removeprefix(codecs.BOM_UTF8), np.uint8)
  else:
    text = _read(name, content, encoding)
    codes = np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)
  if len(codes) > LIMIT:
    raise errors.UserError(
      f'{name} has {len(codes):,} symbols; at most {LIMIT:,} fit 32-bit positions'
    )
  present = np.flatnonzero(np.bincount(codes))
  if len(present) < 2:
    what = f'only {chr(present[0])!r}' if len(present) else 'no characters'
    raise errors.UserError(
      f'{name}: the text has {what}; at least two distinct symbols are needed'
    )
  if kind == 'bytes':
    return codes, BYTES
  if len(present) > 1 << 16:
    raise errors.UserError(
      f'{name} has {len(present):,} distinct characters, more than {1 << 16:,}; set '
      'data.symbols=bytes'
    )
  place = np.zeros(present[-1] + 1, np.uint8 if len(present) <= 256 else np.uint16)
  place[present] = np.arange(len(present))
  return place[codes], tuple(map(chr, present))


def _read(name: str, content: bytes, encoding: str) -> str:
  """`content` decoded, strictly, by the byte order mark if it has one.

  Without that mark, and without those inside, where files with marks were joined.
  """
  marks = (MARKS[mark] for mark in MARKS if content.startswith(mark))
  encoding = next(marks, encoding)
  try:
    text = content.decode(encoding).replace('\ufeff', '')
  except LookupError as error:
    raise errors.UserError(
      f'config.data.encoding: unknown {encoding!r}; use utf-8, latin-1, utf-16 or '
      'another text encoding of Python'
    ) from error
  except UnicodeDecodeError as error:
    raise errors.UserError(
      f'{name}: byte 0x{content[error.start]:02x} at offset {error.start:,} is not '
      f'{encoding}; set data.encoding, or data.symbols=bytes'
    ) from error
  except ValueError as error:
    raise errors.UserError(
      f'{name} cannot be read as {encoding!r} ({error}); set data.encoding, or '
      'data.symbols=bytes'
    ) from error
  if '\0' in text:
    raise errors.UserError(
      f'{name}: a zero character at offset {text.index(chr(0)):,}, so this is not a '
      f'text in {encoding}; set data.encoding (such as utf-16-le), or '
      'data.symbols=bytes'
    )
  return text


def _describe_line_ends(text: np.ndarray, classes: Sequence[str]) -> list[str]:
  """A sentence if lines end as on Windows or old Macs, which is unlike most texts."""
  place = {name: i for i, name in enumerate(classes)}
  names = ('\r', '\n') if '\r' in place else ('\\x0d', '\\x0a')
  if names[0] not in place:
    return []
  returns = np.flatnonzero(text[:-1] == place[names[0]])
  if not len(returns):
    return []
  paired = int((text[returns + 1] == place.get(names[1], -1)).sum())
  if names[1] not in place or not (text == place[names[1]]).any():
    return [
      f'The text has {len(returns):,} carriage returns and no line feeds, as on old '
      'Macs. They count as symbols; mac2unix converts the file.'
    ]
  return [
    f'The text has {len(returns):,} carriage returns, {paired:,} of them before a line '
    'feed (CRLF, as on Windows). They count as symbols; convert the file (dos2unix) to '
    'leave them out.'
  ]


def _regions(
  name: str, length: int, config: Mapping[str, Any]
) -> tuple[int, tuple[int, int, int]]:
  """How many symbols are trained on; where validation and test begin; the end."""
  validation, test = (round(config[key] * length) for key in ('validation', 'test'))
  left = length - validation - test
  if left < 2 or not validation or not test:
    raise errors.UserError(
      f'{name}: {length:,} symbols are too few: {max(left, 0):,} remain when '
      f'{validation:,} go to validation and {test:,} to test'
    )
  trained = split.check_examples(
    left, config, 'the symbols that validation and test leave'
  )
  if 2 * config['window'] > trained:
    raise errors.UserError(
      f'data.window={config["window"]} is too long for the {trained:,} training '
      f'symbols of {name}; at most {trained // 2:,}, as windows shift by up to their '
      'length'
    )
  return trained, (left, left + validation, length)


def _make_split(
  trained: int, edges: tuple[int, int, int], config: Mapping[str, Any]
) -> Callable[[int], dict[str, np.ndarray]]:
  """The `Dataset.split`, the same for every seed: where windows begin.

  A training index is the position of its first input (its jitter not yet added), an
  evaluation index that of its first scored target.
  """
  window, scored = config['window'], config['eval_window']
  last = trained - 2 * window  # moved by window - 1, it ends with the training text
  starts = {
    'train': np.arange(0, last + 1, window),
    'validation': np.arange(edges[0], edges[1], scored),
    'test': np.arange(edges[1], edges[2], scored),
  }
  parts = {name: array.astype(np.int32) for name, array in starts.items()}
  return lambda seed: dict(parts)


def _make_take(
  edges: tuple[int, int, int], config: Mapping[str, Any]
) -> Callable[..., types.Batch]:
  """The `Dataset.take`: {'input', 'target', 'weight'} [B, T] of windows of the text.

  T is `window` in training, else `context + eval_window`. The weight is 0 for context,
  beyond the end of the split, and where there is no symbol before the target.
  """
  _, middle, length = edges
  places = {
    True: np.arange(config['window'] + 1),
    False: np.arange(-config['context'] - 1, config['eval_window']),
  }

  def take(arrays, indices, *, train):
    first = indices[:, None]
    positions = first + places[train].astype(np.int32)
    symbols = arrays['text'][positions.clip(0, length - 1)].astype(np.int32)
    targets = positions[:, 1:]
    end = middle + (length - middle) * (first >= middle)
    scored = (targets >= first.clip(1)) & (targets < end)
    return {
      'input': symbols[:, :-1],
      'target': symbols[:, 1:],
      'weight': scored.astype(np.float32),
    }

  return take


def transform(batch: types.Batch, keys: Any, *, train: bool) -> types.Batch:
  """The `Dataset.transform`: there is nothing to normalise."""
  del keys, train
  return batch


def encode(text: str, classes: Sequence[str]) -> np.ndarray:
  """The classes of a prompt's symbols: int32 [L].

  Raises:
    UserError: an empty prompt, or characters that are no class.
  """
  if not text:
    raise errors.UserError('the prompt is empty; give at least one character')
  if tuple(classes) == BYTES:
    content = text.encode('utf-8', 'surrogatepass')
    return np.frombuffer(content, np.uint8).astype(np.int32)
  place = {name: i for i, name in enumerate(classes)}
  unknown = sorted(set(text) - set(place))
  if unknown:
    listed = ', '.join(map(repr, unknown[:8])) + (', …' if len(unknown) > 8 else '')
    alphabet = ''.join(classes[:100]) + ('…' if len(classes) > 100 else '')
    raise errors.UserError(
      f'the prompt has {listed}, which the data lacks; it has {alphabet!r}'
    )
  return np.array([place[name] for name in text], np.int32)


def decode(ids: Any, classes: Sequence[str]) -> str:
  """The text of classes [L]; bytes that are not UTF-8 become �."""
  ids = np.asarray(ids)
  if tuple(classes) == BYTES:
    return ids.astype(np.uint8).tobytes().decode('utf-8', 'replace')
  return ''.join(classes[i] for i in ids)
