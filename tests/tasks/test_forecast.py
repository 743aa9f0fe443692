"""Forecasting against numpy: errors, anchors, fallbacks, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.config import options as options_lib
from dlsteroids.tasks import forecast
from dlsteroids.tasks.lib import frames
from dlsteroids.train import member as member_lib
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases
from tests.fixtures import recurrent_oracle as oracle
from tests.fixtures import tiny

pytestmark = pytest.mark.usefixtures('quick')

L, H, ROWS, COLUMNS = 8, 3, 240, (1, 2)
MEAN, STD = np.array([5.0, -1.0]), np.array([2.0, 0.5])  # of the targets
STARTS = {'train': (0, 150), 'validation': (150, 181), 'test': (181, ROWS - L - H + 1)}
SIZES = {
  'mlp': {'model.hidden': (9,)},
  'recurrent': {'model.hidden': 7},
}


def make_series():
  """Three sines with noise, standardised; the last two are to be forecast."""
  t = np.arange(ROWS)[:, None]
  noise = np.random.default_rng(0).normal(0, 0.05, (ROWS, 3))
  values = 1.4 * np.sin(2 * np.pi * t / [12, 20, 31] + [0, 1, 2]) + noise
  return values.astype(np.float32)


def make_dataset(**changes):
  def split(seed):
    return {name: np.arange(*ends, dtype=np.int32) for name, ends in STARTS.items()}

  def take(arrays, indices, *, train):
    rows = indices[:, None] + np.arange(L + H)
    found = arrays['series'][rows]
    return {'window': found[:, :L], 'target': found[:, L:, np.array(COLUMNS)]}

  dataset = types.Dataset(
    'waves',
    {'series': make_series()},
    split,
    lambda batch, keys, *, train: batch,
    'digest',
    take=take,
    facts={
      'targets': ['b', 'c'],
      'columns': list(COLUMNS),
      'mean': MEAN.tolist(),
      'std': STD.tolist(),
      'horizon': H,
      'lookback': L,
      'unit': 'm',
    },
  )
  return dataset._replace(**changes)


def make_config(model='mlp', changes=None):
  config = config_lib.resolve(config_lib.base(model, 'csv_file', 'forecast'))
  own = {
    **SIZES.get(model, {}),
    'optimizer.name': 'adam',
    'optimizer.learning_rate': 0.02,
    'train.steps': 60,
    'train.batch_size': 16,
    'train.evaluations': 2,
    'train.eval_batch': 20,
  }
  return config_lib.override(config, {**own, **(changes or {})}.items())


def windows(name):
  series = make_series().astype(np.float64)
  rows = range(*STARTS[name])
  x = np.stack([series[i : i + L] for i in rows])
  return x, np.stack([series[i + L : i + L + H, list(COLUMNS)] for i in rows])


def predict(config, params, x):
  """What a trained network says, by numpy: [N, H, D]."""
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  if config['model']['name'] == 'mlp':
    dense = params['dense0']
    h = np.maximum(x.reshape(len(x), -1) @ dense['kernel'] + dense['bias'], 0)
    flat = h @ params['output']['kernel'] + params['output']['bias']
  else:
    flat, _ = oracle.run(config['model'], params, x, every=False)
  answer = flat.reshape(len(x), H, len(COLUMNS))
  if config['task']['anchor'] == 'last':
    answer = answer + x[:, -1:, list(COLUMNS)]
  return answer


def measure(error):
  """Every metric of errors [N, H, D]."""
  return {
    'mse': (error**2).mean(),
    'mae': np.abs(error).mean(),
    'mse_original': ((error * STD) ** 2).mean(),
    'mae_original': np.abs(error * STD).mean(),
    'mse_by_step': (error**2).mean((0, 2)),
    'mae_by_step': np.abs(error).mean((0, 2)),
    'mse_rows': (error**2).mean((1, 2)),
    'mae_rows': np.abs(error).mean((1, 2)),
  }


@pytest.mark.parametrize('anchor', ['none', 'last'])
@pytest.mark.parametrize('model', SIZES)
def test_errors_are_numpys_and_better_than_the_mean(model, anchor):
  config = make_config(model, {'task.anchor': anchor})
  bench = tiny.make_bench(config, 'vmap', 2, dataset=make_dataset())
  result = bench.train([bench.slot(0), bench.slot(1)], deciding='mse')
  worst = {name: m.fallback for name, m in bench.program.member.task.metrics.items()}
  for at in range(2):
    params = tiny.pick(result.variables['model']['params'], at)
    values, arrays = result.records[at]['values'], result.arrays[at]
    x, target = windows('test')
    expected = measure(predict(config, params, x) - target)
    for name in ('mse', 'mae', 'mse_original', 'mae_original'):
      found = values[f'final/test/{name}']
      assert found == pytest.approx(expected[name], rel=1e-4), name
      assert found < worst[name]
    assert result.records[at]['best_step'] in (30, 60)
    for name in ('mse_by_step', 'mae_by_step', 'mse_rows', 'mae_rows'):
      assert arrays[f'test/{name}'].shape == expected[name].shape
      if result.records[at]['best_step'] == 60:
        np.testing.assert_allclose(
          arrays[f'test/{name}'], expected[name], rtol=1e-3, atol=1e-6
        )
    # The mean over the horizon, whatever step it was.
    by_step = arrays['test/mse_by_step'].mean()
    assert values['test/mse'] == pytest.approx(by_step, rel=1e-4)
    x, target = windows('validation')
    error = predict(config, params, x) - target
    curve = {tuple(row[:3]): row[3] for row in result.records[at]['curves']}
    found = curve[60, 'validation', 'mse']
    assert found == pytest.approx((error**2).mean(), rel=1e-4)


def test_the_fallback_is_the_error_of_the_training_mean():
  _, known = windows('train')
  _, target = windows('test')
  expected = measure(target - known.mean((0, 1)))
  task = forecast.build(make_config(), make_dataset())
  for name, value in expected.items():
    if np.ndim(value) == 0:
      assert task.metrics[name].fallback == pytest.approx(value, rel=1e-5)
      assert task.metrics[name].better == 'lower'
    else:
      assert task.metrics[name].better == ''
  assert task.metrics.keys() == expected.keys()


@pytest.mark.parametrize('kind', ['mse', 'mae'])
@pytest.mark.parametrize('anchor', ['none', 'last'])
def test_the_loss_is_numpys(kind, anchor):
  config = make_config('recurrent', {'task.loss': kind, 'task.anchor': anchor})
  dataset = make_dataset()
  member = member_lib.make(config, dataset)
  slot = member_lib.slot(config, dataset, 2)
  state = cases.jit(member.init)(slot, dataset.arrays)
  batch = dataset.take(dataset.arrays, np.arange(5), train=True)
  value, (_, scalars) = member.task.turns[0].loss(
    state['variables'], batch, rng.Keys(rng.root(0)), slot['hyper']
  )
  params = state['variables']['model']['params']
  x, target = (part[:5] for part in windows('train'))
  expected = measure(predict(config, params, x) - target)
  for name, found in scalars.items():
    assert float(found) == pytest.approx(expected[name], rel=1e-5)
  assert float(value) == pytest.approx(expected[kind], rel=1e-5)


def test_an_anchored_network_of_zeros_says_the_last_value():
  config = make_config('mlp', {'task.anchor': 'last', 'model.init': 'normal'})
  dataset = make_dataset()
  task = forecast.build(config, dataset)
  batch = dataset.take(dataset.arrays, np.arange(4), train=False)
  hyper = {path: jnp.float32(v) for path, v in config_lib.hyper(config).items()}
  keys = rng.Keys(rng.root(0))
  params = jax.tree.map(
    jnp.zeros_like, task.players['model'].init(keys, batch)['params']
  )
  out = task.outputs(
    {'model': {'params': params}}, {**batch, 'mask': np.ones(4)}, keys, hyper
  )
  expected = batch['window'][:, -1:, list(COLUMNS)] - batch['target']
  np.testing.assert_allclose(out['error'], expected, atol=1e-6)


def test_show_is_on_the_original_scale():
  config = make_config('recurrent')
  dataset = make_dataset()
  member = member_lib.make(config, dataset)
  slot = member_lib.slot(config, dataset, 2)
  state = cases.jit(member.init)(slot, dataset.arrays)
  batch = dataset.take(dataset.arrays, np.arange(*STARTS['test'])[:4], train=False)
  found = cases.jit(member.task.show)(
    state['variables'], batch, rng.Keys(rng.root(0)), slot['hyper']
  )
  x, target = (part[:4] for part in windows('test'))
  answer = predict(config, state['variables']['model']['params'], x)
  expected = {
    'forecast/window': x[..., list(COLUMNS)] * STD + MEAN,
    'forecast/target': target * STD + MEAN,
    'forecast/mean': answer * STD + MEAN,
  }
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4)
  assert found['lag/norms'].shape == (L,)
  assert found['trace/hidden'].shape == (L, 7)
  task = forecast.build(make_config('mlp'), dataset)
  names = jax.eval_shape(
    task.show,
    {'model': jax.eval_shape(
      lambda: task.players['model'].init(rng.Keys(rng.root(0)), batch)
    )},
    batch, rng.Keys(rng.root(0)),
    slot['hyper'] | {'model.dropout_input': 0.0, 'model.slope': 0.01},
  )  # fmt: skip
  assert names.keys() == expected.keys()


@pytest.mark.parametrize('model', ['cnn', 'alexnet'])
def test_image_models_are_one_line(model):
  with pytest.raises(errors.UserError) as caught:
    member_lib.make(make_config(model), make_dataset())
  assert str(caught.value) == (
    f'model {model} needs images [H, W, C]; the data set has examples of shape [8, 3]'
  )


@pytest.mark.parametrize(
  ('changes', 'facts', 'expected'),
  [
    ({'task.loss': 'mes'}, {}, "config.task.loss: unknown 'mes' (did you mean 'mse'?)"),
    ({'task.anchor': 'mean'}, {}, "config.task.anchor: unknown 'mean'"),
    (
      {'task.anchor': 'last'},
      {'columns': []},
      'config.task.anchor=last: the targets ',
    ),
    (
      {'train.batch_size': 151},
      {},
      'config.train.batch_size=151 exceeds the 150 training examples of waves',
    ),
  ],
)
def test_mistakes_are_one_line(changes, facts, expected):
  dataset = make_dataset()
  dataset = dataset._replace(facts={**dataset.facts, **facts})
  with pytest.raises(errors.UserError) as caught:
    member_lib.make(make_config(changes=changes), dataset)
  assert str(caught.value).startswith(expected)
  assert '\n' not in str(caught.value)


def test_images_are_one_line():
  with pytest.raises(errors.UserError) as caught:
    forecast.build(make_config(), tiny.load(tiny.make_config()))
  assert str(caught.value) == (
    "task forecast needs windows and targets; data set 'digits' has image, label"
  )


def test_targets_that_are_no_inputs():
  """The adding problem: what is predicted is no column of the window."""
  config = config_lib.resolve(config_lib.base('recurrent', 'adding', 'forecast'))
  changes = {
    'data.length': 6, 'data.train_size': 32, 'data.validation_size': 8,
    'data.test_size': 8, 'model.hidden': 4, 'train.batch_size': 8,
  }  # fmt: skip
  config = config_lib.override(config, changes.items())
  dataset = config_lib.find('data', 'adding').load(config['data'])
  task = forecast.build(config, dataset)
  rows = dataset.split(0)

  def total(name):
    value, mark = (dataset.arrays[k][rows[name]] for k in ('value', 'mark'))
    return np.take_along_axis(value, mark, 1).astype(np.float64).sum(1)

  expected = ((total('test') - total('train').mean()) ** 2).mean()
  assert task.metrics['mse'].fallback == pytest.approx(expected, rel=1e-5)
  assert task.metrics['mse_original'].fallback == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('anchor', ['none', 'last', 'season'])
@pytest.mark.parametrize('normalise', ['none', 'window'])
@pytest.mark.parametrize('channels', ['together', 'apart'])
def test_a_frame_is_undone_by_hand(anchor, normalise, channels):
  """Oracle: the forecast of every series of every window, one by one in numpy."""
  lookback, horizon, columns, season = 6, 5, [2, 0], 3
  facts = {
    'lookback': lookback,
    'horizon': horizon,
    'targets': ['a', 'b'],
    'columns': columns,
    'season': season,
  }
  options = {'anchor': anchor, 'normalise': normalise, 'channels': channels}
  frame = frames.make(options, facts, 3)
  rng = np.random.default_rng(0)
  x = rng.normal(2, 3, (4, lookback, 3))
  seen = np.asarray(frame.enter(x))
  rows = 8 if channels == 'apart' else 4
  assert seen.shape == (rows, *frame.shape)
  answer = rng.normal(size=(rows, frame.outputs))
  found = np.asarray(frame.leave(answer, x))
  for b in range(4):
    for d, column in enumerate(columns):
      series = x[b, :, column]
      mean, scale = 0.0, 1.0
      if normalise == 'window':
        mean, scale = series.mean(), np.sqrt(series.var() + frames.SMALL)
      mine = (series - mean) / scale
      if channels == 'apart':
        np.testing.assert_allclose(seen[2 * b + d, :, 0], mine, rtol=1e-5, atol=1e-6)
        own = answer[2 * b + d]
      else:
        np.testing.assert_allclose(seen[b, :, column], mine, rtol=1e-5, atol=1e-6)
        own = answer[b].reshape(horizon, 2)[:, d]
      for h in range(horizon):
        base = {'none': mean, 'last': series[-1]}.get(anchor)
        base = series[lookback - season + h % season] if base is None else base
        wanted = own[h] * scale + base
        np.testing.assert_allclose(found[b, h, d], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ('options', 'facts', 'wanted'),
  [
    ({'anchor': 'first'}, {}, 'season'),
    ({'anchor': 'last'}, {'columns': []}, 'not among the inputs'),
    ({'channels': 'apart'}, {'columns': []}, 'not among the inputs'),
    ({'normalise': 'window'}, {'columns': []}, 'not among the inputs'),
    ({'anchor': 'season'}, {'season': 0}, 'a season of 0 rows'),
    ({'anchor': 'season'}, {'season': 9}, 'a window shows 4'),
  ],
)
def test_a_frame_that_does_not_fit_is_one_line(options, facts, wanted):
  known = {'lookback': 4, 'horizon': 2, 'targets': ['a'], 'columns': [0], 'season': 2}
  with pytest.raises(errors.UserError, match=wanted) as caught:
    frames.make(
      {**options_lib.defaults(frames.OPTIONS), **options}, {**known, **facts}, 1
    )
  assert '\n' not in str(caught.value)
