"""Texts that trained models generated, escaped where they would disturb a page."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from dlsteroids.analysis import probes, summary
from dlsteroids.report import blocks, formats

_MARKS = {' ': '·', '\n': '↵', '\t': '⇥'}
# Unicode categories that draw nothing, move their neighbours, or break lines.
_INVISIBLE = ('Cc', 'Cf', 'Cn', 'Co', 'Cs', 'Zl', 'Zp')


def gather(source: summary.Source, limit: int) -> list[blocks.Text]:
  """Every arm's sample, the intact arm's first, cut to about `limit` characters."""
  classes = [str(name) for name in source.study.data.classes]
  prompts, texts = probes.by_arm(source, 'probe/text/prompt'), []
  samples = probes.by_arm(source, 'probe/text/sample') if classes else {}
  for arm, ids in samples.items():
    prompt = decode(prompts.get(arm, np.zeros(0, int)), classes)
    if len(prompt) > limit // 3:
      prompt = f'…{prompt[1 - limit // 3 :]}'
    text = formats.clip(decode(ids, classes), max(1, limit - len(prompt)))
    texts.append(blocks.Text(arm, prompt, text))
  return texts


def decode(ids: np.ndarray, classes: Sequence[str]) -> str:
  """Symbols as text: letters side by side, words with a space between.

  Line breaks and tabs stay; other characters that can't be seen are shown as pictures
  or by their number, so that a text can't disturb the page it stands on.
  """
  symbols = [
    classes[i] if 0 <= i < len(classes) else '\ufffd' for i in np.ravel(ids).tolist()
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
  if code < 0x20 or code == 0x7F:  # Unicode's pictures of control characters
    return chr(0x2400 + code) if code < 0x20 else '\u2421'
  return f'\\u{code:04x}' if unicodedata.category(letter) in _INVISIBLE else letter
