"""The collecting of a design's arms: excluded ones dropped, equal ones merged."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dlsteroids import config as config_lib
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import space as space_lib
from dlsteroids.study.factors import Arm, Contrast, Factor, Kind, Pairs, Side
from dlsteroids.study.space import Cell, Levels, Override, Space
from dlsteroids.util import errors


class Builder:
  """Collects arms and contrasts, and what was dropped or merged on the way.

  Attributes:
    arms: by name.
    configs: resolved config by arm name.
    contrasts: in order.
    excluded: by excluding pair, the names of the arms dropped.
    merged: by arm, the combinations that requirements made equal to it.
    notes: what a design wants to be reported.
  """

  def __init__(
    self, space: Space, config: Mapping[str, Any], override: Override
  ) -> None:
    self.space = space
    self.notes: list[str] = []
    self._config, self._override = config, override
    self.arms: dict[str, Arm] = {}
    self.configs: dict[str, dict[str, Any]] = {}
    self.contrasts: list[Contrast] = []
    self._names: dict[tuple[Cell, Pairs], str] = {}
    self._labels: dict[str, str] = {}  # by arm, the combination it was made from
    self._digests: dict[str, str] = {}
    self.excluded: dict[str, dict[str, None]] = {}  # sets that keep their order
    self.merged: dict[str, dict[str, None]] = {}

  def add(
    self, levels: Levels, name: str | Callable[[Cell], str], extra: Pairs = ()
  ) -> str:
    """Adds the arm of a combination; its name, or '' if the combination is excluded.

    A combination that requirements make equal to an earlier arm gets that arm's name.
    """
    cell = space_lib.resolve(self.space, levels)
    raw = space_lib.label(self.space, levels)
    name = name if isinstance(name, str) else name(cell)
    if pair := space_lib.violation(self.space, cell):
      self.excluded.setdefault(pair, {})[name] = None
      return ''
    earlier = self._names.get((cell, extra), '')
    if earlier:
      if raw != self._labels[earlier]:
        self.merged.setdefault(earlier, {})[name if name != earlier else raw] = None
      return earlier
    try:
      overrides, result = space_lib.apply(
        self.space, cell, extra, self._config, self._override
      )
    except errors.UserError as error:
      raise errors.UserError(f'arm {name}: {error}') from error
    digest = config_lib.digest(result)
    if digest in self._digests:
      raise errors.UserError(
        f'arms {self._digests[digest]} and {name} are the same model '
        f'({factors_lib.show(overrides) or "the config as it is"}); drop one, or '
        'declare a hierarchy of factors by requires='
      )
    if name in self.arms:
      raise errors.UserError(f'two different arms would be called {name!r}')
    self._digests[digest] = self._names[cell, extra] = name
    self._labels[name], self.configs[name] = raw, result
    self.arms[name] = Arm(name, cell.assignment, overrides, cell.inapplicable)
    return name

  def contrast(
    self, factor: str, level: str, arm: str, reference: str, kind: Kind, intact: Side
  ) -> None:
    """Compares two arms, if both exist and are not one and the same.

    Args:
      factor, level, arm, reference, kind: see `Contrast`.
      intact: the side with the intact level.
    """
    if arm and reference and arm != reference:
      sides = (arm,), (reference,)
      self.contrasts.append(
        Contrast(
          factor, level, arm, reference, *sides, component_side(kind, intact), kind
        )
      )

  def contrast_means(
    self, factor: Factor, level: str, pairs: Iterable[tuple[str, str]]
  ) -> None:
    """Compares means over the cells with the intact level and with another level.

    A pair that comes twice counts twice.
    """
    pairs = list(pairs)
    kind = factors_lib.change(factor, level, factor.levels[0].name)
    if len(set(pairs)) == 1:
      self.contrast(factor.name, level, *pairs[0], kind, 'arm')
    elif pairs:
      cells = f'(mean of {len(pairs)} cells)'
      self.contrasts.append(
        Contrast(
          factor.name,
          level,
          f'{factor.name}={factor.levels[0].name} {cells}',
          f'{factor.name}={level} {cells}',
          tuple(arm for arm, _ in pairs),
          tuple(reference for _, reference in pairs),
          component_side(kind, 'arm'),
          kind,
        )
      )

  def describe(self) -> tuple[list[str], list[str]]:
    """Exclusions, one text per pair of levels; notes on what requirements did."""
    excluded = [
      f'{pair}: dropped {shorten(names)}' for pair, names in self.excluded.items()
    ]
    notes = [
      f'{arm} stands for {shorten(names)} too' for arm, names in self.merged.items()
    ]
    for factor in self.space.factors:
      where = [a.name for a in self.arms.values() if factor.name in a.inapplicable]
      if where:
        notes.append(
          f'{factor.name} (requires {", ".join(factor.requires)}) is inapplicable and '
          f'set to {factor.levels[-1].name} in {shorten(where)}'
        )
    return excluded, notes + self.notes


def component_side(kind: Kind, intact: Side) -> Side:
  """The side of a contrast with the component; of a swap, the one that is intact."""
  return {'remove': 'reference', 'add': 'arm', 'swap': intact}[kind]  # type: ignore


def shorten(names: Iterable[str], limit: int = 4) -> str:
  """The first few of many names, and how many more there are."""
  names = list(names)
  more = f' and {len(names) - limit} more' if len(names) > limit else ''
  return '; '.join(names[:limit]) + more
