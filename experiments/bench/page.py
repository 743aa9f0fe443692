"""The table of a benchmark run, as text, Markdown and JSON."""

import json
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids.util import files

HEAD = (
  'measured',
  'median (min – max)',
  'ratio (min – max)',
  'against',
  'goal',
  'note',
)


class Row(NamedTuple):
  """One line of the table.

  Attributes:
    part: the heading it stands under.
    what: was measured.
    samples: every repetition's value; none if it could not be measured (`note` says
      why).
    unit: of the samples.
    ratios: one per repetition, of values measured in the same round; none if nothing is
      compared.
    against: what the ratio's other side is.
    goal: for the median, of the ratios if there are any; nan if there is none.
    below: whether the goal is an upper bound.
    note: whatever else is worth knowing.
  """

  part: str
  what: str
  samples: Sequence[float] = ()
  unit: str = ''
  ratios: Sequence[float] = ()
  against: str = ''
  goal: float = math.nan
  below: bool = False
  note: str = ''


def number(value: float) -> str:
  """Three significant digits, without an exponent."""
  if not math.isfinite(value) or value == 0:
    return f'{value:g}'
  return f'{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}'


def spread(values: Sequence[float], unit: str = '') -> str:
  """'median (min – max) unit', or '' without values."""
  if not values:
    return ''
  text = number(statistics.median(values))
  if len(values) > 1:
    text += f' ({number(min(values))} – {number(max(values))})'
  return f'{text} {unit}'.strip()


def is_met(row: Row) -> bool | None:
  """Whether the median reaches the row's goal; None if it has none."""
  values = row.ratios or row.samples
  if math.isnan(row.goal) or not values:
    return None
  median = statistics.median(values)
  return median <= row.goal if row.below else median >= row.goal


def cells(row: Row) -> tuple[str, ...]:
  """A row's text, in the order of `HEAD`."""
  met = is_met(row)
  goal = ''
  if not math.isnan(row.goal):
    verdict = {True: ', met', False: ', missed', None: ''}[met]
    goal = f'{"≤" if row.below else "≥"} {row.goal:g}{verdict}'
  return (
    row.what,
    spread(row.samples, row.unit) or 'not measured',
    spread(row.ratios),
    row.against,
    goal,
    row.note,
  )


def text(rows: Sequence[Row]) -> str:
  """The table for a terminal."""
  lines = [HEAD, *map(cells, rows)]
  widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
  found, part = [], ''
  for row, line in zip([None, *rows], lines):
    if row and row.part != part:
      part = row.part
      found += ['', part]
    found.append('  '.join(c.ljust(w) for c, w in zip(line, widths)).rstrip())
  return '\n'.join(found)


def markdown(rows: Sequence[Row], about: Mapping[str, str]) -> str:
  """The results page: how it was measured, then the table under a heading per part."""
  lines = ['# Benchmark', '']
  lines += [f'- {name}: {value}' for name, value in about.items()]
  part = None
  for row in rows:
    if row.part != part:
      part = row.part
      lines += ['', f'## {part}', '', line_of(HEAD), line_of(['---'] * len(HEAD))]
    lines.append(line_of(cells(row)))
  return '\n'.join(lines) + '\n'


def line_of(words: Sequence[str]) -> str:
  return '| ' + ' | '.join(word.replace('|', '\\|') for word in words) + ' |'


def by_part(rows: Sequence[Row]) -> list[Row]:
  """Rows of one part together, parts in the order of their first rows."""
  places = {part: at for at, part in enumerate(dict.fromkeys(r.part for r in rows))}
  return sorted(rows, key=lambda row: places[row.part])


def write(
  folder: pathlib.Path,
  rows: Sequence[Row],
  about: Mapping[str, Any],
  name: str = 'bench',
) -> None:
  """Writes <name>.md and <name>.json, every sample included, into `folder`.

  What a person adds, as what limits a rate, lies in <name>.notes.md beside them and
  follows the table.
  """
  folder.mkdir(parents=True, exist_ok=True)
  notes = folder / f'{name}.notes.md'
  more = f'\n{notes.read_text()}' if notes.is_file() else ''
  files.write(folder / f'{name}.md', markdown(rows, about) + more)
  tree = {
    'about': dict(about),
    'rows': [
      # JSON has no nan
      {**row._asdict(), 'goal': None if math.isnan(row.goal) else row.goal}
      for row in rows
    ],
  }
  files.write(folder / f'{name}.json', json.dumps(tree, indent=1) + '\n')
