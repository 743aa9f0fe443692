"""A worker of test_devices: what programs on eight host devices train, as JSON."""

import hashlib
import json

import jax
import numpy as np

from tests import tiny

MLP = {'train.steps': 6, 'train.batch_size': 10}
CNN = {**tiny.CNN, **MLP, 'train.evaluations': 1}
SEEDS = range(5)


def digest(result, at):
  """Of everything that a member leaves but its wall time."""
  record, arrays, variables = tiny.bits(result, at)
  found = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
  for leaf in jax.tree.leaves((arrays, variables)):
    found.update(np.asarray(leaf).tobytes())
  return found.hexdigest()


def members(devices):
  """Digests by seed of five members, two on each device, batch after batch."""
  bench = tiny.make_bench(tiny.make_config(MLP), 'vmap', 2, devices)
  found, size = [], bench.program.layout.members
  for start in range(0, len(SEEDS), size):
    result = bench.train([bench.slot(seed) for seed in SEEDS[start : start + size]])
    found += [digest(result, at) for at in sorted(result.records)]
  return found


def shared(groups, data):
  """Values at the end by seed: two members on `groups` of `data` devices."""
  bench = tiny.make_bench(
    tiny.make_config(CNN), 'map', 1, groups * data, data=data, compiled=False
  )
  result = bench.train([bench.slot(seed) for seed in (0, 1)])
  return [result.records[at]['values'] for at in sorted(result.records)]


def main():
  found = {'devices': jax.device_count()}
  found['members'] = {devices: members(devices) for devices in (1, 8)}
  jax.config.update('jax_disable_most_optimizations', True)
  layouts = ((2, 1), (2, 4), (4, 2), (3, 2))  # three groups of two leave two idle
  found['shared'] = [shared(*layout) for layout in layouts]
  print(json.dumps(found))


if __name__ == '__main__':
  main()
