"""Every shipped model with every data set and every task: it trains, or says one line.

Tables are complete by comparison with what is shipped. Tracing computes nothing; one
pair of each task takes a real step.
"""

import functools
import math
import wave

import jax
import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.train import member as member_lib
from dlsteroids.util import errors
from tests.data import test_data_cifar, test_data_folder
from tests.fixtures import game_cases, idx_fixture, model_cases

pytestmark = pytest.mark.usefixtures('quick')

PROSE = ''.join(np.random.default_rng(0).choice(list('abcd \n'), 600)).encode()
TEXT = {'window': 8, 'eval_window': 8, 'context': 4}
SERIES = {'lookback': 6, 'horizon': 2}
SIZES = {'train_size': 20, 'validation_size': 4, 'test_size': 4}
IMAGES = ('classify', 'gan')
# What each data set is for, and options that make it small.
DATA = {
  'adding': (('forecast',), {'length': 6, **SIZES}),
  'arrays': (IMAGES, {}),
  'cifar10': (IMAGES, {}),
  'co2': (('forecast',), SERIES),
  'colour': (('cyclegan',), {}),
  'copy': (('language',), {'lag': 2, 'length': 3, **SIZES}),
  'csv_file': (('forecast',), SERIES),
  'digits': (IMAGES, {'examples': 40}),
  'digits_unpaired': (('cyclegan',), {'examples': 40}),
  'etth1': (('forecast',), {**SERIES, 'examples': 40}),
  'fashion_mnist': (IMAGES, {}),
  'image_folder': (IMAGES, {'size': 20}),
  'image_stream': (('classify',), {'size': 20, 'resize': 20}),
  'mnist': (IMAGES, {}),
  'python_docs': (('language',), {**TEXT, 'examples': 500, 'test': 0.002}),
  'speech': (('classify',), {'bands': 20}),
  'sunspots': (('forecast',), SERIES),
  'text_file': (('language',), TEXT),
  'tinyshakespeare': (('language',), TEXT),
  'unpaired': (('cyclegan',), {'size': 20}),
}
MODELS = {  # and the tasks that each can serve
  'alexnet': ('classify',),
  'attention': ('classify', 'forecast', 'language'),
  'cnn': ('classify',),
  'cyclegan': ('cyclegan',),
  'dcgan': ('gan',),
  'dense_gan': ('gan',),
  'mlp': ('classify', 'forecast'),
  'recurrent': ('classify', 'forecast', 'language'),
  'window': ('classify', 'forecast', 'language'),
}
TINY = {**model_cases.TINY, **game_cases.TINY}
# Columns as of 'arrays', by libraries that may not be there: test_data_columns.
ELSEWHERE = {'hf', 'tfds'}
SMALL = {('alexnet', data) for data in ('digits', 'fashion_mnist', 'mnist')}
SMALL |= {('dcgan', data) for data in ('fashion_mnist', 'mnist')}  # here 5 x 4
REAL = [
  ('cnn', 'image_folder', 'classify'),
  ('cnn', 'image_stream', 'classify'),
  ('recurrent', 'speech', 'classify'),
  ('mlp', 'csv_file', 'forecast'),
  ('recurrent', 'adding', 'forecast'),
  ('recurrent', 'copy', 'language'),
  ('recurrent', 'text_file', 'language'),
  ('attention', 'text_file', 'language'),
  ('dense_gan', 'mnist', 'gan'),
  ('cyclegan', 'unpaired', 'cyclegan'),  # slow; its configs' smokes do the same
]
DECIDING = {
  'classify': 'accuracy',
  'cyclegan': 'cycle',
  'forecast': 'mse',
  'gan': 'classifier_fid',
  'language': 'nats',
}


def write_csv(path, rows):
  """Hourly rows of six columns and the oil temperature, as ETTh1 has them."""
  values = np.random.default_rng(0).normal(size=(rows, 7)).cumsum(0)
  times = np.datetime64('2016-07-01T00') + np.arange(rows).astype('timedelta64[h]')
  lines = ['date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT']
  for time, row in zip(times, values):
    stamp = str(time).replace('T', ' ') + ':00:00'
    lines.append(stamp + ''.join(f',{v:.4f}' for v in row))
  path.write_text('\n'.join(lines) + '\n')


def write_speech(folder):
  """Recordings of 0.3 to 0.4 s: ten digits, two voices, the first for testing."""
  generator = np.random.default_rng(0)
  folder.mkdir()
  for digit in range(10):
    for index in (0, 5, 6):
      count = int(generator.integers(2400, 3200))
      sound = generator.normal(0, 3000, count).astype('<i2')
      with wave.open(str(folder / f'{digit}_ann_{index}.wav'), 'wb') as file:
        file.setparams((1, 2, 8000, count, 'NONE', ''))
        file.writeframes(sound.tobytes())


@pytest.fixture(scope='session')
def places(tmp_path_factory):
  """Where the toy files of each data set lie that reads some."""
  root = tmp_path_factory.mktemp('data')
  found = {name: root / name for name in ('mnist', 'fashion_mnist', 'cifar10')}
  for name in ('mnist', 'fashion_mnist'):
    found[name].mkdir()
    idx_fixture.make(found[name], suffix='')
  test_data_cifar.make_cifar(found['cifar10'])
  found['colour'] = found['cifar10']
  found['unpaired'] = root / 'fruit'
  for side, count in (('A', 20), ('B', 12)):
    for index in range(count):
      test_data_folder.save(found['unpaired'] / f'train{side}' / f'{index}.png')
  found['image_folder'] = root / 'pets'
  test_data_folder.make(found['image_folder'])
  found['image_stream'] = found['image_folder']
  for name, file in (('text_file', 'own.txt'), ('tinyshakespeare', 'input.txt')):
    found[name] = root / file
    found[name].write_bytes(PROSE)
  found['csv_file'], found['etth1'] = root / 'own.csv', root / 'ETTh1.csv'
  write_csv(found['csv_file'], 90)
  write_csv(found['etth1'], 20 * 720)
  found['speech'] = root / 'recordings'
  write_speech(found['speech'])
  found['arrays'] = root / 'own.npz'
  pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 20, 3), np.uint8)
  np.savez(found['arrays'], image=pixels, label=np.arange(30) % 3)
  return {name: str(path) for name, path in found.items()}


def make_config(model, data, task, places):
  config = config_lib.resolve(config_lib.base(model, data, task))
  changes = {f'model.{k}': v for k, v in TINY[model].items()}
  changes |= {f'data.{k}': v for k, v in DATA[data][1].items()}
  if task == 'gan':
    changes['task.features'] = 'tests.fixtures.toy_features.make'
    changes |= {'data.range': 'tanh'} if 'range' in config['data'] else {}
  changes |= {'data.path': places[data]} if data in places else {}
  changes |= {'train.batch_size': 4, 'train.eval_batch': 7, 'train.steps': 3}
  return config_lib.override(config, changes.items())


@functools.cache
def load(name, options):
  return config_lib.find('data', name).load(dict(options))


def make(model, data, task, places):
  config = make_config(model, data, task, places)
  dataset = load(data, tuple(config['data'].items()))
  return config, dataset, member_lib.make(config, dataset)


def abstract(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), tree)


def _equal(one, other):
  assert one == other


def fits(model, data, task):
  return task in DATA[data][0] and task in MODELS[model] and (model, data) not in SMALL


def fed(member, slot, kind):
  """A slot with blank batches, if the data set streams: one, or all of evaluation."""
  if member.chunks is None:
    return slot
  count = {'train': 1, 'evaluate': len(member.chunks.mask)}[kind]
  return slot | member.chunks.zeros(kind, (count,))


def trace(config, dataset, member):
  """Shapes after initial values and one step, and of an evaluation."""
  slot = member_lib.slot(config, dataset, 0)
  slot, data = abstract(slot), abstract(dict(dataset.resident))
  _, batch = member_lib.abstract(member, slot, data)
  state = jax.eval_shape(member.init, slot, data)
  step = functools.partial(member.stretch, start=0, stop=1, fresh=True)
  new = jax.eval_shape(step, state, fed(member, slot, 'train'), data)
  jax.tree.map(lambda a, b: _equal((a.shape, a.dtype), (b.shape, b.dtype)), state, new)
  values = jax.eval_shape(member.evaluate, new, fed(member, slot, 'evaluate'), data)
  return new, batch, values


PAIRS = [(model, data, task) for model in MODELS for data in DATA for task in DECIDING]


def test_the_tables_are_complete():
  assert set(MODELS) == set(config_lib.available('models'))
  assert set(DATA) | ELSEWHERE == set(config_lib.available('data'))
  assert set(DECIDING) == set(config_lib.available('tasks'))
  assert {task for tasks, _ in DATA.values() for task in tasks} == set(DECIDING)
  assert {(model, task) for model, _, task in REAL} >= {
    ('recurrent', task) for task in MODELS['recurrent']
  }
  assert {task for _, _, task in REAL} == set(DECIDING)


@pytest.mark.parametrize(
  ('model', 'data', 'task'), [pair for pair in PAIRS if fits(*pair)]
)
def test_what_fits_traces(model, data, task, places):
  config, dataset, member = make(model, data, task, places)
  new, batch, values = trace(config, dataset, member)
  for variables in new['variables'].values():
    kept = {kind: jax.tree.leaves(tree) for kind, tree in variables.items()}
    assert kept['params']
    for kind, leaves in kept.items():  # a pool counts what it holds
      assert all(leaf.dtype == np.float32 for leaf in leaves) or kind == 'pool', kind
  assert {leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.ndim} == {4}
  assert values.keys() == set(member_lib.sources(member.task.metrics).values())
  metric = member.task.metrics[DECIDING[task]]
  assert math.isfinite(metric.fallback)
  batches = sum(member.sizes.values())
  assert {leaf.shape[0] for leaf in jax.tree.leaves(values)} == {batches}
  # What the report looks at, over a few test examples.
  few = dataset.take(dataset.arrays, dataset.split(0)['test'][:2], train=False)
  keys, hyper = rng.Keys(rng.root(0)), member_lib.slot(config, dataset, 0)['hyper']

  def look(variables):
    seen = dataset.transform(few, keys, train=False)
    return member.task.show(variables, seen, keys, hyper)

  shown = jax.eval_shape(look, new['variables'])
  assert ('lag/norms' in shown) == (model in ('attention', 'recurrent', 'window'))


@pytest.mark.parametrize(
  ('model', 'data', 'task'), [pair for pair in PAIRS if not fits(*pair)]
)
def test_what_does_not_fit_is_one_line(model, data, task, places):
  with pytest.raises(errors.UserError) as caught:
    trace(*make(model, data, task, places))
  text = str(caught.value)
  assert '\n' not in text
  assert len(text) < 250
  if task not in DATA[data][0]:
    assert text.startswith(f'task {task} needs ')
    assert repr(load(data, _options(model, data, task, places)).name) in text
  else:
    assert model in text


def _options(*names):
  return tuple(make_config(*names)['data'].items())


@pytest.mark.parametrize(
  ('model', 'data', 'task'),
  [pytest.param(*r, marks=pytest.mark.slow if 'cyclegan' in r else ()) for r in REAL],
)
def test_a_real_step_and_evaluation_are_finite(model, data, task, places):
  config, dataset, member = make(model, data, task, places)
  slot = member_lib.slot(config, dataset, 0)

  @model_cases.jit
  def run(slot, data):
    start = member.init(slot, data)
    state = member.stretch(start, fed(member, slot, 'train'), data, 0, 2, True)
    seen = member.evaluate(state, fed(member, slot, 'evaluate'), data)
    return start, state, seen

  start, state, values = run(slot, dict(dataset.resident))
  assert int(state['diverged']) == -1
  assert float(state['sums']['steps']) == 2
  for player in member.task.players:
    old, new = (s['variables'][player]['params'] for s in (start, state))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), old, new)
    assert any(jax.tree.leaves(moved)), player
  for leaf in jax.tree.leaves((state['variables'], values)):
    assert np.isfinite(leaf).all()
