"""JPEG and PNG files to equal-sized uint8 arrays, in parallel."""

import collections
import concurrent.futures
import io
import os
import pathlib
import warnings
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from dlsteroids import config as config_lib

PIXELS = 1 << 26  # of one image; more is a decompression bomb
FILE = 1 << 28  # bytes of one image's file
TOTAL = 1 << 36  # bytes of all
TASK = 64  # images that a thread decodes at a time
# Pillow warns of what `one` refuses; its lines would say so once more.
warnings.filterwarnings('error', category=Image.DecompressionBombWarning)
MODES = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')


class Form(NamedTuple):
  """How images are stored: square side in pixels (0: their own), 1 or 3 channels."""

  size: int
  channels: int


def one(data: bytes, name: str, form: Form) -> np.ndarray:
  """The uint8 [H, W, C] image in the bytes of a JPEG or PNG file.

  Turned as its EXIF orientation says; transparency is dropped; grey is ITU-R 601 luma.
  With a size, the shorter side is resized to it (bilinear with antialiasing) and the
  middle is cut out.

  Raises:
    UserError: unreadable, more than `PIXELS`, or more than 8 bits a channel.
  """
  try:
    with Image.open(io.BytesIO(data), formats=('JPEG', 'PNG')) as opened:
      if opened.width * opened.height > PIXELS:
        raise config_lib.UserError(
          f'{name!r} has {opened.width}×{opened.height} pixels, more than {PIXELS:,}'
        )
      if opened.mode not in MODES:
        raise config_lib.UserError(
          f'{name!r} has pixels of kind {opened.mode!r}; expected 8 bits a channel'
        )
      image: Image.Image = opened
      if 'exif' in opened.info:
        image = ImageOps.exif_transpose(opened)
      if 'transparency' in image.info:
        image = image.convert('RGBA')
      image = image.convert('L' if form.channels == 1 else 'RGB')
  except config_lib.UserError:
    raise
  except Exception as error:  # Pillow's plug-ins raise many kinds for damaged files
    raise config_lib.UserError(
      f'{name!r} cannot be read as an image ({type(error).__name__}: '
      f'{" ".join(str(error).split())[:120]})'
    ) from error
  if form.size:
    side = min(image.size)
    left, upper = (image.width - side) / 2, (image.height - side) / 2
    image = image.resize(
      (form.size, form.size),
      Image.Resampling.BILINEAR,
      box=(left, upper, left + side, upper + side),
    )
  array = np.asarray(image)
  return array if array.ndim == 3 else array[..., None]


def every(
  files: Iterable[tuple[str, bytes | pathlib.Path]],
  rows: Mapping[str, int],
  form: Form,
) -> np.ndarray:
  """Decodes files with threads (Pillow releases the GIL) into uint8 [N, H, W, C].

  Args:
    files: names with bytes, or with where to read them; in any order.
    rows: the row of each name.
    form: size and channels.

  Raises:
    UserError: an unreadable image (named), unequal sizes without `form.size` (the
      first two are named), a missing file, or no memory.
  """
  result: np.ndarray | None = None
  first, done = '', 0
  waiting: collections.deque[concurrent.futures.Future[int]] = collections.deque()
  workers = min(32, len(os.sched_getaffinity(0)) if _AFFINITY else os.cpu_count() or 1)
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    try:
      for task in _tasks(files):
        if result is None:
          first = task[0][0]
          result = _allocate(len(rows), one(_bytes(task[0][1]), first, form).shape)
        waiting.append(pool.submit(_fill, result, task, rows, form, first))
        if len(waiting) > 2 * workers:  # bounds the undecoded bytes in memory
          done += waiting.popleft().result()
      while waiting:
        done += waiting.popleft().result()
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
  if result is None or done != len(rows):
    raise config_lib.UserError(f'{done:,} of {len(rows):,} images could be found')
  return result


_AFFINITY = hasattr(os, 'sched_getaffinity')


def _tasks(
  files: Iterable[tuple[str, bytes | pathlib.Path]],
) -> Iterable[list[tuple[str, bytes | pathlib.Path]]]:
  task = []
  for file in files:
    task.append(file)
    if len(task) == TASK:
      yield task
      task = []
  if task:
    yield task


def _bytes(data: bytes | pathlib.Path) -> bytes:
  if isinstance(data, bytes):
    return data
  try:
    if data.stat().st_size > FILE:
      raise config_lib.UserError(f'{str(data)!r} has more than {FILE:,} bytes')
    return data.read_bytes()
  except OSError as error:
    raise config_lib.UserError(
      f'{str(data)!r} cannot be read: {error.strerror}'
    ) from error


def _fill(
  result: np.ndarray,
  task: list[tuple[str, bytes | pathlib.Path]],
  rows: Mapping[str, int],
  form: Form,
  first: str,
) -> int:
  for name, data in task:
    image = one(_bytes(data), name, form)
    if image.shape != result.shape[1:]:
      sizes = [f'{shape[1]}×{shape[0]}' for shape in (result.shape[1:], image.shape)]
      raise config_lib.UserError(
        f'{first!r} is {sizes[0]}, but {name!r} is {sizes[1]}: set data.size to bring '
        'all images to one size'
      )
    result[rows[name]] = image
  return len(task)


def _allocate(count: int, shape: tuple[int, ...]) -> np.ndarray:
  total = count * int(np.prod(shape))
  try:
    if total > TOTAL:
      raise MemoryError
    return np.empty((count, *shape), np.uint8)
  except MemoryError:
    raise config_lib.UserError(
      f'{count:,} images of {shape[1]}×{shape[0]}×{shape[2]} need {total:,} bytes of '
      'memory: set a smaller data.size'
    ) from None
