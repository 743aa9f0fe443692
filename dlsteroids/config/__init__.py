"""Configs: one home for every value, strict overrides, traced numbers, digests.

A config is a nested dict: the sections `model`, `data` and `task`, whose options their
plug-ins declare, and those of `plugins.SECTIONS`.
"""

from dlsteroids.config import options, plugins
from dlsteroids.config.digests import digest
from dlsteroids.config.launch_options import DESIGNS
from dlsteroids.config.options import choose
from dlsteroids.config.overrides import (
  base,
  coerce,
  get,
  override,
  override_text,
  resolve,
)
from dlsteroids.config.plugins import PLUGINS, available, declared, find, rows
from dlsteroids.config.views import (
  PLACES,
  TRAINING,
  hyper,
  places,
  static,
  traced_paths,
  training,
)

DEFAULTS = {name: options.defaults(table) for name, table in plugins.SECTIONS.items()}

__all__ = ['DEFAULTS', 'DESIGNS', 'PLACES', 'PLUGINS', 'TRAINING', 'available', 'base']
__all__ += [
  'choose',
  'coerce',
  'declared',
  'digest',
  'find',
  'get',
  'hyper',
  'override',
]
__all__ += ['override_text', 'places', 'resolve', 'rows', 'static', 'traced_paths']
__all__ += ['training']
