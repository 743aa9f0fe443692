"""study.json as a typed study: read back equal, its parts typed."""

import json
import pathlib

import pytest

from dlsteroids.study import study as study_lib

RESULTS = pathlib.Path(__file__).parents[2] / 'experiments' / 'results'
STORED = sorted(RESULTS.glob('*/study.json'))


@pytest.mark.parametrize('path', STORED, ids=lambda path: path.parent.name)
def test_a_study_reads_back_from_its_own_json(path):
  study = study_lib.from_json(json.loads(path.read_text()))
  text = json.dumps(study_lib.to_json(study))
  again = study_lib.from_json(json.loads(text))
  assert json.dumps(study_lib.to_json(again)) == text
  assert study.arm(study.arms[-1].name) is study.arms[-1]
  assert study.metric.column == f'test/{study.metric.name}'
  assert {study.conditions[0].regime} == {study.regime}
  with pytest.raises(KeyError):
    study.arm('no such arm')
