"""Python's reference in English, embedded, so nothing is downloaded.

The help topics that CPython ships (`pydoc_data.topics`); in 3.11.7 they are 465,048
characters, 103 distinct. They change with the version of Python, which the data set is
named after; its digest identifies the text.
"""

import sys
from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import text
from dlsteroids.util import errors

OPTIONS = text.OPTIONS


def load(config: Mapping[str, Any]) -> types.Dataset:
  """The topics, in the order of their keys, as one text.

  Raises:
    UserError: a Python that ships none, or an option out of range.
  """
  config = options.complete(config, OPTIONS, 'data')
  version = '{}.{}'.format(*sys.version_info)
  try:
    from pydoc_data import topics
  except ImportError as error:
    raise errors.UserError(
      f'python_docs: this Python {version} ships no pydoc_data.topics; use another '
      'Python, or data.name=text_file'
    ) from error
  joined = '\n'.join(value for _, value in sorted(topics.topics.items()))
  return text.make(f'python_docs-{version}', joined.encode(), config)
