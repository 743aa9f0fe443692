"""Mistakes of a user, each one clear line, and the nearest right name."""

import difflib
from collections.abc import Iterable

QUOTED = 800  # characters of either end of an error that is too long


class UserError(ValueError):
  """A mistake that the user can fix: its message is one clear line.

  Example:
    >>> str(UserError('two lines\\nof text'))
    'two lines of text'
  """

  def __init__(self, message: str):
    # Messages quote other libraries, at times over several lines, and values of the
    # user, at times of kilobytes.
    line = ' '.join(filter(None, map(str.strip, message.splitlines())))
    long = len(line) > 2 * QUOTED
    super().__init__(f'{line[:QUOTED]} … {line[-QUOTED:]}' if long else line)


def did_you_mean(name: str, names: Iterable[str]) -> str:
  """' (did you mean X?)', or '' if no name is near."""
  close = difflib.get_close_matches(name, list(names), 1)
  return f' (did you mean {close[0]!r}?)' if close else ''


def first_line(error: BaseException) -> str:
  """The first line of an error's message that is not empty; '' if there is none."""
  message: object = error
  while isinstance(message, KeyError | AttributeError) and len(message.args) == 1:
    message = message.args[0]  # str(KeyError(text)) is the repr of the text
  return next(filter(None, map(str.strip, str(message).splitlines())), '')


def describe(error: BaseException) -> str:
  """'TypeError: ' and the first line of its message."""
  return ': '.join(filter(None, (type(error).__name__, first_line(error))))
