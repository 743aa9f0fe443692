"""Eight forced host devices, in a process of their own; oracle: one or two of them."""

import json
import os
import subprocess
import sys

import pytest

from tests.fixtures import studies_on_disk as disk


@pytest.fixture(scope='module')
def found():
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '8'}
  done = subprocess.run(
    [sys.executable, '-m', 'tests.fixtures.eight_devices'],
    cwd=disk.ROOT, env=environment, capture_output=True, text=True, check=False,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout.splitlines()[-1])
  assert found['devices'] == 8
  return found


@pytest.mark.parametrize('size', ['members', 'wide'])
def test_members_are_equal_to_the_bit_on_one_device_and_eight(found, size):
  one, eight = found[size].values()
  assert len(set(one)) == 5
  assert eight == one


def test_members_and_their_batches_over_devices_agree_with_members_alone(found):
  """2 x 4, 4 x 2 with two groups of padding, 3 x 2; batches of 10 in shares of 3."""
  alone, *others = found['shared']
  for other in others:
    for values, expected in zip(other, alone, strict=True):
      assert values == pytest.approx(expected, rel=1e-3, abs=1e-4)
  assert alone[0] != alone[1]
