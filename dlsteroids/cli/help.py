"""What `--help`, `--help=config`, `--list` and `--version` print."""

import ast
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dlsteroids import config as config_lib
from dlsteroids.cli import flags
from dlsteroids.config import files

ABOUT = (
  'dlsteroids trains every arm of an ablation study over many seeds, counts the '
  'compute and says which components matter, by how much and with what certainty.'
)
USAGE = """\
usage: dlsteroids [ACTION] CONFIG [--FLAG=VALUE …] [--config.SECTION.OPTION=VALUE …]
       dlsteroids judge TABLE [--FLAG=VALUE …]
       dlsteroids --help | --help=config [CONFIG] | --list | --version

CONFIG is a config file of yours (my_study.py, my_study.py:MODE) or the name of a
shipped study (--list)."""
EXAMPLES = (
  ('dlsteroids plan digits_cnn', 'what it takes'),
  ('dlsteroids digits_cnn', 'train, then report'),
  ('dlsteroids my_study.py --config.study.seeds=12', 'yours, with more seeds'),
  ('dlsteroids status --workdir=studies/digits_cnn', 'from another terminal'),
  ('dlsteroids judge runs.csv --metric=test_loss', 'runs trained with any tool'),
)
WIDE = 100  # columns that text fills at most
TIME = re.compile(
  r'(?:[Tt]akes|about)\s(?:about\s)?(half\san\shour|\S+\s(?:minutes?|hours?))'
)


def text() -> str:
  """The page of `--help`."""
  parts = [_fill(ABOUT), '', USAGE, _heading('Actions'), *_table(flags.ACTIONS.items())]
  for group in dict.fromkeys(flag.group for flag in flags.FLAGS):
    rows = [_row(flag) for flag in flags.FLAGS if flag.group == group]
    parts += [_heading(group), *_table(rows)]
  parts += [
    _heading('Options of a study'),
    _fill(
      '--config.SECTION.OPTION=VALUE sets an option, such as --config.train.steps=500; '
      '--help=config lists all of them, with CONFIG those of that study.',
      2,
    ),
    _heading('Information'),
    *_table(
      (
        ('-h, --help', 'this page'),
        ('--help=config', 'every option with its value, range and meaning'),
        ('--list', 'the shipped studies'),
        ('--version', 'the version'),
      )
    ),
    _heading('Examples'),
    *_table(EXAMPLES),
  ]
  return '\n'.join(parts)


def options(tree: Mapping[str, Any]) -> str:
  """The page of `--help=config`: every option of a resolved config."""
  parts, section = [_fill('Set an option by --config.SECTION.OPTION=VALUE.')], ''
  for row in config_lib.rows(tree):
    head, _, name = row.path.partition('.')
    if head != section:
      section = head
      plugin = f': {tree[head]["name"]}' if head in config_lib.PLUGINS else ''
      parts.append(_heading(f'config.{head}{plugin}'))
    default = row.option.default
    notes = [f'default {_short(default)}'] if row.value != default else []
    notes += [row.allowed] if row.allowed else []
    about = '; '.join(filter(None, (row.option.doc, *notes)))
    parts += _table([(f'{name} = {_short(row.value)}', about)], 34)
  return '\n'.join(parts)


def studies() -> str:
  """The page of `--list`: each shipped study, its question and how long it takes."""
  rows = []
  for name, path in files.shipped().items():
    about = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    question, _, rest = about.partition('\n')
    time = TIME.search(' '.join(rest.split()))
    rows.append((name, question + (f' ({time.group(1)})' if time else '')))
  return '\n'.join(
    [*_table(rows), '', 'dlsteroids NAME trains one; times are for 2 CPU cores.']
  )


def _row(flag: flags.Flag) -> tuple[str, str]:
  about = flag.doc + (f': {", ".join(flag.choices)}' if flag.choices else '')
  about += f' (default: {flag.default})' if flag.default else ''
  about += f' [{", ".join(flag.actions)}]' if flag.actions else ''
  return f'--{flag.name}', about


def _short(value: Any) -> str:
  return repr(value) if isinstance(value, str) else str(value)


def _heading(title: str) -> str:
  return f'\n{title}'


def _table(rows: Iterable[tuple[str, str]], width: int = 0) -> Iterator[str]:
  rows = list(rows)
  width = width or max(len(name) for name, _ in rows)
  for name, about in rows:
    gap = ' ' * (width + 4)
    start = f'  {name:<{width}}  '
    yield _fill(about, start=start, rest=gap) if about else start.rstrip()


def _fill(words: str, indent: int = 0, start: str = '', rest: str = '') -> str:
  columns = min(WIDE, shutil.get_terminal_size((80, 24)).columns)
  return textwrap.fill(
    words,
    max(40, columns),
    initial_indent=start or ' ' * indent,
    subsequent_indent=rest or ' ' * indent,
    break_long_words=False,
    break_on_hyphens=False,
  )
