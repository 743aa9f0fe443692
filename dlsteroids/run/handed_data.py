"""Arrays and frames that a caller hands over: stored in the workdir, so that they last.

A resumed study, a worker, `dlsteroids.load` and a command line read the stored file.
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from dlsteroids import config as config_lib
from dlsteroids.data.lib import stored_columns
from dlsteroids.util import errors

FOLDER = 'data'  # of a workdir


@contextlib.contextmanager
def stored(
  config: Any, data: Any, workdir: pathlib.Path, say: Callable[[str], None]
) -> Iterator[Any]:
  """The config with the data stored in the workdir; as it is if `data` is None.

  The file is taken away again if the call fails before there is a study.

  Raises:
    UserError: a config that is not of data 'arrays', or data of another kind.
  """
  if data is None:
    yield config
    return
  if isinstance(config, str | pathlib.Path):
    raise errors.UserError(
      "data=… goes with a config of dlsteroids.base(data='arrays', …), not with a file"
    )
  tree = config_lib.resolve(config)
  if tree['data']['name'] != 'arrays':
    raise errors.UserError(
      f"data=… needs a config of data 'arrays', as dlsteroids.base(data='arrays', …) "
      f'makes it; this one is of {tree["data"]["name"]!r}'
    )
  folder = workdir.expanduser().absolute() / FOLDER
  in_time = tree['data']['form'] == 'series'
  path, new = stored_columns.write(data, folder, in_time=in_time)
  if new:
    say(f'data stored: --config.data.name=arrays --config.data.path={path}')
  try:
    yield config_lib.override(tree, {'data.path': str(path)}.items())
  except errors.UserError:
    if new and not (path.parents[1] / 'study.json').exists():
      path.unlink(missing_ok=True)
      for folder in path.parents[:2]:
        with contextlib.suppress(OSError):  # of others, or not empty
          folder.rmdir()
    raise
