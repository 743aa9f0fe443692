"""Texts that trained models generated, escaped where they would disturb a page."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from dlsteroids.analysis import probes, summary
from dlsteroids.report import blocks

_PICTURES = 0x2400  # Unicode's pictures of control characters, in their order
_DELETE = 0x7F
_UNKNOWN = '\ufffd'
_MARKS = {' ': '·', '\n': '↵', '\t': '⇥'}
# Unicode categories that draw nothing or move their neighbours, and the separators of
# lines and paragraphs, at which some readers break.
_INVISIBLE = ('Cc', 'Cf', 'Cn', 'Co', 'Cs', 'Zl', 'Zp')


def gather(source: summary.Source, limit: int) -> list[blocks.Text]:
  """Every arm's sample, the intact arm's first, cut to about `limit` characters."""
  classes = [str(name) for name in source.study.data.classes]
  if not classes:
    return []
  prompts = probes.by_arm(source, 'probe/text/prompt')
  texts = []
  for arm, ids in probes.by_arm(source, 'probe/text/sample').items():
    prompt = decode(prompts.get(arm, np.zeros(0, int)), classes)
    text = decode(ids, classes)
    if len(prompt) > limit // 3:
      prompt = f'…{prompt[1 - limit // 3 :]}'
    room = max(1, limit - len(prompt))
    text = text if len(text) <= room else f'{text[: room - 1]}…'
    texts.append(blocks.Text(arm, prompt, text))
  return texts


def decode(ids: np.ndarray, classes: Sequence[str]) -> str:
  """Symbols as text: letters side by side, words with a space between.

  Line breaks and tabs stay; other characters that can't be seen are shown as pictures
  or by their number, so that a text can't disturb the page it stands on.
  """
  symbols = [
    classes[i] if 0 <= i < len(classes) else _UNKNOWN for i in np.ravel(ids).tolist()
  ]
  join = ' ' if are_words(classes) else ''
  return ''.join(
    letter if letter in '\n\t' else _visible(letter) for letter in join.join(symbols)
  )


def are_words(classes: Sequence[str]) -> bool:
  """Whether most symbols are longer than a letter."""
  return 2 * sum(len(name) > 1 for name in classes) > len(classes)


def glyph(symbol: str) -> str:
  """A symbol under a picture, never blank: '·' a space, '↵' a line break."""
  return ''.join(_MARKS.get(letter, _visible(letter)) for letter in symbol)


def _visible(letter: str) -> str:
  """A character, or the picture or the number of one that cannot be seen."""
  code = ord(letter)
  if code < 0x20:
    return chr(_PICTURES + code)
  if code == _DELETE:
    return '\u2421'
  return f'\\u{code:04x}' if unicodedata.category(letter) in _INVISIBLE else letter
