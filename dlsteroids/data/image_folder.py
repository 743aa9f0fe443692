"""Your own images: `train/CLASS/*.jpg|jpeg|png`, optional `validation/` and `test/`.

A folder, or a .zip, .tar, .tar.gz, .tgz or .tar.xz of it, the splits at its top or
below one top folder. Decoded once, in parallel, and cached.
"""

from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import decode, folder_layout, image_files, images, split

OPTIONS = {**image_files.OPTIONS, **split.TEST, **images.OPTIONS}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The images as [N, size, size, channels], classes in the order of their names.

  With a `validation/` folder, `data.validation` has no effect; nor has `data.test`
  with a `test/` folder.

  Raises:
    UserError: no images, another layout, unreadable or unequally sized images, or an
      option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  place = image_files.locate(
    'image_folder', config, folder_layout.split_of, 'train/CLASS/*.jpg|png'
  )
  form = decode.Form(config['size'], config['channels'])
  pixels, classes, counts = image_files.decoded(
    'image_folder', place, form, folder_layout.arrange
  )
  train, validation, test = map(sum, counts)
  parts = images.Parts(
    name=image_files.name_of(place, config),
    images=pixels,
    labels=images.label(counts),
    sizes=(train, validation, test),
    classes=classes,
  )
  return images.make(parts, config)
