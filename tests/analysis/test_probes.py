"""Probes against numbers counted by hand."""

import numpy as np
import pytest

from dlsteroids.analysis import probes


def test_mistakes_are_listed_by_share_of_their_class():
  counts = np.array([[90, 10, 0], [8, 2, 0], [1, 0, 3]])
  # 8 of 10, 1 of 4, 10 of 100: not in the order of counts
  listed = probes.mistakes(counts, 9)
  assert [cell[:2] for cell in listed] == [(1, 0), (2, 0), (0, 1)]
  assert [cell[2] for cell in listed] == pytest.approx([0.8, 0.25, 0.1])
  assert probes.mistakes(counts, 1) == listed[:1]


def test_a_class_without_examples_has_no_mistakes():
  assert probes.mistakes(np.diag([5, 0]), 3) == []
