"""A figure and its two files: a PNG, and an SVG whose colours follow the page's scheme.

Figures are laid out in inches by hand, since automatic layout is slow and changes with
versions. Colours are roles: hex values in the PNG, CSS variables in the SVG.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from fontTools import subset
from matplotlib import axes, figure, transforms

from dlsteroids.report import blocks

WIDTH = 8.2  # inches; every figure is as wide as the page's column
DPI = 144  # of the PNG
MARGIN = (0.15, 0.1)  # inches around the PNG: left and right, above and below

INK = '#1c2128'
SOFT = '#57606a'
GREY = '#848d97'
LINE = '#c8cfd7'
GRID = '#e6eaee'
PAPER = '#ffffff'
BLUE = '#0b62a8'
ORANGE = '#b3440a'
VIOLET = '#6b4fa1'
_METADATA = {
  'png': ('Software',),
  'svg': ('Creator', 'Date', 'Format', 'Type'),
  'pdf': ('Creator', 'Producer', 'CreationDate'),
}
SUFFIXES = tuple(_METADATA)  # of a figure's files
# Of the fonts in a PDF: they serve typesetting, which is done, and are slow to read.
_UNUSED_TABLES = ('GDEF', 'GPOS', 'GSUB', 'MATH', 'kern')
ROLES = {
  INK: 'ink',  # main text
  SOFT: 'soft',  # secondary text
  GREY: 'grey',  # marks without a verdict, the intact arm
  LINE: 'line',  # axes
  GRID: 'grid',
  PAPER: 'paper',  # background
  BLUE: 'blue',  # helps; the arm
  ORANGE: 'orange',  # hurts; diverged
  VIOLET: 'violet',  # equivalent; compute
}
VERDICTS = {'helps': BLUE, 'hurts': ORANGE, 'equivalent': VIOLET}

_STYLE: dict[Any, Any] = {
  'font.family': 'DejaVu Sans',  # ships with matplotlib: the PNG is the same anywhere
  'font.size': 8.5,
  'text.color': INK,
  'axes.axisbelow': True,
  'axes.edgecolor': LINE,
  'axes.facecolor': 'none',
  'axes.grid': True,
  'axes.grid.axis': 'y',
  'axes.labelcolor': SOFT,
  'axes.linewidth': 0.8,
  'axes.spines.left': False,
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.unicode_minus': True,
  'grid.color': GRID,
  'grid.linewidth': 0.8,
  'lines.solid_capstyle': 'round',
  'text.parse_math': False,  # a '$' in an arm's name is a '$'
  'svg.fonttype': 'none',  # text stays text: searchable, in the reader's font
  'svg.hashsalt': 'dlsteroids',
  'pdf.fonttype': 42,  # fonts that journals accept
} | {
  f'{axis}tick.{name}': value
  for axis in 'xy'
  for name, value in {
    'color': LINE,
    'labelcolor': SOFT,
    'labelsize': 7.5,
    'major.size': 0,
    'minor.size': 0,
  }.items()
}


@contextlib.contextmanager
def style() -> Iterator[None]:
  """Sets the figures' style; everything drawn and saved belongs inside."""
  with matplotlib.rc_context(), _small_fonts():
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(_STYLE)
    yield


@contextlib.contextmanager
def _small_fonts() -> Iterator[None]:
  """Leaves `_UNUSED_TABLES` out of embedded fonts: matplotlib has no option for it."""
  tables: list[str] = getattr(subset.Options, '_drop_tables_default', [])
  before = list(tables)
  tables.extend(_UNUSED_TABLES)
  try:
    yield
  finally:
    tables[:] = before


def make_figure(height: float, width: float = WIDTH) -> figure.Figure:
  """An empty figure `width` by `height` inches."""
  return figure.Figure(figsize=(width, height), facecolor=PAPER)


def add_axes(
  fig: figure.Figure, left: float, top: float, width: float, height: float
) -> axes.Axes:
  """Axes placed in inches from the figure's upper left corner."""
  wide, high = fig.get_size_inches()
  return fig.add_axes(
    (left / wide, 1 - (top + height) / high, width / wide, height / high)
  )


def write(
  fig: figure.Figure,
  left: float,
  top: float,
  words: str,
  *,
  bold: bool = False,
  **options: Any,
) -> None:
  """Text in inches from the figure's upper left corner, vertically centred there."""
  wide, high = fig.get_size_inches()
  defaults: dict[str, Any] = {'va': 'center', 'color': SOFT, 'fontsize': 7.5}
  if bold:
    defaults |= {'color': INK, 'fontsize': 8, 'weight': 'bold'}
  fig.text(left / wide, 1 - top / high, words, **(defaults | options))


def show_image(
  fig: figure.Figure,
  image: np.ndarray,
  left: float,
  top: float,
  width: float,
  height: float,
) -> None:
  """An image without axes, placed in inches from the figure's upper left corner."""
  ax = add_axes(fig, left, top, width, height)
  ax.imshow(image, interpolation='none', aspect='auto')
  ax.set_axis_off()


def finish(
  fig: figure.Figure,
  name: str,
  title: str,
  caption: str,
  alt: str,
  narrow: figure.Figure | None = None,
) -> blocks.Drawing:
  """The files and SVG elements of `fig`; equal figures give equal bytes.

  Args:
    fig: `WIDTH` wide.
    name, title, caption, alt: as in `blocks.Drawing`.
    narrow: the same for screens of a telephone's width.
  """
  wide, high = fig.get_size_inches()
  x, y = MARGIN
  frame = transforms.Bbox.from_extents(-x, -y, wide + x, high + y)
  files = {'png': _save(fig, 'png', dpi=DPI, bbox_inches=frame)}
  files['pdf'] = _save(fig, 'pdf', bbox_inches=frame)
  fig.patch.set_visible(False)  # in the SVG the page's background shows
  files['svg'] = _save(fig, 'svg')
  svg = themed(files['svg'].decode(), name)
  other = ''
  if narrow is not None:
    narrow.patch.set_visible(False)
    other = themed(_save(narrow, 'svg').decode(), f'{name}-narrow')
  return blocks.Drawing(name, title, caption, alt, svg, other, files)


def _save(fig: figure.Figure, suffix: str, **options: Any) -> bytes:
  """A file's bytes, without metadata: they hold no version and no date."""
  file = io.BytesIO()
  metadata = dict.fromkeys(_METADATA[suffix])
  with warnings.catch_warnings():
    # Letters the font lacks are boxes in PNG and PDF; the page has the reader's fonts.
    warnings.filterwarnings('ignore', message='Glyph .* missing from')
    fig.savefig(file, format=suffix, metadata=metadata, **options)
  return file.getvalue()


def themed(svg: str, name: str) -> str:
  """An SVG file as an element to embed, hex colours turned into CSS variables.

  Args:
    svg: matplotlib's output.
    name: put before every id, since many figures share one page.
  """
  svg = svg[svg.index('<svg') :].strip()
  svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.S)
  svg = re.sub(r'<style.*?</style>', '', svg, flags=re.S)
  svg = re.sub(r'\s*xmlns(:xlink)?="[^"]*"', '', svg)
  svg = re.sub(r'<svg width="[^"]*" height="[^"]*"', '<svg', svg, count=1)
  svg = svg.replace('xlink:href', 'href')
  svg = re.sub(r'<g id="[^"]*"', '<g', svg)
  svg = re.sub(r'(<image[^>]*?) id="[^"]*"', r'\1', svg)  # equal images, equal ids
  svg = re.sub(r' id="', f' id="{name}-', svg)
  svg = svg.replace('href="#', f'href="#{name}-').replace('url(#', f'url(#{name}-')
  svg = re.sub(r'font-family: [^;"]+', 'font-family: var(--sans)', svg)
  svg = re.sub(r"(font: [^;\"']*?px) [^;\"]+", r'\1 var(--sans)', svg)
  for colour, role in ROLES.items():
    svg = svg.replace(colour, f'var(--{role})')
  svg = re.sub(r'>\s+<', '>\n<', svg)
  return svg.replace('<svg', '<svg aria-hidden="true"', 1)
