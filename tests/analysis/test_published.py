"""The published studies still give their effects: pages against today's analysis.

Oracle: effects.csv, written when the pages were made. Definitions that changed since
are left out: a run worse than the fallback counts as the fallback (numbers of the
deciding metric where there is one), a factorial's verdicts are on simple effects, the
interval of the probability of improvement.
"""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest

from dlsteroids.analysis import effects
from dlsteroids.study import study as study_lib

PAGES = sorted(
  path.parent
  for path in pathlib.Path(__file__).parents[2].glob('experiments/results/*/study.json')
)
NAMES = ['arm', 'factor', 'reference', 'metric', 'tuned', 'regime', 'ci_kind']
NUMBERS = [
  *('n', 'n_diverged_arm', 'n_diverged_reference', 'reference_mean', 'arm_mean'),
  *('delta', 'ci_low', 'ci_high', 'p', 'prob_improvement'),
]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_a_published_study_gives_its_effects(page):
  study = study_lib.from_json(json.loads((page / 'study.json').read_text()))
  runs = pd.read_csv(page / 'runs.csv')
  if 'regime' in runs:
    whole = (runs['budget'] == 1) & (runs['size'] == 1)
    runs = runs[whole & (runs['regime'] == study.regime)]
  published = pd.read_csv(page / 'effects.csv')
  if 'effect' in published:
    simple = published['effect'] == effects.SIMPLE
    published = published[~simple].reset_index(drop=True)
  table = effects.measure(study, runs)
  table = table[table['effect'] != effects.SIMPLE].reset_index(drop=True)
  assert len(table) == len(published) > 0
  for name in NAMES:
    assert table[name].astype(str).tolist() == published[name].astype(str).tolist()
  same = (table['n_bounded_arm'] + table['n_bounded_reference'] == 0).to_numpy()
  assert same.any()
  for name in NUMBERS:
    one, two = (frame[name].to_numpy(float)[same] for frame in (table, published))
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12, err_msg=name)
  if study.design != 'factorial' and same.all():
    np.testing.assert_array_equal(table['p_holm'], published['p_holm'])
    verdicts = published['verdict'].astype(object).fillna('').tolist()
    assert table['verdict'].tolist() == verdicts
