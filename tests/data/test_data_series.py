"""Series: windows, splits by time, references without training, and CSV mistakes.

Oracles: plain loops, scikit-learn's ridge, statsmodels' tables, arithmetic by hand.
"""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import sklearn.linear_model

from dlsteroids.config import options as options_lib
from dlsteroids.data import co2, etth1, sunspots
from dlsteroids.data.lib import references, series
from dlsteroids.util import errors

GENERATOR = np.random.default_rng(0)
OPTIONS = {
  **options_lib.defaults(series.OPTIONS),
  **{'lookback': 5, 'horizon': 3, 'season': 2},
}
REAL = pathlib.Path(os.environ.get('DLSTEROIDS_DATA') or '/nowhere') / 'ett'


def make(rows=(60, 20, 30), targets=('b', 'a'), **options):
  """A Dataset of three random walks; with the table it is made of."""
  walks = GENERATOR.normal(size=(sum(rows) + 4, 3)).cumsum(0) * [1, 10, 0.1] + 7
  parts = series.Parts('toy', walks, ('a', 'b', 'c'), targets, rows, ('x', 'y', 'z'))
  return series.make(parts, {**OPTIONS, **options}), walks


def by_hand(walks, rows, i, lookback=5, horizon=3, targets=(1, 0)):
  """Window and target that start at row i, by loops."""
  known = walks[: rows[0]]
  mean, std = known.mean(0), np.sqrt(((known - known.mean(0)) ** 2).mean(0))
  scaled = (walks - mean) / std
  window = [scaled[i + step] for step in range(lookback)]
  target = [
    [scaled[i + lookback + step, column] for column in targets]
    for step in range(horizon)
  ]
  return np.array(window), np.array(target)


def test_windows_are_those_of_a_loop_on_numpy_and_jax():
  dataset, walks = make()
  arrays, indices = dataset.arrays, np.array([0, 7, 52, 102])
  raw = dataset.take(arrays, indices, train=False)
  for b, i in enumerate(indices):
    window, target = by_hand(walks, (60, 20, 30), i)
    np.testing.assert_allclose(raw['window'][b], window, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(raw['target'][b], target, rtol=1e-5, atol=1e-5)
  traced = jax.jit(lambda a, i: dataset.take(a, i, train=True))
  device = {name: jnp.asarray(array) for name, array in arrays.items()}
  for got in (
    traced(device, jnp.asarray(indices)),
    dataset.take(device, indices, train=True),
  ):
    for name in ('window', 'target'):
      assert got[name].dtype == jnp.float32 == raw[name].dtype
      np.testing.assert_array_equal(got[name], raw[name])
  assert dataset.transform(raw, None, train=True) is raw


def test_splits_are_stretches_of_time_whose_targets_do_not_overlap():
  dataset, _ = make()
  parts = dataset.split(0)
  assert dataset.arrays['series'].shape == (110, 3)  # further rows are not used
  spans = {'train': (0, 60), 'validation': (60, 80), 'test': (80, 110)}
  for name, (begin, end) in spans.items():
    assert parts[name].dtype == np.int32
    rows = parts[name][:, None] + 5 + np.arange(3)  # of the targets
    assert (rows.min(), rows.max()) == (begin or 5, end - 1)
    np.testing.assert_array_equal(np.diff(parts[name]), 1)
    np.testing.assert_array_equal(dataset.split(7)[name], parts[name])


def test_stride_and_examples_thin_training_only():
  full, _ = make()
  thin, _ = make(stride=4)
  np.testing.assert_array_equal(thin.split(0)['train'], np.arange(0, 53, 4))
  some, few = make(examples=30)[0], make(examples=10)[0]
  assert len(few.split(1)['train']) == 10
  assert set(few.split(1)['train']) < set(some.split(1)['train'])
  assert set(few.split(1)['train']) != set(few.split(2)['train'])
  for dataset in (thin, some):
    for name in ('validation', 'test'):
      np.testing.assert_array_equal(dataset.split(1)[name], full.split(1)[name])


def test_the_digest_tells_what_shapes_the_examples():
  table_ = series.Parts(
    'toy', GENERATOR.normal(size=(90, 2)), ('a', 'b'), ('a',), (50, 20, 20), ('',) * 3
  )
  same = series.make(table_, OPTIONS).digest
  assert series.make(table_, {**OPTIONS, 'season': 0}).digest == same
  others = [{'lookback': 4}, {'horizon': 2}, {'stride': 2}, {'examples': 9}]
  digests = {series.make(table_, {**OPTIONS, **other}).digest for other in others}
  digests.add(series.make(table_._replace(targets=('b',)), OPTIONS).digest)
  digests.add(series.make(table_._replace(sizes=(51, 19, 20)), OPTIONS).digest)
  assert len(digests | {same}) == 7


# References


def forecast_errors(forecast, targets, std):
  """The four scores of loops over windows, steps and targets."""
  found = {'mse': [], 'mae': [], 'mse_original': [], 'mae_original': []}
  for guess, truth in zip(forecast, targets, strict=True):
    for step in range(truth.shape[0]):
      for d in range(truth.shape[1]):
        error = guess[step][d] - truth[step][d]
        found['mse'].append(error**2)
        found['mae'].append(abs(error))
        found['mse_original'].append((error * std[d]) ** 2)
        found['mae_original'].append(abs(error * std[d]))
  return {f'test/{name}': np.mean(values) for name, values in found.items()}


@pytest.mark.parametrize('season', [1, 2, 9])  # 9: longer than the window
def test_naive_references_are_those_of_loops(season):
  dataset, _ = make(season=season)
  scaled, starts = dataset.arrays['series'].astype(float), dataset.split(0)['test']
  columns, std = dataset.facts['columns'], dataset.facts['std']
  assert columns == [1, 0]
  truth = [[scaled[i + 5 + h][columns] for h in range(3)] for i in starts]
  last = [[scaled[i + 4][columns] for _ in range(3)] for i in starts]
  periods = []
  for i in starts:
    guess = []
    for h in range(3):
      row = i + 5 + h
      while row >= i + 5:  # not known yet
        row -= season
      guess.append(scaled[row][columns])
    periods.append(guess)
  for name, guess in (('persistence', last), ('seasonal naive', periods)):
    expected = forecast_errors(guess, np.array(truth), std)
    assert dataset.references[name] == pytest.approx(expected, rel=1e-9)
  if season == 1:
    assert dataset.references['seasonal naive'] == dataset.references['persistence']


def test_ridge_is_scikit_learns_with_the_penalty_best_on_validation(monkeypatch):
  monkeypatch.setattr(references, 'CHUNK', 500)  # several stretches
  dataset, _ = make(rows=(150, 40, 40))
  raw = {
    name: dataset.take(dataset.arrays, rows, train=False)
    for name, rows in dataset.split(0).items()
  }
  flat = {
    name: [part[key].reshape(len(part[key]), -1).astype(float) for key in part]
    for name, part in raw.items()
  }
  fits = []
  for penalty in references.PENALTIES:
    count = len(flat['train'][0])
    model = sklearn.linear_model.Ridge(alpha=penalty * count).fit(*flat['train'])
    x, y = flat['validation']
    fits.append((np.mean((model.predict(x) - y) ** 2), penalty, model))
  _, _, model = min(fits, key=lambda fit: fit[0])
  guess = model.predict(flat['test'][0]).reshape(raw['test']['target'].shape)
  expected = forecast_errors(
    guess, raw['test']['target'].astype(float), dataset.facts['std']
  )
  assert dataset.references['linear (ridge)'] == pytest.approx(expected, rel=1e-6)


def test_ridge_finds_a_linear_law():
  t = np.arange(400.0)
  walks = np.stack([np.sin(t / 5), np.cos(t / 5)], axis=1)
  parts = series.Parts('law', walks, ('s', 'c'), ('s',), (200, 100, 100), ('',) * 3)
  dataset = series.make(parts, OPTIONS)
  assert dataset.references['linear (ridge)']['test/mse'] < 1e-6
  assert dataset.references['persistence']['test/mse'] > 0.1


def test_references_that_do_not_apply_are_left_out_and_said(monkeypatch):
  monkeypatch.setattr(references, 'INPUTS', 14)
  dataset, _ = make(season=0)
  assert list(dataset.references) == ['persistence']
  [note] = dataset.facts['treatments']
  assert 'linear (ridge) is left out: a window has 15 numbers' in note


# The embedded and the published


def test_sunspots_are_statsmodels():
  import statsmodels.api

  dataset = sunspots.load({})
  raw = statsmodels.api.datasets.sunspots.load_pandas().data['SUNACTIVITY'].to_numpy()
  facts = dataset.facts
  own = dataset.arrays['series'][:, 0] * facts['std'][0] + facts['mean'][0]
  np.testing.assert_allclose(own, raw, atol=1e-4)
  assert facts['mean'][0] == pytest.approx(raw[:185].mean())
  assert (facts['start'], facts['end'], facts['step']) == ('1700', '2008', '1 year')
  assert facts['rows'] == {'train': 185, 'validation': 62, 'test': 62}


def test_co2_gaps_are_interpolated_and_said():
  import statsmodels.api

  dataset = co2.load({})
  raw = statsmodels.api.datasets.co2.load_pandas().data['co2']
  facts = dataset.facts
  own = dataset.arrays['series'][:, 0] * facts['std'][0] + facts['mean'][0]
  np.testing.assert_allclose(own, raw.interpolate('linear').to_numpy(), atol=1e-3)
  assert '59 of 2,284 weeks' in facts['treatments'][0]
  assert raw.isna().to_numpy().nonzero()[0].max() < facts['rows']['train']
  assert (facts['start'], facts['end']) == ('1958-03-29', '2001-12-29')


def test_other_options_are_refused():
  with pytest.raises(errors.UserError, match=r"lookbak \(did you mean 'lookback'"):
    sunspots.load({'lookbak': 3})


@pytest.fixture
def hourly(tmp_path):
  """A file in the format of ETTh1."""
  times = pd.date_range('2016-07-01', periods=14_500, freq='h')
  values = GENERATOR.normal(size=(14_500, 2)).round(3)
  frame = pd.DataFrame(values, columns=['HUFL', 'OT'])
  frame.insert(0, 'date', times.strftime('%Y-%m-%d %H:%M:%S'))
  frame.to_csv(tmp_path / 'ETTh1.csv', index=False)
  return tmp_path


def test_own_file_in_the_format_of_etth1_is_unverified(hourly):
  dataset = etth1.load({'path': str(hourly)})
  assert dataset.name == 'ETTh1-unverified'
  assert dataset.facts['targets'] == ['OT']
  assert dataset.facts['step'] == '1 hour'
  assert dataset.facts['end'] == '2018-02-20 23:00:00'
  both = etth1.load({'path': str(hourly / 'ETTh1.csv'), 'targets': ''})
  assert both.facts['targets'] == ['HUFL', 'OT']
  assert both.digest != dataset.digest
  with pytest.raises(errors.UserError, match=r"no column 'ot'.*HUFL, OT"):
    etth1.load({'path': str(hourly), 'targets': 'ot'})
  lines = (hourly / 'ETTh1.csv').read_text().splitlines()[:2000]
  (hourly / 'ETTh1.csv').write_text('\n'.join(lines))
  with pytest.raises(errors.UserError, match='1,999 rows; the usual split needs'):
    etth1.load({'path': str(hourly)})


@pytest.mark.skipif(
  not REAL.is_dir(), reason='needs ett/ETTh1.csv below $DLSTEROIDS_DATA'
)
def test_real_etth1():
  dataset = etth1.load({'download': False})
  assert dataset.name == 'ETTh1'
  # Informer's loader has 8640 - 96 - 24 + 1 and twice 2880 - 24 + 1 windows.
  sizes = [len(part) for part in dataset.split(0).values()]
  assert sizes == [8521, 2857, 2857]
  assert dataset.facts['rows'] == {'train': 8640, 'validation': 2880, 'test': 2880}
  frame = pd.read_csv(REAL / 'ETTh1.csv')
  assert dataset.facts['mean'] == pytest.approx([frame['OT'][:8640].mean()])
  scaled = (frame['OT'] - frame['OT'][:8640].mean()) / frame['OT'][:8640].std(ddof=0)
  np.testing.assert_allclose(
    dataset.arrays['series'][:, -1], scaled[:14_400], rtol=1e-4, atol=1e-5
  )
