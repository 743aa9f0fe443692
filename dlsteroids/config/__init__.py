"""Configs: one home for every value, strict overrides, traced numbers, digests.

A config is a nested dict: the sections `model`, `data` and `task`, whose options their
plug-ins declare, and those of `options.SECTIONS`.
"""

from dlsteroids.config.digests import digest, digest_text, text
from dlsteroids.config.options import DESIGNS, SECTIONS, Option, choose, defaults
from dlsteroids.config.overrides import (
  base,
  check,
  coerce,
  defaults_of,
  get,
  override,
  override_text,
  parse,
  resolve,
  unknown_path,
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

DEFAULTS = {name: defaults(table) for name, table in SECTIONS.items()}

__all__ = [
  'DEFAULTS',
  'DESIGNS',
  'PLACES',
  'PLUGINS',
  'SECTIONS',
  'TRAINING',
  'Option',
  'available',
  'base',
  'check',
  'choose',
  'coerce',
  'declared',
  'defaults',
  'defaults_of',
  'digest',
  'digest_text',
  'find',
  'get',
  'hyper',
  'override',
  'override_text',
  'parse',
  'places',
  'resolve',
  'rows',
  'static',
  'text',
  'traced_paths',
  'training',
  'unknown_path',
]
