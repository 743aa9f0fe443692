"""Tiny Shakespeare: 1,115,394 characters of his plays, 65 distinct (Karpathy 2015).

From the char-rnn of "The Unreasonable Effectiveness of Recurrent Neural Networks".
"""

from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import source, text

OPTIONS = {**source.OPTIONS, **text.OPTIONS}
PUBLISHED = source.Item(
  'input.txt',
  'https://raw.githubusercontent.com/karpathy/char-rnn/'
  '6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt',
  'sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed',
)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Tiny Shakespeare, or an own `input.txt` in its place, then called -unverified.

  Raises:
    UserError: not found, not readable, or an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  path = source.locate_file('tinyshakespeare', config, PUBLISHED)
  name = source.verified_name('tinyshakespeare', path, PUBLISHED)
  return text.make(name, source.read_bytes(path, text.LIMIT), config)
