"""Two networks under one player: what CycleGAN's generators and discriminators are."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dlsteroids import types
from dlsteroids.tasks.lib import network


class Couple(NamedTuple):
  """Networks by name; each collection of their player holds a part for each.

  Attributes:
    networks: by name.
  """

  networks: Mapping[str, network.Network]

  def init(self, keys: Any, batch: types.Batch) -> types.Variables:
    parts = {n: net.player.init(keys, batch) for n, net in self.networks.items()}
    kinds = dict.fromkeys(kind for part in parts.values() for kind in part)
    return {
      kind: {name: part[kind] for name, part in parts.items() if kind in part}
      for kind in kinds
    }

  def own(self, variables: Mapping[str, Any], name: str) -> types.Variables:
    """One network's variables."""
    return {kind: part[name] for kind, part in variables.items() if name in part}

  def apply(
    self,
    variables: Mapping[str, Any],
    name: str,
    x: Any,
    keys: Any,
    hyper: types.Hyper,
    *,
    train: bool,
  ) -> tuple[Any, dict[str, Any]]:
    """The output of network `name`, and the player's variables after it."""
    own = self.own(variables, name)
    mutable = network.states(own) if train else []
    output, new = self.networks[name].apply(
      own, x, keys, hyper, train=train, mutable=mutable
    )
    changed = {kind: {**variables[kind], name: part} for kind, part in new.items()}
    return output, {**variables, **changed}
