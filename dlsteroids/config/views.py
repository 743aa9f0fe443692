"""Parts of a resolved config: what a result depends on, what the compiler sees."""

from collections.abc import Mapping
from typing import Any

from dlsteroids.config import plugins

TRAINING = ('model', 'data', 'task', 'optimizer', 'train')  # what a run depends on
# Where the bytes lie; the digest of the data identifies them.
PLACES = ('data.path', 'data.path_x', 'data.path_y', 'data.download', 'data.label')


def traced_paths(tree: Mapping[str, Any]) -> list[str]:
  """The paths whose values enter a program as arguments, sorted."""
  return sorted(
    path for path, option in plugins.declared(tree).items() if option.traced
  )


def hyper(tree: Mapping[str, Any]) -> dict[str, float]:
  """The traced numbers of a config by path."""
  result = {}
  for path in traced_paths(tree):
    section, _, key = path.partition('.')
    result[path] = float(tree[section][key])
  return result


def static(tree: Mapping[str, Any]) -> dict[str, Any]:
  """What the compiler sees: the training sections without traced numbers."""
  result = training(tree)
  for path in traced_paths(tree):
    section, _, key = path.partition('.')
    result[section].pop(key, None)
  return result


def training(tree: Mapping[str, Any]) -> dict[str, Any]:
  """The sections that a run's result depends on, without `PLACES`."""
  return {
    section: {k: v for k, v in tree[section].items() if f'{section}.{k}' not in PLACES}
    for section in TRAINING
  }


def places(tree: Mapping[str, Any]) -> list[str]:
  """The paths of `PLACES` that a config has."""
  return [path for path in PLACES if path.partition('.')[2] in tree.get('data', {})]
