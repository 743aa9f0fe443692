"""Texts: windows, splits, prompts, n-grams and mistakes, against plain Python."""

import collections
import math
import os
import pathlib
import sys
import time

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from dlsteroids.config import options as options_lib
from dlsteroids.data import python_docs, text_file, tinyshakespeare
from dlsteroids.data.lib import ngrams, text
from dlsteroids.util import errors

GENERATOR = np.random.default_rng(0)
PROSE = ''.join(GENERATOR.choice(list('abcdefgh \né'), 1003))
SMALL = {'window': 10, 'eval_window': 16, 'context': 6}


def make(content=PROSE, **options):
  config = options_lib.complete({**SMALL, **options}, text.OPTIONS, 'data')
  return text.make('prose', content.encode(), config)


def examples(dataset, name, offset=0):
  """Each example of a split as lists: index, inputs, targets, weights."""
  indices = dataset.split(0)[name] + np.int32(offset)
  batch = dataset.take(dataset.arrays, indices, train=name == 'train')
  batch = dataset.transform(batch, None, train=name == 'train')
  rows = (batch[key].tolist() for key in ('input', 'target', 'weight'))
  return list(zip(indices.tolist(), *rows, strict=True))


# Windows


@hypothesis.given(
  length=strategies.integers(60, 400),
  window=strategies.integers(1, 12),
  scored=strategies.integers(1, 40),
  context=strategies.integers(0, 90),
  shares=strategies.tuples(*[strategies.floats(0.05, 0.3)] * 2),
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_every_symbol_of_a_split_is_scored_once(
  length, window, scored, context, shares
):
  # Oracle: a plain loop over positions of the text.
  content = PROSE[:length]
  dataset = make(
    content, window=window, eval_window=scored, context=context,
    validation=shares[0], test=shares[1],
  )  # fmt: skip
  classes = dataset.classes
  validation, test = (round(share * length) for share in shares)
  ends = {'validation': length - test, 'test': length}
  sizes = {'validation': validation, 'test': test}
  for name, end in ends.items():
    seen = collections.Counter()
    for index, inputs, targets, weights in examples(dataset, name):
      assert len(inputs) == len(targets) == len(weights) == context + scored
      for i, weight in enumerate(weights):
        position = index - context + i
        inside = index <= position < end
        assert weight == float(inside)
        seen[position] += inside
        if 1 <= position < length:  # context before the text is not fed rightly
          assert classes[targets[i]] == content[position]
          assert classes[inputs[i]] == content[position - 1]
    expected = range(end - sizes[name], end)
    assert {position for position in seen if seen[position]} == set(expected)
    assert sum(seen.values()) == sizes[name]


@pytest.mark.parametrize('examples_', [0, 400])
@pytest.mark.parametrize('order', ['lanes', 'shuffled'])
def test_training_windows_stay_in_their_region_at_every_jitter(order, examples_):
  dataset = make(order=order, examples=examples_)
  assert dataset.lanes == (order == 'lanes')
  assert dataset.jitter == 10
  end = examples_ or 1003 - 100 - 100
  for offset in range(dataset.jitter):
    covered = set()
    for index, inputs, targets, weights in examples(dataset, 'train', offset):
      assert index + 10 + 1 <= end
      decoded = text.decode([*inputs, targets[-1]], dataset.classes)
      assert decoded == PROSE[index : index + 11]
      assert inputs[1:] == targets[:-1]
      assert weights == [1.0] * 10
      covered |= set(range(index + 1, index + 11))
    # One epoch scores a stretch without holes; what it leaves is less than 2 windows.
    assert covered == set(range(offset + 1, offset + 1 + len(covered)))
    assert end - len(covered) <= 2 * 10
  last = dataset.split(0)['train'][-1] + 10
  assert last + dataset.jitter - 1 + 10 + 1 > end  # one window more would not fit


def test_small_training_sets_move_neither_validation_nor_test():
  full, few = make(), make(examples=50)
  for name in ('validation', 'test'):
    np.testing.assert_array_equal(full.split(0)[name], few.split(1)[name])
  assert full.classes == few.classes
  assert few.official_test


@pytest.mark.parametrize('symbols', ['characters', 'bytes'])
@pytest.mark.parametrize('train', [True, False])
def test_numpy_and_traced_windows_are_equal(symbols, train):
  dataset = make(symbols=symbols)
  arrays = {name: jnp.asarray(array) for name, array in dataset.arrays.items()}
  length = len(dataset.arrays['text'])
  indices = np.array([0, 1, 3, 500, length - 130, length - 2, length - 1], np.int32)
  plain = dataset.take(dataset.arrays, indices, train=train)

  @jax.jit
  def traced(indices):
    batch = dataset.take(arrays, indices, train=train)
    return dataset.transform(batch, None, train=train)

  made = traced(indices)
  assert {name: array.dtype.name for name, array in made.items()} == {
    'input': 'int32', 'target': 'int32', 'weight': 'float32',
  }  # fmt: skip
  for name in plain:
    assert plain[name].dtype == made[name].dtype
    np.testing.assert_array_equal(plain[name], made[name])


def test_the_first_symbol_of_a_text_is_never_scored():
  dataset = make()
  batch = dataset.take(dataset.arrays, np.array([0], np.int32), train=False)
  assert batch['weight'][0].tolist() == [0.0] * 7 + [1.0] * 15


# Symbols


def test_characters_are_sorted_and_bytes_are_256():
  dataset = make()
  assert dataset.classes == tuple(sorted(set(PROSE)))
  assert text.decode(dataset.arrays['text'], dataset.classes) == PROSE
  assert dataset.arrays['text'].dtype == np.uint8
  assert dataset.facts == {
    'window': 10, 'symbols': 1003, 'unit': 'character', 'vocabulary': 11,
    'treatments': [],
  }  # fmt: skip
  raw = make(symbols='bytes')
  assert len(raw.classes) == len(set(raw.classes)) == 256
  assert (raw.classes[97], raw.classes[10]) == ('a', '\\x0a')
  assert raw.arrays['text'].tobytes() == PROSE.encode()
  assert raw.facts['unit'] == 'byte'
  assert raw.facts['symbols'] == len(PROSE.encode())


def test_many_characters_are_two_bytes_each():
  content = ''.join(map(chr, range(0x4E00, 0x4E00 + 300))) * 2 + '😀'
  dataset = make(content)
  assert dataset.arrays['text'].dtype == np.uint16
  assert text.decode(dataset.arrays['text'], dataset.classes) == content


@pytest.mark.parametrize('symbols', ['characters', 'bytes'])
def test_prompts_there_and_back(symbols):
  classes = make(symbols=symbols).classes
  ids = text.encode('bad égg\n', classes)
  assert ids.dtype == np.int32
  assert text.decode(jnp.asarray(ids), classes) == 'bad égg\n'


def test_wrong_prompts_are_one_line():
  classes = make().classes
  with pytest.raises(errors.UserError, match=r"has 'X', 'ß', which .* has '"):
    text.encode('Xaßa', classes)
  for known in (classes, text.BYTES):
    with pytest.raises(errors.UserError, match='prompt is empty'):
      text.encode('', known)
  assert text.encode('ß', text.BYTES).tolist() == [0xC3, 0x9F]
  assert text.decode([0xC3], text.BYTES) == '�'


# Digest


def test_digest_tells_what_shapes_training(tmp_path):
  (tmp_path / 'a.txt').write_text(PROSE)
  (tmp_path / 'b.txt').write_text(PROSE)
  (tmp_path / 'c.txt').write_text(PROSE[::-1])

  def digest(file, **options):
    config = {'path': str(tmp_path / file), 'label': 'x', **SMALL, **options}
    return text_file.load(config).digest

  same = digest('a.txt')
  assert same == digest('a.txt') == digest('b.txt')  # where it lies does not matter
  changes = [
    {'symbols': 'bytes'}, {'window': 9}, {'order': 'shuffled'}, {'eval_window': 15},
    {'context': 5}, {'validation': 0.2}, {'test': 0.2}, {'examples': 99},
  ]  # fmt: skip
  digests = {digest('a.txt', **change) for change in changes}
  assert len(digests | {same, digest('c.txt')}) == len(changes) + 2


# N-grams


def witten_bell(seen, context, symbol, vocabulary):
  """The formula of the module's docstring, by counting in a dict, recursively."""
  if context is None:
    return 1 / vocabulary
  shorter = context[1:] if context else None
  lower = witten_bell(seen, shorter, symbol, vocabulary)
  n = len(context)
  followers = collections.Counter(
    seen[i + n] for i in range(len(seen) - n) if seen[i : i + n] == context
  )
  total, kinds = sum(followers.values()), len(followers)
  return (followers[symbol] + kinds * lower) / (total + kinds) if total else lower


@pytest.mark.parametrize('chunk', [1 << 20, 7])
def test_ngrams_are_a_dict_count(monkeypatch, chunk):
  monkeypatch.setattr(ngrams, 'CHUNK', chunk)
  content = 'the cat sat on the mat; that cat!' * 2 + ' then a xylophone ate the bat'
  dataset = make(content, window=4, validation=0.1, test=0.3)
  start = int(dataset.split(0)['test'][0])
  trained = content[: int(dataset.split(0)['validation'][0])]
  v = len(dataset.classes)
  assert list(dataset.references) == list(ngrams.NAMES)
  for n, name in enumerate(ngrams.NAMES, -1):
    nats = -sum(
      math.log(
        witten_bell(trained, content[i - n : i] if n >= 0 else None, content[i], v)
      )
      for i in range(start, len(content))
    ) / (len(content) - start)
    found = dataset.references[name]
    assert found['test/nats'] == pytest.approx(nats, rel=1e-12)
    assert found['test/bits'] == pytest.approx(nats / math.log(2), rel=1e-12)


def test_ngrams_are_distributions():
  seen = GENERATOR.integers(0, 5, 40)  # of 7 symbols, two never
  models = [ngrams.count(seen, order, 7) for order in (1, 2, 3)]
  for first in range(7):
    for second in range(7):
      total = sum(
        ngrams.likelihoods(models, np.array([first, second, last]), 7)[:, 0]
        for last in range(7)
      )
      np.testing.assert_allclose(total, 1)


def test_ngrams_of_next_to_nothing():
  # Seen: 0 1. Then 1 after 0: (1 + 1/2) / (1 + 1); 1 after 1, never seen: (1 + 1) / 4.
  found = ngrams.references(np.array([0, 1, 0, 1, 1], np.uint8), 2, 3, 2)
  chances = {'uniform': 1 / 4, 'unigram': 1 / 4, 'bigram': 3 / 8, 'trigram': 3 / 8}
  for name, chance in chances.items():
    assert found[name]['test/nats'] == pytest.approx(-math.log(chance) / 2)


def test_ngrams_count_in_the_last_training_symbols(monkeypatch):
  monkeypatch.setattr(ngrams, 'LIMIT', 50)
  symbols = GENERATOR.integers(0, 4, 300)
  whole = ngrams.references(symbols, 200, 250, 4)
  assert whole == ngrams.references(symbols[150:], 50, 100, 4)


# The data sets


def test_python_docs_are_this_pythons():
  from pydoc_data import topics

  dataset = python_docs.load({})
  assert dataset.name == f'python_docs-{sys.version_info[0]}.{sys.version_info[1]}'
  whole = text.decode(dataset.arrays['text'], dataset.classes)
  assert len(whole) > 300_000
  assert whole.startswith(topics.topics[min(topics.topics)])
  assert whole.endswith(topics.topics[max(topics.topics)])
  nats = [scores['test/nats'] for scores in dataset.references.values()]
  assert nats == sorted(nats, reverse=True)


def test_a_python_without_docs_is_one_line(monkeypatch):
  monkeypatch.setitem(sys.modules, 'pydoc_data', None)
  with pytest.raises(errors.UserError, match='ships no pydoc_data') as error:
    python_docs.load({})
  assert '\n' not in str(error.value)


def test_an_own_shakespeare_is_not_taken_for_the_published(tmp_path):
  (tmp_path / 'input.txt').write_text(PROSE)
  for path in (tmp_path, tmp_path / 'input.txt'):
    dataset = tinyshakespeare.load({'path': str(path), **SMALL})
    assert dataset.name == 'tinyshakespeare-unverified'
  (tmp_path / 'empty').mkdir()
  with pytest.raises(errors.UserError, match=r'input\.txt not found in data\.path'):
    tinyshakespeare.load({'path': str(tmp_path / 'empty')})


def test_a_files_name_label_and_line_ends(tmp_path):
  (tmp_path / 'my.notes.txt').write_bytes(b'a\r\nb\rc\n' * 50)
  path = str(tmp_path / 'my.notes.txt')
  dataset = text_file.load({'path': path, **SMALL})
  assert dataset.name == 'my.notes'
  assert dataset.classes == ('\n', '\r', 'a', 'b', 'c')
  assert text_file.load({'path': path, 'label': 'n', **SMALL}).name == 'n'


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-be', 'utf-32'])
def test_a_byte_order_mark_is_no_symbol(tmp_path, encoding):
  mark = '\ufeff' if encoding == 'utf-16-be' else ''
  (tmp_path / 'x.txt').write_bytes((mark + PROSE).encode(encoding))
  dataset = text_file.load({'path': str(tmp_path / 'x.txt'), **SMALL})
  assert text.decode(dataset.arrays['text'], dataset.classes) == PROSE


@pytest.mark.parametrize('declared', ['latin-1', 'cp1252', 'u8', 'utf-16-be'])
@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_a_byte_order_mark_counts_before_the_declared_encoding(encoding, declared):
  options = {**{k: v.default for k, v in text.OPTIONS.items()}, **SMALL}
  dataset = text.make('x', PROSE.encode(encoding), options, declared)
  assert text.decode(dataset.arrays['text'], dataset.classes) == PROSE


def test_byte_order_marks_of_joined_files_and_of_bytes_are_no_symbols(tmp_path):
  marked = f'\ufeff{PROSE}'
  joined = make(marked + marked)
  assert text.decode(joined.arrays['text'], joined.classes) == 2 * PROSE
  raw = make(marked, symbols='bytes')
  assert text.decode(raw.arrays['text'], raw.classes) == PROSE


def test_line_ends_of_old_macs_are_named():
  [sentence] = make('The cat.\rsat' * 50).facts['treatments']
  assert sentence.startswith('The text has 50 carriage returns and no line feeds')


@pytest.mark.parametrize('kind', ['characters', 'bytes'])
def test_carriage_returns_are_reported(tmp_path, kind):
  (tmp_path / 'x.txt').write_bytes(b'The cat.\r\n' * 50 + b'sat\r')
  config = {'path': str(tmp_path / 'x.txt'), 'symbols': kind, **SMALL}
  [sentence] = text_file.load(config).facts['treatments']
  assert sentence.startswith('The text has 50 carriage returns, 50 of them before')


def test_a_giant_file_is_refused_unread(tmp_path):
  path = tmp_path / 'x.txt'
  with path.open('wb') as file:
    file.truncate(1 << 40)  # sparse: it takes no room
  with pytest.raises(errors.UserError, match='has 1,099,511,627,776 bytes, more'):
    text_file.load({'path': str(path)})


def test_a_file_in_another_encoding(tmp_path):
  (tmp_path / 'x').write_bytes(PROSE.encode('latin-1'))
  config = {'path': str(tmp_path / 'x'), **SMALL}
  dataset = text_file.load({**config, 'encoding': 'latin-1'})
  assert dataset.classes == tuple(sorted(set(PROSE)))
  assert len(text_file.load({**config, 'symbols': 'bytes'}).arrays['text']) == 1003


PLAIN = b'abcdefghij' * 100
MISTAKES = {
  'missing': (None, {}, r"data\.path: '.*x\.txt' does not exist"),
  'no path': (PLAIN, {'path': ''}, r'data\.path is empty'),
  'folder': (PLAIN, {'path': '.'}, 'is a folder; expected a text file'),
  'empty': (b'', {}, 'the text is empty'),
  'empty bytes': (b'', {'symbols': 'bytes'}, 'the text is empty'),
  'only a mark': (b'\xff\xfe', {'encoding': 'utf-16'}, 'has no characters'),
  'one character': (b'a', {}, "only 'a'; at least two distinct"),
  'one symbol': (b'\n' * 500, {}, r"only '\\n'; at least two distinct"),
  'one byte': (b'a' * 500, {'symbols': 'bytes'}, "only 'a'"),
  'two characters': (b'ab', {}, '2 symbols are too few'),
  'undecodable': (
    PLAIN + b'\xe9' + PLAIN, {},
    r'byte 0xe9 at offset 1,000 is not utf-8; set data\.encoding, or data\.symbols=',
  ),
  'cut': ('é'.encode()[:1], {}, 'byte 0xc3 at offset 0'),
  'no mark': (
    PLAIN.decode().encode('utf-16-le'), {},
    r'zero character at offset 1, so .* utf-8; set data\.encoding \(such as utf-16-le',
  ),
  'encoding': (PLAIN, {'encoding': 'utf-9'}, "unknown 'utf-9'; use utf-8"),
  'no text encoding': (PLAIN, {'encoding': 'hex'}, "unknown 'hex'"),
  'no encoding': (PLAIN, {'encoding': ''}, r'data\.encoding: unknown'),
  'zero in encoding': (PLAIN, {'encoding': 'a\0b'}, r'data\.encoding'),
  'window': (PLAIN, {'window': 401}, 'window=401 is too long for the 800 .* most 400,'),
  'window of few': (PLAIN, {'window': 51, 'examples': 100}, 'at most 50,'),
  'no window': (PLAIN, {'window': 0}, r'data\.window must lie in \[1, '),
  'eval_window': (PLAIN, {'eval_window': 0}, r'data\.eval_window must lie in \[1, '),
  'context': (PLAIN, {'context': -1}, r'data\.context must lie in \[0, '),
  'validation': (PLAIN, {'validation': 0.0}, r'data\.validation must lie in \(0, 1\)'),
  'test': (PLAIN, {'test': 1.0}, r'data\.test must lie in \(0, 1\)'),
  'shares': (PLAIN, {'validation': 0.5, 'test': 0.6}, '1,000 symbols are too few: 0'),
  'examples': (PLAIN, {'examples': 801}, r'data\.examples must lie in 0\.\.800 '),
  'negative': (PLAIN, {'examples': -1}, r'data\.examples must be at least 0'),
  'symbols': (PLAIN, {'symbols': 'words'}, "unknown 'words'; use characters, bytes"),
  'order': (PLAIN, {'order': 'lane'}, r"'lane' \(did you mean 'lanes'\?\)"),
  'option': (PLAIN, {'windw': 3}, r"data\.windw \(did you mean 'window'\?\)"),
}  # fmt: skip


@pytest.mark.parametrize('kind', MISTAKES)
def test_mistakes_are_one_line(tmp_path, kind):
  content, options, message = MISTAKES[kind]
  path = tmp_path / 'x.txt'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(errors.UserError, match=message) as error:
    text_file.load({'path': str(path), **options})
  assert '\n' not in str(error.value)


def test_the_largest_window_works(tmp_path):
  (tmp_path / 'x.txt').write_bytes(PLAIN)
  dataset = text_file.load({'path': str(tmp_path / 'x.txt'), 'window': 400})
  assert dataset.split(0)['train'].tolist() == [0]


@pytest.mark.skipif(
  not os.environ.get('DLSTEROIDS_DATA')
  or not (pathlib.Path(os.environ['DLSTEROIDS_DATA']) / 'tinyshakespeare').is_dir(),
  reason='needs tinyshakespeare/ below $DLSTEROIDS_DATA',
)
def test_real_tinyshakespeare():
  start = time.perf_counter()
  dataset = tinyshakespeare.load({'download': False})
  assert time.perf_counter() - start < 5
  assert dataset.name == 'tinyshakespeare'  # so its sha256 is the published one
  assert dataset.arrays['text'].shape == (1_115_394,)
  assert len(dataset.classes) == 65
  weights = [row[3] for row in examples(dataset, 'test')]
  assert np.sum(weights) == 111_539
  nats = {name: scores['test/nats'] for name, scores in dataset.references.items()}
  assert nats['uniform'] == pytest.approx(math.log(65))
  assert 1.8 < nats['trigram'] < nats['bigram'] < 2.6 < nats['unigram'] < 3.5
