"""Translations between two domains: what went in, what came out, and the way back."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import figure as figures

from dlsteroids.analysis import summary
from dlsteroids.report import facts, formats
from dlsteroids.report import probes as probes_lib
from dlsteroids.report.figures import canvas, pictures, tiles

_DIRECTIONS = ('x', 'y')
_LEFT = 96  # pixels for the rows' names
_APART = 24  # between the directions
_GAP = 2  # between pictures
_MANY, _FEW = 8, 4  # examples of images up to `_SMALL` pixels a side, and of larger
_SMALL = 64
_BETWEEN = 12  # between blocks

Arrays = Mapping[str, np.ndarray]


class _Row(NamedTuple):
  """A row's name and its images by direction, [n, H, W, C]."""

  name: str
  images: Mapping[str, np.ndarray]


class _Block(NamedTuple):
  """Rows under a heading; '' for none."""

  name: str
  rows: tuple[_Row, ...]


def draw_translations(source: summary.Source) -> canvas.Drawing | None:
  """Inputs, every arm's translations and their way back, the truth if it is known."""
  found, left = _gather(source)
  if not found:
    return None
  ways = [d for d in _DIRECTIONS if any(_key(d, 'input') in a for a in found.values())]
  blocks = _arrange(found, ways)
  width = (tiles.WIDTH - _LEFT - _APART * (len(ways) - 1)) // len(ways)
  room = (width + _GAP) // _count(found) - _GAP
  high = max(
    tiles.fit(images, room)[0].shape[1] * tiles.fit(images, room)[1]
    for block in blocks
    for row in block.rows
    for images in row.images.values()
  )
  heights = [_height(block, high) for block in blocks]
  fig = tiles.make_figure(22 + sum(heights) + _BETWEEN * (len(blocks) - 1))
  titles = _titles(source)
  for i, way in enumerate(ways):
    place = _LEFT + i * (width + _APART)
    tiles.write(fig, place, 8, titles[way], fontsize=8)
  top = 22
  for block, height in zip(blocks, heights):
    line = top
    if block.name:
      pictures.name_block(fig, block.name, _LEFT, top - 3, tiles.WIDTH - _LEFT)
      line += pictures.HEAD - 3
    for row in block.rows:
      tiles.write(fig, 0, line + high / 2, row.name, fontsize=8)
      for i, way in enumerate(ways):
        if way in row.images:
          shown, zoom = tiles.fit(row.images[way], room)
          sheet = tiles.sheet(shown, len(shown), zoom, _GAP)
          tiles.put(fig, sheet, _LEFT + i * (width + _APART), line)
      line += high + _GAP
    top += height + _BETWEEN
  return _finish(fig, found, blocks, left)


def _gather(source: summary.Source) -> tuple[dict[str, dict[str, np.ndarray]], str]:
  """Every arm's translations, and a sentence that names the arms left out, or ''."""
  every: dict[str, dict[str, np.ndarray]] = {}
  for way in _DIRECTIONS:
    for kind in ('input', 'translated', 'again', 'truth'):
      for arm, images in probes_lib.by_arm(source, _key(way, kind)).items():
        if tiles.are_images(images):
          every.setdefault(arm, {})[_key(way, kind)] = images
  # A way of which the input or the outcome is missing tells nothing.
  for arrays in every.values():
    for way in _DIRECTIONS:
      if any(_key(way, kind) not in arrays for kind in ('input', 'translated')):
        for kind in ('input', 'translated', 'again', 'truth'):
          arrays.pop(_key(way, kind), None)
  arms = [arm['name'] for arm in source.study['arms'] if every.get(arm['name'])]
  arms.sort(key=lambda arm: arm != summary.intact_arm(source.study))
  return {arm: every[arm] for arm in arms[: pictures.MOST]}, (pictures.name_cut(arms))


def _key(way: str, kind: str) -> str:
  return f'probe/translation/{way}/{kind}'


def _count(found: Mapping[str, Arrays]) -> int:
  """How many examples stand side by side."""
  side = max(max(a.shape[1:3]) for arrays in found.values() for a in arrays.values())
  most = max(len(a) for arrays in found.values() for a in arrays.values())
  return min(most, _MANY if side <= _SMALL else _FEW)


def _arrange(found: Mapping[str, Arrays], ways: Sequence[str]) -> list[_Block]:
  """Blocks of an arm each; what all arms share stands before and after them once."""
  count = _count(found)

  def row(name: str, kind: str, arrays: Arrays) -> tuple[_Row, ...]:
    keys = {way: _key(way, kind) for way in ways if _key(way, kind) in arrays}
    images = {way: arrays[key][:count] for way, key in keys.items()}
    return (_Row(name, images),) if images else ()

  shared = {kind: _share(found, ways, kind) for kind in ('input', 'truth')}
  first = next(iter(found.values()))
  blocks = []
  for arm, arrays in found.items():
    rows = () if shared['input'] else row('input', 'input', arrays)
    rows += row('translated', 'translated', arrays)
    rows += row('and back', 'again', arrays)
    rows += () if shared['truth'] else row('truth', 'truth', arrays)
    blocks.append(_Block(arm, rows))
  before = [_Block('', row('input', 'input', first))] if shared['input'] else []
  after = row('truth', 'truth', first) if shared['truth'] else ()
  return [*before, *blocks, *([_Block('', after)] if after else [])]


def _share(found: Mapping[str, Arrays], ways: Sequence[str], kind: str) -> bool:
  """Whether all arms have the same images of a kind, or all none."""
  first, *others = found.values()
  return all(
    np.array_equal(first.get(_key(way, kind), ()), other.get(_key(way, kind), ()))
    for other in others
    for way in ways
  )


def _height(block: _Block, high: int) -> int:
  rows = len(block.rows) * (high + _GAP) - _GAP
  return rows + (pictures.HEAD - 3 if block.name else 0)


def _titles(source: summary.Source) -> dict[str, str]:
  """What each direction is, by the names of the domains."""
  names = [str(name) for name in facts.of(source.study).get('domains') or ()]
  x, y = names if len(names) == 2 else ('X', 'Y')
  return {'x': f'{x} → {y}', 'y': f'{y} → {x}'}


def _finish(
  fig: figures.Figure, found: Mapping[str, Arrays], blocks: Sequence[_Block], left: str
) -> canvas.Drawing:
  rows = {row.name for block in blocks for row in block.rows}
  caption = (
    'Test images, what each arm’s networks translate them to'
    f'{", and those translated back" * ("and back" in rows)} (first seed, as '
    'configured).'
  )
  if 'truth' in rows:
    caption += ' Truth: the image that the translation should be, unseen in training.'
  alt = f'Translations of test images by {formats.listing(list(found))}.'
  title = 'From one domain to the other'
  return tiles.finish(fig, 'translations', title, caption + left, alt)
