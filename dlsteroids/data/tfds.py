"""Data sets that TensorFlow Datasets prepared: a folder with `dataset_info.json`.

Files of the format array_record are read without TensorFlow, others with it. Needs
`pip install tensorflow-datasets`; nothing is downloaded.
"""

import functools
import importlib
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import columns, source
from dlsteroids.util import errors

OPTIONS = {
  'path': options.Option('', 'the folder of a version, such as mnist/3.0.1'),
  **columns.OPTIONS,
}
INFO = 'dataset_info.json'


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The data set's rows, as images, a table, sequences, a series or a text.

  Raises:
    UserError: no prepared data set there, no `tensorflow_datasets`, or an option out of
      range.
  """
  config = options.complete(config, OPTIONS, 'data')
  if not config['path']:
    raise errors.UserError('data.path is empty: give the folder of a prepared data set')
  [(_, folder)] = source.folders('tfds', config)
  folder = _find(folder)
  try:
    library = importlib.import_module('tensorflow_datasets')
  except ImportError as error:
    raise errors.UserError(
      "data.name = 'tfds' needs the package tensorflow-datasets: "
      'pip install tensorflow-datasets'
    ) from error
  try:
    builder = library.builder_from_directory(str(folder))
    parts = {str(key): _part(library, builder, key) for key in builder.info.splits}
    return columns.make(config['label'] or builder.info.name, parts, config)
  except errors.UserError:
    raise
  except Exception as error:  # of many libraries below
    text = errors.describe(error)
    cure = f'; what was prepared has name, version and splits in {INFO}'
    if 'tensorflow' in text.lower() or 'random access' in text.lower():
      cure = (
        "; without TensorFlow only data sets prepared with file_format='array_record' "
        'are read'
      )
    raise errors.UserError(
      f'data.path: {str(folder)!r} cannot be read by tensorflow_datasets{cure} '
      f'({text[:200]})'
    ) from error


def _find(place: pathlib.Path) -> pathlib.Path:
  """The folder of one version at or below a place."""
  if (place / INFO).is_file():
    return place
  versions = sorted(path.parent for path in place.glob(f'*/{INFO}'))
  versions = versions or sorted(path.parent for path in place.glob(f'*/*/{INFO}'))
  if len(versions) == 1:
    return versions[0]
  several = f'; choose one of {", ".join(map(str, versions[:5]))}' if versions else ''
  raise errors.UserError(
    f'data.path: {str(place)!r} is not the folder of one prepared data set, with '
    f'{INFO}{several}'
  )


def _part(library: Any, builder: Any, key: str) -> columns.Part:
  """One split; its rows are read together, once."""
  features = builder.info.features

  @functools.cache
  def rows() -> list[Mapping[str, Any]]:
    try:
      return list(builder.as_data_source(split=key))
    except NotImplementedError:  # not of the format array_record
      importlib.import_module('tensorflow')
      return list(library.as_numpy(builder.as_dataset(split=key)))

  def read(name: str) -> Any:
    values = [row[name] for row in rows()]
    if isinstance(values[0], bytes):
      return [value.decode() for value in values]
    arrays = [np.asarray(value) for value in values]
    same = len({array.shape for array in arrays}) == 1
    return np.stack(arrays) if same else arrays

  def classes(name: str) -> tuple[str, ...]:
    return tuple(getattr(features[name], 'names', None) or ())

  return columns.Part(tuple(features), read, classes)
