"""Kills by the dozen, full disks, signals: `tests.fixtures.faults`, which see."""

import pytest

from tests.fixtures import faults


@pytest.mark.slow
def test_a_study_that_is_killed_in_every_phase_ends_as_if_it_were_not(tmp_path):
  text = faults.run(12, ['cnn'], tmp_path)
  assert '12 kills' in text
