"""What a stranger's classifier may say of itself: plain facts; it imports nothing."""

import math
import sys
from collections.abc import Mapping
from typing import Any

SIDE = 4096  # pixels of an image, at most


def check_meta(meta: Mapping[str, Any]) -> None:
  """Raises ValueError unless `classifier.pack`'s meta, where used, is of its kind."""

  def numbers(value, count):
    good = isinstance(value, list) and len(value) == count
    return good and all(type(x) in (int, float) and math.isfinite(x) for x in value)

  shape, model, data = meta['shape'], meta['model'], meta['data']
  good = {
    'model': isinstance(model, dict) and isinstance(model.get('name'), str),
    'shape': numbers(shape, 3) and all(x in range(1, SIDE + 1) for x in shape),
    'classes': isinstance(meta['classes'], list)
    and all(isinstance(name, str) for name in meta['classes']),
    'worst': isinstance(meta['worst'], dict)
    and numbers(list(meta['worst'].values()), len(meta['worst'])),
    'accuracy': numbers([meta['accuracy']], 1),
    'examples': type(meta['examples']) is int,
    'data': isinstance(data, dict) and {'name', 'tested_on'} <= set(data),
  }
  channels = shape[-1] if good['shape'] else 0
  good |= {key: numbers(meta[key], channels) for key in ('mean', 'sd')}
  for key, fine in good.items():
    if not fine:
      raise ValueError(f'its {key} is {str(meta[key])[:80]!r}, which is none')


def check_imported(value: Any) -> None:
  """Raises ValueError for the dotted name of a module that nobody has imported."""
  if isinstance(value, tuple):
    for each in value:
      check_imported(each)
    return
  for name in str(value).split(',') if isinstance(value, str) else ():
    name = name.strip()
    if '.' in name and not {name, name.rpartition('.')[0]} & set(sys.modules):
      raise ValueError(
        f'it names code that is not part of dlsteroids, {name!r}: if you trust it, '
        'import it in your config file'
      )
