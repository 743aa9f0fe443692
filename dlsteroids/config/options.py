"""Options: the one table of what can be configured, which everything else reads.

A plug-in declares its options in the same form as the shipped sections:

    OPTIONS = {
      'hidden': options.Option((64,), 'units of the hidden layers', width=True),
      'dropout': options.Option(0.0, 'share of units dropped', 0.0, 1.0, traced=True),
    }

A user's module may as well say `DEFAULTS = {'hidden': (64,)}`, with `TRACED` and
`WIDTHS` beside it.
"""

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple


class Option(NamedTuple):
  """One option of a config.

  Attributes:
    default: its value unless set; its type is the option's.
    doc: one line, without a full stop.
    low, high: range of a number, low <= number < high (an infinite high is itself
      allowed).
    choices: all the values it may have; () if they are not enumerable.
    traced: whether the number enters compiled programs as an argument, so that
      changing it compiles nothing.
    width: whether it is a width of the model, which equal parameters and sizes scale.
  """

  default: Any
  doc: str = ''
  low: float = -math.inf
  high: float = math.inf
  choices: tuple[Any, ...] = ()
  traced: bool = False
  width: bool = False


def declared(module: ModuleType) -> bool:
  """Whether a module declares options, so that it can be a plug-in."""
  return any(
    isinstance(getattr(module, name, None), Mapping) for name in ('OPTIONS', 'DEFAULTS')
  )


def defaults(module: ModuleType) -> dict[str, Any]:
  """The default of every option of a plug-in module, by name."""
  return {name: option.default for name, option in of(module).items()}


def of(module: ModuleType) -> dict[str, Option]:
  """The options that a plug-in module declares, by name.

  Raises:
    AttributeError: if it declares neither `OPTIONS` nor `DEFAULTS`.
  """
  table = getattr(module, 'OPTIONS', None)
  if isinstance(table, Mapping):
    return dict(table)
  traced = getattr(module, 'TRACED', ())
  ranges = traced if isinstance(traced, Mapping) else dict.fromkeys(traced, ())
  widths = getattr(module, 'WIDTHS', ())
  table = {}
  for name, default in module.DEFAULTS.items():
    low, high = ranges.get(name) or (-math.inf, math.inf)
    table[name] = Option(
      default, '', low, high, traced=name in ranges, width=name in widths
    )
  return table
