"""JPEG and PNG files to equal-sized uint8 arrays, in parallel."""

import collections
import concurrent.futures
import contextlib
import io
import itertools
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from dlsteroids.data.lib import crop, source
from dlsteroids.util import environment, errors

PIXELS = 1 << 26  # of one image; more is a decompression bomb
FILE = 1 << 28  # bytes of one image's file
TOTAL = 1 << 36  # bytes of all
TASK = 64  # images that a thread decodes at a time
REDUCTIONS = (2, 4, 8)  # factors by which libjpeg can decode fewer pixels
GAP = 2.0  # pixels of a decoded window over the pixels wanted; as Pillow's default
ORIENTATION = 0x0112  # EXIF's tag
TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
# `_opened` refuses such images itself; Pillow's warning would be a second message.
warnings.filterwarnings('error', category=Image.DecompressionBombWarning)
warnings.filterwarnings('ignore', '', UserWarning, r'PIL\.')  # of damaged metadata
MODES = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')


class Form(NamedTuple):
  """How images are stored: square side in pixels (0: their own), 1 or 3 channels."""

  size: int
  channels: int


def one(data: bytes, name: str, form: Form) -> np.ndarray:
  """The uint8 [H, W, C] image in the bytes of a JPEG or PNG file.

  Turned as its EXIF orientation says, if that can be read; transparency is dropped;
  grey is ITU-R 601 luma. With a size, the shorter side is resized to it (bilinear with
  antialiasing) and the middle is cut out.

  Raises:
    UserError: unreadable, more than `PIXELS`, or more than 8 bits a channel.
  """
  with _opened(data, name) as opened:
    image = _converted(opened, form.channels)
  if form.size:
    image = _resized(image, crop.middle(*image.size), form.size)
  return _array(image)


def channels(data: bytes | pathlib.Path) -> int:
  """1 for a grey JPEG or PNG file, else 3."""
  with _opened(_bytes(data), 'the first image') as opened:
    return 1 if opened.mode in ('1', 'L', 'LA') else 3


def of_array(pixels: np.ndarray, form: Form) -> np.ndarray:
  """An image uint8 [H, W] or [H, W, C] in a form, as `one` brings files to it."""
  grey = pixels.ndim == 3 and pixels.shape[2] == 1
  image = _converted(Image.fromarray(pixels[..., 0] if grey else pixels), form.channels)
  if form.size:
    image = _resized(image, crop.middle(*image.size), form.size)
  return _array(image)


def cut(
  data: bytes, name: str, form: Form, choose: crop.Choose, gap: float = GAP
) -> np.ndarray:
  """The window of an image that `choose` names, as uint8 [size, size, C].

  The window, in the coordinates of the upright image, is resized in one step (bilinear
  with antialiasing). A JPEG is decoded at the least of 1, 1/2, 1/4 and 1/8 of its sides
  at which the window still has `gap` times the wanted pixels along either side: the
  decoder skips the frequencies that resizing would average away. Otherwise as `one`.

  Raises:
    UserError: as `one`.
  """
  with _opened(data, name) as opened:
    width, height = opened.size
    turned = _orientation(opened) >= 5  # by a quarter turn: the sides are exchanged
    upright = (height, width) if turned else (width, height)
    window = choose(*upright)
    spare = min(window.width, window.height) / (gap * form.size)
    reduction = max((r for r in REDUCTIONS if r <= spare), default=1)
    small = (max(1, width // reduction), max(1, height // reduction))
    if reduction > 1 and opened.draft(None, small) is None:  # not a JPEG
      reduction = 1
    image = _converted(opened, form.channels)
  window = crop.Window(*(edge / reduction for edge in window))
  return _array(_resized(image, window, form.size))


@contextlib.contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
  """The image of a file, not decoded yet; errors inside the context name the file."""
  try:
    with Image.open(io.BytesIO(data), formats=('JPEG', 'PNG')) as opened:
      if opened.width * opened.height > PIXELS:
        raise errors.UserError(
          f'{name!r} has {opened.width}×{opened.height} pixels, more than {PIXELS:,}'
        )
      if opened.mode not in MODES:
        raise errors.UserError(
          f'{name!r} has pixels of kind {opened.mode!r}; expected 8 bits a channel'
        )
      yield opened
  except errors.UserError:
    raise
  except UnidentifiedImageError as error:
    begins = f'begins with {data[:8]!r}' if data else 'is empty'
    raise errors.UserError(
      f'{name!r} cannot be read as an image: it {begins}; expected a JPEG or PNG file'
    ) from error
  except Exception as error:  # Pillow's plug-ins raise many kinds for damaged files
    raise errors.UserError(
      f'{name!r} cannot be read as an image ({type(error).__name__}: '
      f'{" ".join(str(error).split())[:120]})'
    ) from error


def _orientation(opened: Image.Image) -> int:
  """The EXIF orientation, 1 to 8; 1 (upright) where there is none or it is damaged."""
  if 'exif' not in opened.info:
    return 1
  try:
    return int(opened.getexif().get(ORIENTATION, 1))
  except Exception:
    return 1


def _converted(opened: Image.Image, channels: int) -> Image.Image:
  """Decoded, upright, opaque, in grey or RGB."""
  turn = TURNS.get(_orientation(opened))
  image: Image.Image = opened if turn is None else opened.transpose(turn)
  if 'transparency' in opened.info:
    image = image.convert('RGBA')
  return image.convert('L' if channels == 1 else 'RGB')


def _resized(image: Image.Image, window: crop.Window, size: int) -> Image.Image:
  # Rounding may put an edge of a scaled window slightly outside the image.
  left, upper, right, lower = window
  box = (left, upper, min(right, image.width), min(lower, image.height))
  return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


def _array(image: Image.Image) -> np.ndarray:
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
    UserError: an unreadable image, unequal sizes without `form.size`, a missing file,
      or too little memory.
  """
  result: np.ndarray | None = None
  first, done = '', 0
  waiting: collections.deque[concurrent.futures.Future[int]] = collections.deque()
  workers = min(32, environment.cores())
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    try:
      files = iter(files)
      for task in iter(lambda: list(itertools.islice(files, TASK)), []):
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
    raise errors.UserError(f'only {done:,} of {len(rows):,} images were found')
  return result


def _bytes(data: bytes | pathlib.Path) -> bytes:
  return data if isinstance(data, bytes) else read(data)


def read(path: pathlib.Path) -> bytes:
  """A file's bytes; UserError, naming it, if it cannot be read or has over `FILE`."""
  return source.read_bytes(path, FILE)


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
      raise errors.UserError(
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
    raise errors.UserError(
      f'{count:,} images of {shape[1]}×{shape[0]}×{shape[2]} need {total:,} bytes of '
      'memory: set a smaller data.size'
    ) from None
