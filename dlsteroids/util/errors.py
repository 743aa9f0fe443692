"""Mistakes of a user, each one clear line, and the nearest right name."""

import difflib
from collections.abc import Iterable

QUOTED = 800  # characters of either end of an error that is too long


class UserError(ValueError):
  """A mistake the user can mend: its message is one clear line."""

  def __init__(self, message: str):
    # Messages quote what other libraries say, at times over several lines, and what
    # was given, at times by the kilobyte.
    line = ' '.join(filter(None, map(str.strip, message.splitlines())))
    long = len(line) > 2 * QUOTED
    super().__init__(f'{line[:QUOTED]} … {line[-QUOTED:]}' if long else line)


def did_you_mean(name: str, names: Iterable[str]) -> str:
  """' (did you mean X?)' or nothing."""
  close = difflib.get_close_matches(name, list(names), 1)
  return f' (did you mean {close[0]!r}?)' if close else ''
