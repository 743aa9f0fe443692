"""Your own text: one file."""

from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import source, text
from dlsteroids.util import errors

OPTIONS = {
  'path': options.Option('', 'the file'),
  'label': options.Option('', "name in results; '': the file's, without its suffix"),
  'encoding': options.Option('utf-8', 'of the file, unless it has a byte order mark'),
  **text.OPTIONS,
}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The text at `data.path`, without its byte order mark; line ends as in the file.

  Raises:
    UserError: no such file, or not readable in that encoding; a text that is empty or
      too short; an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
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
