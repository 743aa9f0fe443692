"""A small folder of JPEG and PNG photographs in ImageNet's layout."""

import pathlib

import numpy as np
from PIL import Image

CLASSES = ('n01440764', 'n02085620', 'n03000684')


def paint(seed: int, width: int, height: int) -> Image.Image:
  """A smooth picture, so that JPEG and resizing change little; its hue is its class."""
  generator = np.random.default_rng(seed)
  coarse = generator.integers(0, 200, (5, 6, 3), np.uint8)
  coarse[..., seed % 3] //= 3
  return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def make(root: pathlib.Path, count: int = 14, splits: tuple[str, ...] = ('train',)):
  """`count` pictures of each of three classes a split, of all sizes and kinds."""
  generator = np.random.default_rng(0)
  for number, split in enumerate(splits):
    for label, name in enumerate(CLASSES):
      folder = root / split / name
      folder.mkdir(parents=True)
      for i in range(count):
        width, height = generator.integers(40, 90, 2)
        image = paint(3 * (100 * number + i) + label, int(width), int(height))
        if i == 0:
          image.save(folder / f'{name}_{i}.png')
        elif i == 1:
          image.convert('L').save(folder / f'{name}_{i}.JPEG', quality=95)
        else:
          image.save(folder / f'{name}_{i}.JPEG', quality=95)
  return root
