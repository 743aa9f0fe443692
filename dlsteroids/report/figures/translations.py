"""Translations between two domains: inputs, translations, and the way back."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dlsteroids.analysis import probes, summary
from dlsteroids.report import blocks, formats
from dlsteroids.report.figures import generated, tiles

_KINDS = {
  'input': 'input',
  'translated': 'translated',
  'again': 'and back',
  'truth': 'truth',
}
_LEFT = 96  # pixels for the rows' names
_APART = 24  # between the directions
_GAP = 2  # between pictures
_MANY, _FEW = 8, 4  # examples of images up to `_SMALL` pixels a side, and of larger
_SMALL = 64
_BETWEEN = 12  # between blocks
_NAME = tiles.NAME - 3

Images = Mapping[tuple[str, str], np.ndarray]  # by direction, 'x' or 'y', and kind


class _Block(NamedTuple):
  """Rows under an arm's name, or under none if all arms share them."""

  arm: str
  images: Images
  kinds: Sequence[str]

  def height(self, row: int) -> int:
    """The height of all rows in pixels, if one is `row` pixels high."""
    return len(self.kinds) * (row + _GAP) - _GAP + _NAME * bool(self.arm)


def draw_translations(source: summary.Source) -> blocks.Drawing | None:
  """Inputs, every arm's translations and their way back, the truth if known."""
  by_arm = _read(source)
  if not by_arm:
    return None
  shown = {arm: by_arm[arm] for arm in list(by_arm)[: generated.MOST]}
  ways = sorted({way for images in shown.values() for way, _ in images})
  every = [array for images in shown.values() for array in images.values()]
  small = max(max(images.shape[1:3]) for images in every) <= _SMALL
  count = min(max(map(len, every)), _MANY if small else _FEW)
  width = (tiles.WIDTH - _LEFT - _APART * (len(ways) - 1)) // len(ways)
  room = (width + _GAP) // count - _GAP
  sizes = [(tiles.fit(images, room), images) for images in every]
  row = max(fitted.shape[1] * zoom for (fitted, zoom), _ in sizes)
  blocks = _arrange(shown)
  height = sum(block.height(row) for block in blocks) + _BETWEEN * (len(blocks) - 1)
  fig = tiles.make_figure(22 + height)
  names = [str(name) for name in source.study.data.facts.get('domains') or ()]
  x, y = names if len(names) == 2 else ('X', 'Y')
  lefts = {way: _LEFT + i * (width + _APART) for i, way in enumerate(ways)}
  for way, left in lefts.items():
    title = f'{x} → {y}' if way == 'x' else f'{y} → {x}'
    tiles.write(fig, left, 8, title, fontsize=8)
  top = 22
  for block in blocks:
    if block.arm:
      tiles.write_name(fig, block.arm, _LEFT, top - 3, tiles.WIDTH - _LEFT)
      top += _NAME
    for kind in block.kinds:
      tiles.write(fig, 0, top + row / 2, _KINDS[kind], fontsize=8)
      for way, left in lefts.items():
        if (way, kind) in block.images:
          images, zoom = tiles.fit(block.images[way, kind][:count], room)
          tiles.put(fig, tiles.sheet(images, count, zoom, _GAP), left, top)
      top += row + _GAP
    top += _BETWEEN - _GAP
  kinds = {kind for block in blocks for kind in block.kinds}
  back = ', and those translated back' * ('again' in kinds)
  caption = (
    f'Test images, what each arm’s networks translate them to{back} '
    f'({probes.name_runs(source)}).'
  )
  if 'truth' in kinds:
    caption += ' Truth: the image that the translation should be, unseen in training.'
  caption += generated.name_omitted(list(by_arm))
  alt = f'Translations of test images by {formats.listing(list(shown))}.'
  title = 'From one domain to the other'
  return tiles.finish(fig, 'translations', title, caption, alt)


def _read(source: summary.Source) -> dict[str, Images]:
  """Every arm's images, of directions of which input and translation are there."""
  by_arm: dict[str, dict[tuple[str, str], np.ndarray]] = {
    arm: {} for arm in summary.arms_intact_first(source.study)
  }
  for way in 'xy':
    for kind in _KINDS:
      stored = probes.by_arm(source, f'probe/translation/{way}/{kind}')
      for arm, array in stored.items():
        if tiles.are_images(array):
          by_arm[arm][way, kind] = array
  complete: dict[str, Images] = {}
  for arm, images in by_arm.items():
    ways = [w for w in 'xy' if {(w, 'input'), (w, 'translated')} <= set(images)]
    complete[arm] = {key: a for key, a in images.items() if key[0] in ways}
  return {arm: images for arm, images in complete.items() if images}


def _arrange(by_arm: Mapping[str, Images]) -> list[_Block]:
  """A block for every arm; what all arms share stands before and after them once."""
  first, *others = by_arm.values()

  def is_shared(kind: str) -> bool:
    return all(
      np.array_equal(first.get((way, kind), ()), other.get((way, kind), ()))
      for other in others
      for way in 'xy'
    )

  def block(arm: str, images: Images, kinds: Sequence[str]) -> list[_Block]:
    stored = [kind for kind in kinds if any(key[1] == kind for key in images)]
    return [_Block(arm, images, stored)] if stored else []

  shared = [kind for kind in ('input', 'truth') if is_shared(kind)]
  own = [kind for kind in _KINDS if kind not in shared]
  blocks = block('', first, shared[:1] if 'input' in shared else [])
  for arm, images in by_arm.items():
    blocks += block(arm, images, own)
  return blocks + block('', first, ['truth'] if 'truth' in shared else [])
