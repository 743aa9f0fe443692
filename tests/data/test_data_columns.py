"""Arrays, frames, and data sets of other libraries; oracle: what the test put in."""

import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import dlsteroids
from dlsteroids import config as config_lib
from dlsteroids.config import options
from dlsteroids.data import arrays, hf, tfds
from dlsteroids.data.lib import stored_columns
from dlsteroids.util import errors
from tests.fixtures import studies_on_disk as disk

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 6, 5, 1), np.uint8)
LABELS = np.arange(30) % 3
SPLITS = {'train': slice(0, 22), 'test': slice(22, 30)}
PROSE = [f'line {number} of a text' for number in range(60)]


def load(module, path, **changes):
  return module.load({**options.defaults(module), 'path': str(path), **changes})


def stored(tmp_path, data, **changes):
  path, new = stored_columns.write(data, tmp_path)
  assert new
  return load(arrays, path, **changes)


def sees(dataset, split):
  """The examples of a split as a model sees them in evaluation."""
  rows = dataset.split(0)[split]
  raw = dataset.take(dataset.arrays, rows, train=False)
  return dataset.transform(raw, None, train=False)


def check_images(dataset, classes):
  """The images and labels of this file, tested on the last eight."""
  np.testing.assert_array_equal(dataset.arrays['image'], PIXELS)
  np.testing.assert_array_equal(dataset.arrays['label'], LABELS)
  assert dataset.classes == classes
  assert dataset.official_test
  split = dataset.split(0)
  np.testing.assert_array_equal(split['test'], np.arange(22, 30))
  assert len(split['train']) + len(split['validation']) == 22
  train = PIXELS[:22].astype(np.float64)
  wanted = (PIXELS[22:] - train.mean()) / train.std()
  np.testing.assert_allclose(sees(dataset, 'test')['image'], wanted, atol=1e-5)


def test_arrays_by_split_are_images(tmp_path):
  parts = {k: {'image': PIXELS[s], 'label': LABELS[s]} for k, s in SPLITS.items()}
  check_images(stored(tmp_path, parts), ('0', '1', '2'))


def test_a_pair_is_drawn_from_and_named_after_its_contents(tmp_path):
  one, _ = stored_columns.write((PIXELS[..., 0], LABELS), tmp_path)
  again, new = stored_columns.write({'x': PIXELS[..., 0], 'y': LABELS}, tmp_path)
  assert (one, new) == (again, False)
  dataset = load(arrays, one)
  assert dataset.name == 'arrays'
  assert not dataset.official_test
  np.testing.assert_array_equal(dataset.arrays['image'], PIXELS)
  other, _ = stored_columns.write((PIXELS[..., 0], LABELS[::-1]), tmp_path)
  assert other != one
  assert load(arrays, other).digest != dataset.digest
  assert load(arrays, one, size=3).arrays['image'].shape == (30, 3, 3, 1)
  assert load(arrays, one, channels=3).arrays['image'].shape == (30, 6, 5, 3)


def test_a_frame_is_a_table(tmp_path):
  generator = np.random.default_rng(1)
  frame = pd.DataFrame(
    {
      'age': generator.integers(20, 60, 40),
      'constant': 3.0,
      'kind': pd.Categorical(['cat', 'dog'] * 20),
      'height': generator.normal(170, 9, 40),
    }
  )
  dataset = stored(tmp_path, frame, target='kind')
  assert dataset.classes == ('cat', 'dog')
  values = frame[['age', 'constant', 'height']].to_numpy(np.float32)
  np.testing.assert_array_equal(dataset.arrays['image'], values)
  spread = values.std(0)
  wanted = (values - values.mean(0)) / np.where(spread > 0, spread, 1)
  rows = dataset.split(0)['test']
  np.testing.assert_allclose(sees(dataset, 'test')['image'], wanted[rows], atol=1e-5)


def test_coordinates_called_x_and_y_are_all_seen(tmp_path):
  """As scikit-learn's moons in a frame; a sequence called x is the input alone."""
  points = np.random.default_rng(2).normal(size=(40, 2)).astype(np.float32)
  frame = pd.DataFrame({'x': points[:, 0], 'y': points[:, 1], 'label': [0, 1] * 20})
  np.testing.assert_array_equal(stored(tmp_path, frame).arrays['image'], points)
  rows = {'x': points, 'id': np.arange(40), 'label': [0, 1] * 20}
  np.testing.assert_array_equal(stored(tmp_path, rows).arrays['image'], points)


def test_sequences_of_unequal_length_are_padded(tmp_path):
  rows = [np.arange(length * 2.0).reshape(length, 2) for length in (3, 5, 1, 4, 2) * 4]
  dataset = stored(tmp_path, {'x': rows, 'y': np.arange(20) % 2})
  assert dataset.arrays['image'].shape == (20, 5, 2)
  np.testing.assert_array_equal(dataset.arrays['length'], [3, 5, 1, 4, 2] * 4)
  real = np.concatenate(rows)
  batch = sees(dataset, 'train')
  first = dataset.split(0)['train'][0]
  wanted = (rows[first] - real.mean(0)) / real.std(0)
  np.testing.assert_allclose(batch['image'][0, : len(wanted)], wanted, atol=1e-5)
  assert not np.asarray(batch['image'][0, len(wanted) :]).any()


def test_a_frame_in_time_is_a_series_and_texts_are_one(tmp_path):
  hours = pd.date_range('2024-01-01', periods=60, freq='h')
  frame = pd.DataFrame(
    {'time': hours, 'load': np.sin(np.arange(60)), 'heat': range(60)}
  )
  small = {'lookback': 4, 'horizon': 2}
  dataset = stored(tmp_path, frame, form='series', target='load', **small)
  assert dataset.facts['step'] == '1 hour'
  assert dataset.facts['targets'] == ['load']
  batch = sees(dataset, 'test')
  assert batch['window'].shape[1:] == (4, 2)
  assert batch['target'].shape[1:] == (2, 1)
  by_index = frame.set_index('time')
  _, new = stored_columns.write(by_index, tmp_path, in_time=True)
  assert not new  # the same columns
  with pytest.raises(errors.UserError, match=r'^arrays, row 3'):
    stored(tmp_path, frame[::-1], form='series', target='load', **small)
  dataset = stored(tmp_path, {'text': PROSE}, form='text', window=8, eval_window=8)
  symbols = ''.join(dataset.classes[code] for code in dataset.arrays['text'])
  assert symbols == '\n'.join(PROSE)


@pytest.fixture(scope='module')
def library():
  return pytest.importorskip('datasets', reason='datasets is not installed')


def png(pixels):
  buffer = io.BytesIO()
  Image.fromarray(pixels[..., 0]).save(buffer, 'PNG')
  buffer.seek(0)
  return buffer


def test_hf_reads_what_was_saved(library, tmp_path):
  features = library.Features(
    {'img': library.Image(), 'label': library.ClassLabel(names=['a', 'b', 'c'])}
  )
  parts = {
    key: library.Dataset.from_dict(
      {
        'img': [{'bytes': png(image).getvalue()} for image in PIXELS[part]],
        'label': LABELS[part],
      },
      features=features,
    )
    for key, part in SPLITS.items()
  }
  library.DatasetDict(parts).save_to_disk(tmp_path / 'saved')
  check_images(load(hf, tmp_path / 'saved'), ('a', 'b', 'c'))


def test_hf_reads_folders_of_files(library, tmp_path):
  rows = [
    {'text': text, 'topic': 'xy'[number % 2]} for number, text in enumerate(PROSE)
  ]
  lines = '\n'.join(map(json.dumps, rows))
  (tmp_path / 'data').mkdir()
  (tmp_path / 'data' / 'train.jsonl').write_text(lines)
  dataset = load(hf, tmp_path / 'data', form='text', window=8, eval_window=8)
  assert len(dataset.arrays['text']) == len('\n'.join(PROSE))
  with pytest.raises(errors.UserError, match=r'row 0: .* not all finite numbers'):
    load(hf, tmp_path / 'data', target='topic', input='text')


def test_hf_says_what_is_missing(library, tmp_path):
  rows = {'a': [1.0, 2.0] * 5, 'label': ['x', None] * 5}
  library.Dataset.from_dict(rows).save_to_disk(tmp_path / 'gaps')
  with pytest.raises(errors.UserError, match=r"row 1 of column 'label' is missing"):
    load(hf, tmp_path / 'gaps')
  library.Dataset.from_dict({'a': [], 'label': []}).save_to_disk(tmp_path / 'none')
  with pytest.raises(errors.UserError, match='has no rows'):
    load(hf, tmp_path / 'none')
  (tmp_path / 'data').mkdir()
  (tmp_path / 'data' / 'train.csv').touch()
  with pytest.raises(errors.UserError, match=r"train\.csv' is empty"):
    load(hf, tmp_path / 'data')


def test_hf_fetches_nothing_unless_asked(library, monkeypatch):
  import socket

  def refuse(*args):
    raise AssertionError('the network was asked')

  monkeypatch.setattr(socket.socket, 'connect', refuse)
  with pytest.raises(errors.UserError, match=r'data\.download=true fetches it'):
    load(hf, 'nobody/nothing')
  assert not library.config.HF_HUB_OFFLINE


def test_tfds_reads_a_prepared_folder(tmp_path):
  library = pytest.importorskip(
    'tensorflow_datasets', reason='tensorflow-datasets is not installed'
  )
  epath = pytest.importorskip('etils.epath')

  class Tiny(library.core.GeneratorBasedBuilder):
    pkg_dir_path = epath.Path(tmp_path)
    url_infos = None  # nothing is downloaded
    VERSION = library.core.Version('1.0.0')

    def _info(self):
      features = {
        'image': library.features.Image(shape=(6, 5, 1)),
        'label': library.features.ClassLabel(names=['a', 'b', 'c']),
      }
      return self.dataset_info_from_configs(
        features=library.features.FeaturesDict(features), disable_shuffling=True
      )

    def _split_generators(self, manager):
      return {key: self._generate_examples(part) for key, part in SPLITS.items()}

    def _generate_examples(self, part):
      for number in range(part.start, part.stop):
        yield number, {'image': png(PIXELS[number]), 'label': int(LABELS[number])}

  Tiny(data_dir=tmp_path, file_format='array_record').download_and_prepare()
  dataset = load(tfds, tmp_path / 'tiny')
  assert dataset.name == 'tiny'
  check_images(dataset, ('a', 'b', 'c'))


@pytest.mark.parametrize(
  ('module', 'name', 'package'),
  [(hf, 'datasets', 'datasets'), (tfds, 'tensorflow_datasets', 'tensorflow-datasets')],
)
def test_a_library_that_is_not_there_is_one_line(
  module, name, package, tmp_path, monkeypatch
):
  (tmp_path / 'dataset_info.json').write_text('{}')
  monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(errors.UserError, match=f'pip install {package}'):
    load(module, tmp_path)


GAP = pd.DataFrame({'x': [1.0, None], 'y': [0, 1]})
MISTAKES = [
  (3, {}, 'is a int; give columns by name'),
  ({}, {}, r'data=… is empty'),
  ({'x': [1, 2], 'y': [1]}, {}, 'columns of train differ in length'),
  ({'x': [], 'y': []}, {}, 'train has no rows'),
  ((np.array(3), np.array(1)), {}, "column 'x' is a ndarray"),
  (pd.concat([GAP, GAP], axis=1), {}, "the frame has column 'x' twice"),
  ({'a/b': [1, 2], 'y': [0, 1]}, {}, "column 'a/b' has a slash in its name"),
  ((np.ma.masked_equal([1, 2], 2), [0, 1]), {}, "row 1 of column 'x' is missing"),
  (GAP, {}, "row 1 of column 'x' is missing"),
  ({'x': [{}], 'y': [1]}, {}, "row 0 of column 'x' is neither a number nor a text"),
  ({'x': [1, 2], 'z': [1, 2]}, {}, r'name it by data\.target; there are x, z'),
  ({'x': [1, 2], 'y': [1, 1]}, {}, "column 'y' has one class only"),
  ({'x': [1, 2], 'y': [1, 0.5]}, {}, r'0\.5|1\.0.* which is not a class'),
  ({'x': [1, np.inf], 'y': [0, 1]}, {}, 'row 1: .* not all finite numbers'),
  ({'x': ['a', 'b'], 'y': [0, 1]}, {}, 'not all finite numbers'),
  ({'x': [1, 2], 'y': [0, 1]}, {'target': 'w'}, r"data\.target: no column 'w'"),
  ({'x': [1, 2], 'y': [0, 1]}, {'flip': True}, r'data\.flip changes images of bytes'),
  ({'test': {'x': [1], 'y': [0]}}, {}, 'no split called train'),
  ((np.zeros((4, 3, 9, 8), 'u1'), [0, 1, 0, 1]), {}, r'expected \[9, 8, 3\]: np\.move'),
  ((np.zeros((4, 1, 9, 9)), [0, 1, 0, 1]), {}, 'have their channels first'),
  ({'x': [1, 2], 'y': [0, 1]}, {'input': 'x,y'}, "'y' is the target, so it cannot"),
  (
    {
      'train': (np.zeros((2, 8, 8, 1), 'u1'), [0, 1]),
      'test': (np.zeros((2, 8, 8, 1), 'f4'), [0, 1]),
    },
    {},
    'inputs are uint8 in split train, float32 in test',
  ),
  (
    {'x': [1, 2], 'y': [0, np.nan]},
    {},
    "row 1 of column 'y' is missing in split train",
  ),
  (({'x': [[1.0], [2.0]], 'y': [[1, 0], [0, 1]]}), {}, r'np\.argmax'),
  ({'x': [1, 1e300], 'y': [0, 1]}, {}, r'row 1: 1e\+300 is beyond .* float32'),
  ({'x': [[1.0], None], 'y': [0, 1]}, {}, "row 1 of column 'x' is neither"),
  (
    {'x': [np.zeros((2, 2)), np.zeros((4, 3))], 'y': [0, 1]},
    {},
    r"row 1 of column 'x' has shape \[4, 3\]",
  ),
  ({'a': ['t'], 'b': [1]}, {'form': 'text'}, 'no column called text, content'),
]


@pytest.mark.parametrize(('data', 'changes', 'line'), MISTAKES)
def test_mistakes_are_one_line(data, changes, line, tmp_path):
  with pytest.raises(errors.UserError, match=line):
    stored(tmp_path, data, **changes)


def test_a_study_of_arrays_is_stored_and_resumes(tmp_path, monkeypatch):
  disk.spare_figures(monkeypatch)
  config = dlsteroids.base(model='mlp', data='arrays')
  with config.unlocked():
    config.study.name, config.study.seeds = 'arrays', 2
    config.train.steps, config.train.batch_size, config.train.evaluations = 4, 8, 1
    config.model.hidden, config.engine.keep = (4,), 'last'
  factors = [dlsteroids.factor('rate', 'optimizer.learning_rate', 0.1, 0.05)]
  generator = np.random.default_rng(0)
  x, y = generator.normal(size=(40, 3)), np.arange(40) % 2
  work = tmp_path / 'work'
  other = dlsteroids.base(model='mlp', data='digits')
  with pytest.raises(errors.UserError, match='needs a config of data'):
    dlsteroids.run(other, work, factors=factors, data=(x, y))
  with pytest.raises(errors.UserError, match=r'config\.train\.batch_size'):
    dlsteroids.run(config, work, factors=factors, data=(x[:9], y[:9]))
  assert not work.exists()
  assert '4 to train' in dlsteroids.plan(config, work, factors=factors, data=(x, y))
  assert not work.exists()
  lines = []
  run = lambda: dlsteroids.run(
    config, work, factors=factors, data=(x, y), say=lines.append, watch=lambda *a: None
  )
  answer = run()
  (line,) = [line for line in lines if line.startswith('data stored: ')]
  path = line.rpartition('=')[2]
  assert len(answer.runs) == 4
  assert '4 stored, 0 to train' in dlsteroids.plan(
    config, work, factors=factors, data=(x, y)
  )
  again = run()
  assert again.runs['test/loss'].equals(answer.runs['test/loss'])
  trained = dlsteroids.load(work, seed=0)
  assert trained.config['data']['path'] == path
  assert trained.apply(x[:5].astype(np.float32)).shape == (5, 2)
  # A command line repeats it by the path that the line names.
  tree = config_lib.override(config_lib.resolve(config), {'data.path': path}.items())
  assert dlsteroids.run(tree, work, factors=factors, say=print).runs.equals(answer.runs)
