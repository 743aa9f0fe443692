"""Your own text: one file."""

from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.data.lib import images, source, text
from dlsteroids.util import errors

DEFAULTS: dict[str, Any] = {
  'path': '',  # the file
  'label': '',  # the data set's name in results; '': the file's, without its suffix
  'encoding': 'utf-8',  # of the file; has no effect on bytes
  **text.OPTIONS,
}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The text at `data.path`, line ends as they are in the file.

  Raises:
    UserError: no such file, or not readable in that encoding; a text that is empty or
      too short; an option out of range.
  """
  config = images.complete(config, DEFAULTS)
  if not config['path']:
    raise errors.UserError('data.path is empty: give the text file')
  [(_, path)] = source.folders('text_file', config)
  if path.is_dir():
    raise errors.UserError(
      f'data.path: {str(path)!r} is a folder; expected a text file'
    )
  content = source.read_bytes(path, text.LIMIT, f'data.path: {str(path)!r}')
  name = config['label'] or path.stem
  return text.make(name, content, config, config['encoding'])
