"""Terminals that cannot show every character: what is printed instead."""

import codecs
import io
import sys
import unicodedata

PLAIN = {
  **{'×': 'x', '−': '-', '–': '-', '—': '-', '…': '...', '→': '->', '↦': '->'},
  **{'≥': '>=', '≤': '<=', '≠': '!=', '≈': '~', '·': '*', '•': '*', '±': '+/-'},
  **{'‘': "'", '’': "'", '“': '"', '”': '"', '½': '1/2', 'φ': 'phi', 'α': 'alpha'},
  **{'Δ': 'Delta', 'σ': 'sigma', '═': '=', '━': '-', '─': '-', '│': '|'},
}


def make_printable() -> None:
  """Standard output and error print something near to what they cannot encode.

  Streams that encode everything, or that are not of the system, stay as they are.
  """
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper) and 'utf' not in stream.encoding.lower():
      stream.reconfigure(errors='dlsteroids')


def _replace(error: UnicodeError) -> tuple[str, int]:
  """The codec error handler: characters without accents, blanks, or a '?'."""
  if not isinstance(error, UnicodeEncodeError):
    raise error
  return ''.join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
  if character in PLAIN:
    return PLAIN[character]
  if character.isspace():
    return ' '
  text = unicodedata.normalize('NFKD', character)
  return text.encode('ascii', 'ignore').decode() or '?'


codecs.register_error('dlsteroids', _replace)
