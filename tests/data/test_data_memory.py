"""Copy and adding: their sequences, against plain Python loops."""

import math

import jax
import numpy as np
import pytest

from dlsteroids.data import adding, copy
from dlsteroids.data.lib import split
from dlsteroids.util import errors

SIZES = {'train_size': 40, 'validation_size': 7, 'test_size': 300}
MODULES = (copy, adding)


def see(dataset, name='train'):
  indices = dataset.split(0)[name]
  batch = dataset.take(dataset.arrays, indices, train=True)
  return dataset.transform(batch, None, train=True)


@pytest.mark.parametrize('module', MODULES)
def test_splits_do_not_move(module):
  dataset = module.load(SIZES)
  parts = dataset.split(3)
  assert [len(part) for part in parts.values()] == list(SIZES.values())
  assert dataset.official_test
  np.testing.assert_array_equal(np.concatenate([*parts.values()]), np.arange(347))
  assert all(part.dtype == np.int32 for part in parts.values())
  more = module.load({**SIZES, 'train_size': 90})
  for name in ('validation', 'test'):
    found, expected = see(more, name), see(dataset, name)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize('module', MODULES)
def test_digest_tells_what_shapes_training(module):
  same = module.load(SIZES).digest
  assert same == module.load({**SIZES, 'name': 'any'}).digest
  changes = [{'length': 9}, {'train_size': 41}, {'test_size': 301}]
  if module is copy:
    changes += [{'lag': 51}, {'alphabet': 9}]
  digests = {module.load({**SIZES, **change}).digest for change in changes} | {same}
  assert len(digests) == len(changes) + 1


@pytest.mark.parametrize('module', MODULES)
def test_numpy_and_traced_batches_are_equal(module):
  dataset = module.load(SIZES)
  indices = np.array([0, 5, 346], np.int32)

  def batch(arrays, indices):
    raw = dataset.take(arrays, indices, train=False)
    return dataset.transform(raw, None, train=False)

  plain = batch(dataset.arrays, indices)
  traced = jax.jit(batch)(dict(dataset.arrays), indices)
  jax.tree.map(np.testing.assert_array_equal, plain, traced)


# Copy


@pytest.mark.parametrize(('lag', 'length'), [(50, 10), (1, 1), (3, 20)])
def test_copy_says_the_symbols_again(lag, length):
  dataset = copy.load({**SIZES, 'lag': lag, 'length': length})
  batch = see(dataset)
  assert batch['input'].shape == (40, lag + 2 * length)
  assert {name: array.dtype.name for name, array in batch.items()} == {
    'input': 'int32', 'target': 'int32', 'weight': 'float32',
  }  # fmt: skip
  names = dataset.classes
  assert names == (*'abcdefgh', '_', '|')
  for inputs, targets, weights in zip(*(batch[k].tolist() for k in batch), strict=True):
    said = ''.join(names[i] for i in inputs)
    symbols = said[:length]
    assert set(symbols) <= set('abcdefgh')
    assert said == symbols + '_' * (lag - 1) + '|' + '_' * length
    assert ''.join(names[i] for i in targets) == '_' * (lag + length) + symbols
    assert weights == [0.0] * (lag + length) + [1.0] * length


def test_copy_symbols_are_uniform_and_the_reference_is_theirs():
  dataset = copy.load({})
  assert dataset.arrays['input'].shape == (11_000, 70)
  assert dataset.arrays['input'].dtype == dataset.arrays['target'].dtype == np.uint8
  counts = np.bincount(dataset.arrays['input'][:, :10].ravel(), minlength=8)
  assert counts.shape == (8,)
  spread = math.sqrt(110_000 / 8 * 7 / 8)
  assert np.abs(counts - 110_000 / 8).max() < 4 * spread
  scores = dataset.references['uniform']
  assert scores['test/nats'] == math.log(8)
  assert scores['test/bits'] == 3
  assert scores['test/accuracy'] == 1 / 8
  assert dataset.facts['window'] == 70
  assert dataset.facts['vocabulary'] == 10
  with_many = copy.load({**SIZES, 'alphabet': 62})
  assert len(set(with_many.classes)) == 64


# Adding


@pytest.mark.parametrize('length', [2, 3, 100])
def test_adding_sums_the_two_marked(length):
  dataset = adding.load({**SIZES, 'length': length})
  batch = see(dataset)
  assert batch['window'].shape == (40, length, 2)
  assert batch['target'].shape == (40, 1, 1)
  assert {array.dtype.name for array in batch.values()} == {'float32'}
  for window, target in zip(batch['window'], batch['target'], strict=True):
    assert all(0 <= value < 1 for value, _ in window)
    marked = [i for i in range(length) if window[i, 1] == 1]
    assert sum(window[:, 1]) == 2
    first, second = marked
    assert first < length // 2 <= second
    assert target[0, 0] == window[first, 0] + window[second, 0]


def test_marks_reach_every_place_and_the_reference_is_measured():
  dataset = adding.load({'length': 10})
  marks = dataset.arrays['mark']
  assert np.unique(marks[:, 0]).tolist() == [0, 1, 2, 3, 4]
  assert np.unique(marks[:, 1]).tolist() == [5, 6, 7, 8, 9]
  assert dataset.facts == {
    'targets': ['sum'], 'mean': [0.0], 'std': [1.0],
    'horizon': 1, 'lookback': 10, 'unit': '',
  }  # fmt: skip
  targets = np.asarray(see(dataset, 'test')['target'], np.float64).ravel()
  scores = dataset.references['mean']
  assert scores['test/mse'] == pytest.approx(np.mean((targets - 1) ** 2), rel=1e-6)
  assert scores['test/mae'] == pytest.approx(np.mean(np.abs(targets - 1)), rel=1e-6)
  # The sum of two uniform numbers: variance 1/6, mean deviation 1/3.
  many = adding.load({'length': 2, 'train_size': 1, 'test_size': 100_000})
  scores = many.references['mean']
  assert scores['test/mse'] == pytest.approx(1 / 6, rel=0.02)
  assert scores['test/mae'] == pytest.approx(1 / 3, rel=0.02)


MISTAKES = [
  (copy, 'lag', 0, r'\[1, 10000\]'),
  (copy, 'alphabet', 1, r'\[2, 62\]'),
  (copy, 'alphabet', 63, r'\[2, 62\]'),
  (copy, 'length', 0, r'\[1, 10000\]'),
  (adding, 'length', 1, r'\[2, 10000\]'),
  *((module, f'{name}_size', 0, 'at least 1') for name in split.SPLITS
    for module in MODULES),
]  # fmt: skip


@pytest.mark.parametrize(('module', 'option', 'value', 'message'), MISTAKES)
def test_mistakes_are_one_line(module, option, value, message):
  with pytest.raises(errors.UserError, match=f'data.{option} .*{message}') as error:
    module.load({option: value})
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('module', MODULES)
def test_unknown_option_is_named(module):
  with pytest.raises(errors.UserError, match=r"data\.lenth \(did you mean 'length'"):
    module.load({'lenth': 3})
