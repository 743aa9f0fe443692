"""What changed since a study's runs were trained, so that they are trained anew."""

from collections.abc import Mapping
from typing import Any

from dlsteroids import config as config_lib
from dlsteroids.study import study as study_lib


def describe(old: study_lib.Study, config: Mapping[str, Any], data: str) -> str:
  """'train.steps 100 → 200; data fruit, digest 1a2b3c4d → 5e6f7a8b'; '' if nothing.

  Code is left to `store.results.stale`.

  Args:
    old: the study as written before.
    config: of the baseline now, resolved.
    data: digest of the baseline's data set now.
  """
  before, now = (
    {
      f'{section}.{name}': value
      for section, options in config_lib.training(tree).items()
      for name, value in options.items()
    }
    | {'study.metric': tree['study']['metric']}
    for tree in (old.config, config)
  )
  changes = [
    f'{path} {_show(before.get(path))} → {_show(now.get(path))}'
    for path in dict.fromkeys((*before, *now))
    if config_lib.digest(before.get(path)) != config_lib.digest(now.get(path))
  ]
  if data != old.data.digest and not any(line.startswith('data.') for line in changes):
    changes.append(f'data {old.data.name}, digest {old.data.digest[:8]} → {data[:8]}')
  return '; '.join(changes)


def _show(value: Any) -> str:
  return 'none' if value is None else f'{value!r}' if value == '' else f'{value}'
