"""Data sets of Hugging Face's `datasets`: saved folders, folders of files, the cache.

`data.path` is a folder that `save_to_disk` wrote, a folder of parquet, CSV, JSON or
image files, or the name of a data set, which is read from the library's own cache and
fetched only with `data.download=true`. Needs `pip install datasets`.
"""

import contextlib
import importlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import columns, decode, source
from dlsteroids.util import errors, files

OPTIONS = {
  'path': options.Option('', 'a folder, or the name of a data set'),
  'subset': options.Option('', "configuration of the data set, such as 'sst2' of glue"),
  'download': options.Option(False, 'fetch a data set that is not in the cache'),
  **columns.OPTIONS,
}
TABLES = ('.csv', '.tsv', '.json', '.jsonl', '.parquet', '.txt')
SAVED = ('dataset_info.json', 'state.json', 'dataset_dict.json')  # by save_to_disk


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The data set's rows, as images, a table, sequences, a series or a text.

  Raises:
    UserError: no such data set, no `datasets`, or an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  if not config['path']:
    raise errors.UserError(
      'data.path is empty: give a folder, or the name of a data set'
    )
  library = _library()
  folder = pathlib.Path(config['path']).expanduser()
  local = folder.is_absolute() or folder.exists() or str(config['path'])[0] in '.~'
  if local:
    [(_, folder)] = source.folders('hf', config)
  try:
    data = _read(library, folder if local else None, config)
  except errors.UserError:
    raise
  except Exception as error:  # of many libraries below
    cure = '' if local or config['download'] else '; data.download=true fetches it'
    raise errors.UserError(
      f'data.path: {config["path"]!r} cannot be read by datasets{cure} '
      f'({errors.describe(error)[:200]})'
    ) from error
  splits = data if isinstance(data, Mapping) else {'train': data}
  parts = {str(key): _part(library, each, config) for key, each in splits.items()}
  name = config['label'] or (folder.name if local else config['path'])
  return columns.make(name, parts, config)


def _library() -> Any:
  try:
    return importlib.import_module('datasets')
  except ImportError as error:
    raise errors.UserError(
      "data.name = 'hf' needs the package datasets: pip install datasets"
    ) from error


def _read(library: Any, folder: pathlib.Path | None, config: Mapping[str, Any]) -> Any:
  """A Dataset, or a mapping of them by split."""
  library.disable_progress_bars()
  subset = config['subset'] or None
  if folder is None:
    with contextlib.nullcontext() if config['download'] else _offline(library):
      return library.load_dataset(config['path'], subset)
  if folder.is_file():
    raise errors.UserError(f'data.path: {str(folder)!r} is a file; give its folder')
  if any((folder / name).exists() for name in SAVED):
    try:
      return library.load_from_disk(str(folder))
    except IndexError as error:  # datasets 5.2 on one that was saved empty
      raise errors.UserError(f'data.path: {str(folder)!r} has no rows') from error
  for path in sorted(folder.rglob('*')):
    if path.is_file() and not path.stat().st_size and path.suffix in TABLES:
      raise errors.UserError(f'data.path: {str(path)!r} is empty')
  cache = files.cache_folder() / 'hf'
  with _offline(library):
    return library.load_dataset(str(folder), subset, cache_dir=str(cache))


@contextlib.contextmanager
def _offline(library: Any) -> Iterator[None]:
  """Nothing is asked of the network."""
  hub: Any = importlib.import_module('huggingface_hub.constants')
  before = library.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE
  library.config.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE = True
  try:
    yield
  finally:
    library.config.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE = before


def _part(library: Any, data: Any, config: Mapping[str, Any]) -> columns.Part:
  """One split; columns are read when they are needed."""

  def read(name: str) -> Any:
    if isinstance(data.features[name], library.Image):
      return _images(library, data, name, config)
    values = data.with_format('numpy')[name][:]
    if isinstance(values, np.ndarray) and values.dtype.kind in 'biuf':
      return values
    return [
      each if each is None or isinstance(each, str) else np.asarray(each)
      for each in data[name][:]
    ]

  def classes(name: str) -> tuple[str, ...]:
    return tuple(getattr(data.features[name], 'names', None) or ())

  return columns.Part(tuple(data.column_names), read, classes)


def _images(
  library: Any, data: Any, name: str, config: Mapping[str, Any]
) -> np.ndarray:
  """A column of images as uint8 [N, H, W, C], decoded in parallel."""
  encoded = data.cast_column(name, library.Image(decode=False))[name][:]
  items: list[tuple[str, bytes | pathlib.Path]] = [
    (f'image {number}', each['bytes'] or pathlib.Path(each['path']))
    for number, each in enumerate(encoded)
  ]
  channels = config['channels'] or decode.channels(items[0][1])
  rows = {key: number for number, (key, _) in enumerate(items)}
  return decode.every(items, rows, decode.Form(config['size'], channels))
