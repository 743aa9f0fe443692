"""Your own arrays: an .npz file of columns, as `dlsteroids.run(data=…)` writes it.

`numpy.savez(path, x=…, y=…)` makes one; names such as 'train/x' and 'test/x' say which
split a column belongs to, names without one belong to 'train'.
"""

import re
from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import columns, source, stored_columns
from dlsteroids.util import errors

OPTIONS = {
  'path': options.Option('', 'the .npz file; dlsteroids.run(data=…) sets it'),
  **columns.OPTIONS,
}


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The columns of the file, as images, a table, sequences, a series or a text.

  Raises:
    UserError: no such file, or one that holds something else.
  """
  config = options.complete(config, OPTIONS, 'data')
  if not config['path']:
    raise errors.UserError(
      'data.path is empty: give an .npz file, or arrays by dlsteroids.run(data=…)'
    )
  [(_, path)] = source.folders('arrays', config)
  handed = re.fullmatch('[0-9a-f]{16}', path.stem)  # the digest of its contents
  name = config['label'] or ('arrays' if handed else path.stem)
  return columns.make(name, stored_columns.read(path), config)
