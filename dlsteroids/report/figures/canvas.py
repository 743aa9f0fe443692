"""One drawing, two pictures: a PNG, and an SVG whose colours follow the page's scheme.

A figure is laid out once, by hand in inches (automatic layout is slow and moves with
versions). Its colours are roles: hex values in the PNG, CSS variables in the SVG.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import matplotlib
from matplotlib import axes, figure, transforms

WIDTH = 8.2  # inches; every drawing is as wide as the page's column
DPI = 144  # of the PNG
MARGIN = (0.15, 0.1)  # inches around it, across and upright

INK = '#1c2128'
SOFT = '#57606a'
GREY = '#848d97'
LINE = '#c8cfd7'
GRID = '#e6eaee'
PAPER = '#ffffff'
BLUE = '#0b62a8'
ORANGE = '#b3440a'
VIOLET = '#6b4fa1'
ROLES = {
  INK: 'ink',
  SOFT: 'soft',
  GREY: 'grey',
  LINE: 'line',
  GRID: 'grid',
  PAPER: 'paper',
  BLUE: 'blue',
  ORANGE: 'orange',
  VIOLET: 'violet',
}
VERDICTS = {'helps': BLUE, 'hurts': ORANGE, 'equivalent': VIOLET}

_STYLE: dict[Any, Any] = {
  'font.family': 'DejaVu Sans',  # ships with matplotlib: the PNG is the same anywhere
  'font.size': 8.5,
  'text.color': INK,
  'axes.edgecolor': LINE,
  'axes.facecolor': 'none',
  'axes.labelcolor': SOFT,
  'axes.linewidth': 0.8,
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.unicode_minus': True,
  'xtick.color': LINE,
  'ytick.color': LINE,
  'xtick.labelcolor': SOFT,
  'ytick.labelcolor': SOFT,
  'xtick.labelsize': 7.5,
  'ytick.labelsize': 7.5,
  'grid.color': GRID,
  'grid.linewidth': 0.8,
  'lines.solid_capstyle': 'round',
  'text.parse_math': False,  # a '$' in an arm's name is a '$'
  'svg.fonttype': 'none',  # text stays text: searchable, in the reader's font
  'svg.hashsalt': 'dlsteroids',
}


class Drawing(NamedTuple):
  """A finished figure.

  Attributes:
    name: of its file, without suffix.
    title: a short heading.
    caption: how to read it.
    alt: what it shows, for those who can't see it.
    png: bytes of the light-scheme picture.
    svg: an `<svg>` element for embedding; no external references.
  """

  name: str
  title: str
  caption: str
  alt: str
  png: bytes
  svg: str


@contextlib.contextmanager
def style() -> Iterator[None]:
  """Holds the drawings' look; everything drawn and saved belongs inside."""
  with matplotlib.rc_context():
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(_STYLE)
    yield


def make_figure(height: float) -> figure.Figure:
  """An empty figure `WIDTH` by `height` inches."""
  return figure.Figure(figsize=(WIDTH, height), facecolor=PAPER)


def add_axes(
  fig: figure.Figure,
  left: float,
  top: float,
  width: float,
  height: float,
  **options: Any,
) -> axes.Axes:
  """Axes placed in inches from the figure's upper left corner."""
  wide, high = fig.get_size_inches()
  box = (left / wide, 1 - (top + height) / high, width / wide, height / high)
  return fig.add_axes(box, **options)


def write(
  fig: figure.Figure, left: float, top: float, words: str, **options: Any
) -> None:
  """Text placed in inches from the figure's upper left corner."""
  wide, high = fig.get_size_inches()
  options = {'va': 'center', 'color': SOFT, 'fontsize': 7.5, **options}
  fig.text(left / wide, 1 - top / high, words, **options)


def bare(ax: axes.Axes) -> None:
  """Takes ticks and frame away."""
  ax.set_xticks([])
  ax.set_yticks([])
  for spine in ax.spines.values():
    spine.set_visible(False)


def finish(
  fig: figure.Figure, name: str, title: str, caption: str, alt: str
) -> Drawing:
  """Both pictures of `fig`; equal figures give equal bytes."""
  png = io.BytesIO()
  wide, high = fig.get_size_inches()
  (x, y), dpi = MARGIN, DPI
  frame = transforms.Bbox.from_extents(-x, -y, wide + x, high + y)
  about = {'Software': None}  # no version in the bytes
  with warnings.catch_warnings():
    # Letters the font lacks are boxes in the PNG; the page has the reader's fonts.
    warnings.filterwarnings('ignore', message='Glyph .* missing from')
    fig.savefig(png, format='png', dpi=dpi, metadata=about, bbox_inches=frame)
  fig.patch.set_visible(False)  # on the page the paper shows through
  svg = io.StringIO()
  nothing = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', message='Glyph .* missing from')
    fig.savefig(svg, format='svg', metadata=nothing)
  return Drawing(
    name, title, caption, alt, png.getvalue(), themed(svg.getvalue(), name)
  )


def themed(svg: str, name: str) -> str:
  """An SVG file as an element to embed, hex colours turned into CSS variables.

  Args:
    svg: matplotlib's output.
    name: put before every id, since many drawings share one page.
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
  # Line breaks in base64 and paths only cost bytes; between tags they are kept.
  svg = re.sub(r'>\s+<', '>\n<', svg)
  return svg.replace('<svg', '<svg aria-hidden="true"', 1)
