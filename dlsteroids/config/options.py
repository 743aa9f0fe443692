"""Options: one table of everything that can be configured.

The sections that belong to no plug-in are listed in `SECTIONS` and, where they change
no run's result, in `launch_options.SECTIONS`. A plug-in (a model, a
data set or a task) declares its own options in the same form:

    OPTIONS = {
      'hidden': Option((64,), 'units of each hidden layer', low=1, width=True),
      'dropout': Option(0.0, 'share of units dropped', low=0, high=1, traced=True),
      'norm': Option('none', 'normalisation', choices=('none', 'batch', 'layer')),
      'bias': True,  # a plain value is an option without documentation or range
    }

A user's module may declare plain values instead, `DEFAULTS = {'hidden': (64,)}`, with
the names of traced numbers in `TRACED` (or their ranges, `{'dropout': (0.0, 1.0)}`) and
those of widths in `WIDTHS`.

Defaults, types, ranges, choices, `--help=config`, traced numbers and suggestions for
mistyped names are all read from these tables.
"""

import math
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from dlsteroids.util import errors

INF = math.inf


class Option(NamedTuple):
  """One option of a config.

  Attributes:
    default: its value unless set; its type is the option's type.
    doc: one line, without a full stop.
    low, high: range of a number, or of every number of a tuple; an infinite end is
      itself allowed.
    choices: the values it may have; () if they are not enumerable.
    traced: whether the number enters compiled programs as an argument, so that
      changing it compiles nothing.
    width: whether it is a width of the model, scaled by study.sizes and the regime
      params.
    closed: which ends belong to the range: 'left', 'right', 'both' or 'neither'.
    dotted: whether a dotted name (`mylab.blocks.gelu`) is a value besides `choices`.

  Example:
    >>> Option(0.1, 'share of units dropped', low=0, high=1, traced=True).default
    0.1
  """

  default: Any
  doc: str = ''
  low: float = -INF
  high: float = INF
  choices: tuple[Any, ...] = ()
  traced: bool = False
  width: bool = False
  closed: str = 'left'
  dotted: bool = False


# What a run's result depends on besides its plug-ins; for the others see
# `launch_options`.
SECTIONS: dict[str, dict[str, Option]] = {
  'optimizer': {
    'name': Option(
      'sgd',
      'update rule; muon: of hidden layers, adam for the others',
      choices=('sgd', 'adam', 'adamw', 'rmsprop', 'lion', 'muon'),
    ),
    'learning_rate': Option(0.1, 'peak, after warm-up', 0, traced=True),
    'momentum': Option(0.9, "of sgd; muon's authors: 0.95", 0, 1, traced=True),
    'nesterov': Option(False, "Nesterov's momentum, of sgd; muon always has it"),
    'beta1': Option(0.9, 'first moment, of all adam, and of lion', 0, 1, traced=True),
    'beta2': Option(
      0.999,
      'second moment, of all adam; of rmsprop, often 0.9 or 0.99; of lion, 0.99',
      0,
      1,
      traced=True,
    ),
    'epsilon': Option(1e-8, 'of all adam, and of rmsprop', 0, traced=True),
    'weight_decay': Option(
      0.0,
      'on weights, not on biases and norms; adamw, lion and muon decouple it',
      0,
      traced=True,
    ),
    'clip': Option(INF, 'largest global gradient norm', 0, traced=True),
    'schedule': Option(
      'cosine',
      'of the learning rate',
      choices=('constant', 'cosine', 'linear', 'hold', 'step'),
    ),
    'warmup': Option(0.0, 'share of the steps', 0, 1, traced=True),
    'final': Option(0.0, 'learning rate at the end / peak', 0, traced=True),
  },
  'train': {
    'steps': Option(1000, 'optimizer steps', 1, traced=True),
    'batch_size': Option(64, 'examples per step', 1),
    'evaluations': Option(
      10, 'on validation and test, evenly spaced, the last at the end', 1
    ),
    'eval_batch': Option(500, 'examples per evaluation batch', 1),
    'matmul': Option(
      'default',
      'precision of matrix products: jax_default_matmul_precision',
      choices=('default', 'high', 'highest'),
    ),
  },
}


def of(module: ModuleType) -> dict[str, Option]:
  """The options that a plug-in module declares, by name.

  Raises:
    UserError: if it declares none, or if TRACED or WIDTHS name no number among them.
  """
  plain = getattr(module, 'OPTIONS', getattr(module, 'DEFAULTS', None))
  if not isinstance(plain, Mapping):
    raise errors.UserError(
      f'module {module.__name__!r} declares no options: it needs a dict OPTIONS or '
      'DEFAULTS'
    )
  table = {
    name: value if isinstance(value, Option) else Option(value)
    for name, value in plain.items()
  }
  traced = getattr(module, 'TRACED', ())
  for source, names in (('TRACED', traced), ('WIDTHS', getattr(module, 'WIDTHS', ()))):
    for name in names:
      if name not in table or not _numeric(table[name].default, source == 'WIDTHS'):
        raise errors.UserError(
          f'{module.__name__}.{source} names {name!r}, which is not a number among its '
          f'options{errors.did_you_mean(name, table)}'
        )
      if source == 'WIDTHS':
        table[name] = table[name]._replace(width=True)
      else:
        low, high = traced[name] if isinstance(traced, Mapping) else (-INF, INF)
        table[name] = table[name]._replace(traced=True, low=low, high=high)
  return table


def _numeric(value: Any, sequences: bool = False) -> bool:
  if sequences and isinstance(value, tuple | list):
    return all(_numeric(item, True) for item in value)
  return isinstance(value, int | float) and not isinstance(value, bool)


def defaults(table: ModuleType | Mapping[str, Any]) -> dict[str, Any]:
  """The default of every option by name, of a plug-in module or of a table."""
  if isinstance(table, ModuleType):
    table = of(table)
  return {
    name: option.default if isinstance(option, Option) else option
    for name, option in table.items()
  }


def traced(module: ModuleType) -> list[str]:
  """The names of a plug-in's traced numbers."""
  return [name for name, option in of(module).items() if option.traced]


def complete(
  config: Mapping[str, Any], table: ModuleType | Mapping[str, Any], section: str
) -> dict[str, Any]:
  """A plug-in's section of a config with the defaults of what it lacks.

  Raises:
    UserError: for an option that the table lacks, or a value outside an option's range
      or choices.
  """
  values = {**defaults(table), **config}
  options = of(table) if isinstance(table, ModuleType) else table
  for name, value in values.items():
    if name == 'name':
      continue
    if name not in options:
      raise errors.UserError(
        f'unknown option config.{section}.{name}{errors.did_you_mean(name, options)}; '
        f'there are {", ".join(options)}'
      )
    check(f'{section}.{name}', options[name], value)
  return values


def check(path: str, option: Option | Any, value: Any) -> None:
  """Raises UserError for a value outside an option's range or choices."""
  if not isinstance(option, Option):
    return
  if option.choices and not (option.dotted and '.' in str(value)):
    choose(path, value, option.choices)
  for number in _numbers(value):
    if not inside(option, number):
      raise errors.UserError(f'config.{path} must {_demand(option)}, not {value}')


def choose(path: str, value: Any, names: Iterable[Any]) -> Any:
  """`value` if it is among `names`; else a UserError that lists them."""
  names = tuple(names)
  if value not in names:
    guess = errors.did_you_mean(str(value), map(str, names))
    words = ', '.join(str(name) or "''" for name in names)
    raise errors.UserError(f'config.{path}: unknown {value!r}{guess}; use {words}')
  return value


def _numbers(value: Any) -> Iterable[float]:
  if isinstance(value, tuple | list):
    for item in value:
      yield from _numbers(item)
  elif _numeric(value):
    yield value


def inside(option: Option, number: float) -> bool:
  """Whether a number lies in the range of an option."""
  low, high = option.low, option.high
  left = option.closed in ('left', 'both') or low == -INF
  right = option.closed in ('right', 'both') or high == INF
  above = number >= low if left else number > low
  below = number <= high if right else number < high
  return above and below


def _demand(option: Option) -> str:
  """'be at least 1', 'be above 0', 'lie in [0, 1)'."""
  left = option.closed in ('left', 'both')
  if option.high == INF:
    return f'be {"at least" if left else "above"} {option.low:.10g}'
  return f'lie in {interval(option)}'


def interval(option: Option) -> str:
  """The range of an option, '[0, 1)'; '' if it has none."""
  if (option.low, option.high) == (-INF, INF):
    return ''
  left, right = option.closed in ('left', 'both'), option.closed in ('right', 'both')
  start = '[' if left and option.low > -INF else '('
  end = ']' if right and option.high < INF else ')'
  return f'{start}{option.low:.10g}, {option.high:.10g}{end}'


class Row(NamedTuple):
  """One option of a config, as `--help=config` lists it.

  Attributes:
    path: dotted, 'train.steps'.
    value: what the config sets.
    option: its declaration.
    allowed: range or choices in words; '' if there are none.
  """

  path: str
  value: Any
  option: Option
  allowed: str


def row(path: str, value: Any, option: Option) -> Row:
  """An option as `--help=config` lists it."""
  words = [str(choice) or "''" for choice in option.choices]
  if option.dotted:
    words.append('or a dotted name of your own')
  return Row(path, value, option, ', '.join(words) or interval(option))
