"""Spoken digits: WAV files written here by `wave`, and the real recordings.

Oracles: the features of each file alone, and the names of the files for the splits.
"""

import os
import pathlib
import struct
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids.data import speech
from dlsteroids.data.lib import spectra, wav
from dlsteroids.util import errors
from tests.fixtures import waves

FORM = spectra.Form(8000, 40, 0.032, 0.016)
SPEAKERS = ('ann', 'bob')
REAL = os.environ.get('DLSTEROIDS_DATA', '')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path / 'cache'))
  monkeypatch.delenv('DLSTEROIDS_DATA', raising=False)
  return tmp_path / 'cache'


def make(root, digits=range(10), count=8, speakers=SPEAKERS):
  """A folder of recordings of noise; their bytes by name."""
  folder = root / 'recordings'
  folder.mkdir(parents=True, exist_ok=True)
  made = {}
  for digit in digits:
    for speaker in speakers:
      for i in range(count):
        name = f'{digit}_{speaker}_{i}.wav'
        made[name] = waves.wav(waves.noise(300 + 40 * digit + 10 * i))
        (folder / name).write_bytes(made[name])
  return made


def load(path, **options):
  return speech.load({'path': str(path), **options})


def cut(data):
  return data[:-101]


def cut_header(data):
  return data[:30]


def of_floats(data):
  return data[:20] + struct.pack('<H', 3) + data[22:]


def no_rate(data):
  return data[:24] + bytes(4) + data[28:]


def odd_width(data):
  return data[:34] + struct.pack('<H', 64) + data[36:]


@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (cut, r'is truncated: 699 bytes of sound, but its header says 800'),
    (cut_header, 'cannot be read as WAV'),
    (lambda data: b'', 'is empty: 0 bytes'),
    (lambda data: b'no sound at all', 'cannot be read as WAV'),
    (lambda data: data[:36], 'cannot be read as WAV'),
    (lambda data: waves.wav(np.zeros(0)), 'holds no sound: 0 samples'),
    (of_floats, 'cannot be read as WAV: 1 channels of floats with 16 bits a sample'),
    (no_rate, r'recorded at 0 Hz; expected'),
    (odd_width, 'PCM with 64 bits a sample'),
  ],
)
def test_a_spoiled_recording_is_one_line_naming_it(tmp_path, cache, spoil, message):
  made = make(tmp_path, digits=(3,))
  data = spoil(waves.wav(waves.noise(400)))
  (tmp_path / 'recordings/3_bob_2.wav').write_bytes(data)
  with pytest.raises(errors.UserError, match=message) as error:
    load(tmp_path)
  assert '3_bob_2.wav' in str(error.value)
  assert '\n' not in str(error.value)
  assert len(made) == 16
  assert not list(cache.rglob('*.*'))  # nothing half-written


# The data set


def test_arrays_hold_the_recordings_in_order(tmp_path):
  made = make(tmp_path)
  dataset = load(tmp_path)
  assert dataset.name == 'fsdd-unverified'
  assert dataset.classes == tuple('0123456789')
  image, length = dataset.arrays['image'], dataset.arrays['length']
  assert image.dtype == np.uint8
  assert image.shape == (160, dataset.facts['frames'], 40, 1)
  assert length.dtype == dataset.arrays['label'].dtype == np.int32
  order = sorted((int(n[-5]) < 5, int(n[0]), n[2:5], int(n[-5]), n) for n in made)
  for i, (_, digit, _, _, name) in enumerate(order):
    sound = wav.resample(wav.read(made[name], name), 8000)
    expected = spectra.quantise(spectra.log_mel(sound, FORM))
    assert dataset.arrays['label'][i] == digit
    assert length[i] == len(expected)
    np.testing.assert_array_equal(image[i, : length[i], :, 0], expected)
    assert not image[i, length[i] :].any()
  assert dataset.facts['treatments'] == []


def test_real_frames_are_normalised_and_the_others_zero(tmp_path):
  make(tmp_path)
  dataset = load(tmp_path)
  rest = np.concatenate([dataset.split(0)[name] for name in ('train', 'validation')])
  every = {name: jnp.asarray(array) for name, array in dataset.arrays.items()}
  seen = jax.jit(lambda batch: dataset.transform(batch, None, train=True))
  batch = seen(dataset.take(every, rest, train=True))
  assert batch['image'].dtype == jnp.float32
  real = np.arange(dataset.facts['frames']) < np.asarray(batch['length'])[:, None]
  frames = np.asarray(batch['image'])[real][..., 0]
  np.testing.assert_allclose(frames.mean(0), 0, atol=1e-4)
  np.testing.assert_allclose(frames.std(0), 1, atol=1e-4)
  assert not np.asarray(batch['image'])[~real].any()
  plain = dataset.take(dataset.arrays, rest, train=False)  # numpy
  np.testing.assert_array_equal(plain['image'], dataset.arrays['image'][rest])


def test_official_split_and_one_speaker_left_out(tmp_path):
  make(tmp_path)
  official = load(tmp_path)
  parts = official.split(0)
  assert {name: len(part) for name, part in parts.items()} == {
    'train': 54, 'validation': 6, 'test': 100,
  }  # fmt: skip
  np.testing.assert_array_equal(parts['test'], np.arange(60, 160))
  np.testing.assert_array_equal(np.bincount(official.arrays['label'][60:]), [10] * 10)
  assert set(parts['validation']) != set(official.split(1)['validation'])
  out = load(tmp_path, speaker='bob')
  assert out.digest != official.digest
  assert [len(part) for part in out.split(0).values()] == [72, 8, 80]
  bobs = load(tmp_path, speaker='ann')  # bob's come first
  np.testing.assert_array_equal(out.arrays['length'][80:], bobs.arrays['length'][:80])
  with pytest.raises(
    errors.UserError, match=r"unknown 'bo' \(did you mean 'bob'\?\); .* ann, bob"
  ):
    load(tmp_path, speaker='bo')
  few = load(tmp_path, examples=20)
  assert len(few.split(0)['train']) == 20


def pack(root, target, prefix=''):
  with zipfile.ZipFile(target, 'w') as file:
    for path in sorted((root / 'recordings').iterdir(), reverse=True):
      file.write(path, f'{prefix}recordings/{path.name}')
  return target


def test_folder_and_archives_give_the_same(tmp_path, monkeypatch):
  make(tmp_path)
  digest = load(tmp_path).digest
  assert load(tmp_path / 'recordings').digest == digest
  assert load(pack(tmp_path, tmp_path / 'other.zip', 'repository-1/')).digest == digest
  monkeypatch.setenv('DLSTEROIDS_DATA', str(tmp_path / 'data'))
  (tmp_path / 'data/fsdd').mkdir(parents=True)
  with pytest.raises(
    errors.UserError, match=r'fsdd: recordings\.zip.* not found .* has no download'
  ):
    speech.load({})
  pack(tmp_path, tmp_path / 'data/fsdd/recordings.zip')
  assert speech.load({}).digest == digest


def test_the_second_load_computes_nothing(tmp_path, cache, monkeypatch):
  make(tmp_path)
  first = load(tmp_path).digest
  with monkeypatch.context() as patch:
    patch.setattr(spectra, 'log_mel', None)  # calling it would raise
    assert load(tmp_path).digest == first
    assert load(tmp_path, speaker='ann').facts['frames']
  assert load(tmp_path, bands=20).arrays['image'].shape[2] == 20
  (tmp_path / 'recordings/0_ann_0.wav').write_bytes(waves.wav(waves.noise(500)))
  assert load(tmp_path).digest != first
  assert len(list(cache.rglob('*.npz'))) == 3


@pytest.mark.parametrize('damage', ['cut', 'flip', 'empty'])
def test_a_damaged_cache_is_made_anew(tmp_path, cache, damage):
  make(tmp_path)
  first = load(tmp_path).digest
  [file] = cache.rglob('*.npz')
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes({'cut': data[:-900], 'flip': data, 'empty': b''}[damage])
  assert load(tmp_path).digest == first


def test_what_was_done_to_the_sound_is_said(tmp_path):
  make(tmp_path)
  files = {
    '0_ann_0': waves.wav(waves.noise((9000, 2)), 44_100),
    '1_ann_6': waves.wav(waves.noise(900), 16_000),
  }
  files['2_bob_1'] = waves.wav(waves.noise((500, 3)))
  for name, data in files.items():
    (tmp_path / f'recordings/{name}.wav').write_bytes(data)
  expected = [
    '2 of 160 recordings had several channels, now averaged.',
    '1 of 160 recordings were resampled from 16,000 to 8,000 Hz.',
    '1 of 160 recordings were resampled from 44,100 to 8,000 Hz.',
  ]
  assert load(tmp_path).facts['treatments'] == expected
  assert load(tmp_path).facts['treatments'] == expected  # from the cache


def test_hidden_and_other_files_are_skipped(tmp_path):
  make(tmp_path)
  first = load(tmp_path).digest
  for name in ('._0_ann_0.wav', 'README.md', '.DS_Store'):
    (tmp_path / 'recordings' / name).write_text('x')
  assert load(tmp_path).digest == first


def other_name(root):
  (root / 'recordings/hello.wav').write_bytes(waves.wav(waves.noise(99)))


def only_late(root):
  for path in (root / 'recordings').glob('*_[0-4].wav'):
    path.unlink()


def only_early(root):
  for path in (root / 'recordings').glob('*_[5-7].wav'):
    path.unlink()


def none_left(root):
  for path in (root / 'recordings').iterdir():
    path.unlink()


@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (other_name, "'hello.wav' is not called DIGIT_SPEAKER_NUMBER.wav"),
    (only_late, r'no recording has a number of 0 to 4.*one of ann, bob'),
    (only_early, '0 training examples are too few'),
    (none_left, r'not found in data\.path|holds no \.wav files'),
  ],
)
@pytest.mark.parametrize('packed', [False, True])
def test_spoiled_folders_are_one_line(tmp_path, spoil, message, packed):
  make(tmp_path)
  spoil(tmp_path)
  place = pack(tmp_path, tmp_path / 'x.zip') if packed else tmp_path
  with pytest.raises(errors.UserError, match=message) as error:
    load(place)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'bands': 0}, 'data.bands must be at least 1'),
    ({'bands': 200}, 'data.bands = 200 are too many for frames of 0.032 s: band 0'),
    ({'frame': 0.0}, r'data.frame must lie in \[0.00025, 1\] seconds, not 0'),
    ({'frame': 2.0}, 'data.frame must lie in'),
    ({'hop': 0.0}, r'data.hop must lie in \[0.000125, data.frame = 0.032\]'),
    ({'hop': 0.04}, 'data.hop must lie in'),
    ({'validation': 1.0}, 'data.validation must lie in'),
    ({'examples': 55}, r'data.examples must lie in 0\.\.54'),
    ({'speaker': 'eve'}, "data.speaker: unknown 'eve'.*; there are ann, bob"),
    ({'band': 3}, r"data\.band \(did you mean 'bands'"),
  ],
)
def test_a_mistake_in_the_options_is_one_line(tmp_path, options, message):
  make(tmp_path)
  with pytest.raises(errors.UserError, match=message) as error:
    load(tmp_path, **options)
  assert '\n' not in str(error.value)


def test_a_file_that_is_no_archive_and_a_cache_that_cannot_be_written(
  tmp_path, monkeypatch
):
  make(tmp_path)
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.UserError, match='is not a folder or an archive'):
    load(tmp_path / 'file')
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path / 'file'))
  with pytest.raises(errors.UserError, match='set DLSTEROIDS_CACHE to a folder'):
    load(tmp_path)


def test_too_much_for_the_memory_is_refused(tmp_path, monkeypatch):
  make(tmp_path)
  (tmp_path / 'recordings/4_bob_6.wav').write_bytes(waves.wav(waves.noise(9000)))
  monkeypatch.setattr(spectra, 'TOTAL', 10_000)
  with pytest.raises(errors.UserError, match=r'4_bob_6\.wav\) need .* bytes'):
    load(tmp_path)


@pytest.mark.skipif(
  not REAL or not (pathlib.Path(REAL) / 'fsdd').is_dir(),
  reason='needs fsdd/ below $DLSTEROIDS_DATA',
)
def test_real_recordings(monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_DATA', REAL)
  dataset = speech.load({})
  assert dataset.name == 'fsdd'
  np.testing.assert_array_equal(np.bincount(dataset.arrays['label']), [300] * 10)
  assert [len(part) for part in dataset.split(0).values()] == [2430, 270, 300]
  assert len(dataset.facts['speakers']) == 6
  assert dataset.facts['treatments'] == []
  george = speech.load({'speaker': 'george'})
  assert [len(part) for part in george.split(0).values()] == [2250, 250, 500]
