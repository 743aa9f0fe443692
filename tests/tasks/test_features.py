"""Feature extractors: files of classifiers, networks of the user's, and their mistakes.

Oracles: the layers by hand in numpy, the module itself on the data set's own transform,
and the accuracy that a file states, measured again.
"""

import json
import os
import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids import rng
from dlsteroids.cli import command
from dlsteroids.config import files, options
from dlsteroids.config import options as options_lib
from dlsteroids.data import digits, mnist
from dlsteroids.models import cnn, mlp
from dlsteroids.run import export, launch
from dlsteroids.store import results
from dlsteroids.tasks.lib import classifier, features
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases
from tests.fixtures import studies_on_disk as disk

pytestmark = pytest.mark.usefixtures('quick')
DATA = digits.load({})
MNIST = pathlib.Path(os.environ.get('DLSTEROIDS_DATA', 'nowhere')) / 'mnist'
CNN = {
  **options_lib.defaults(cnn),
  'name': 'cnn',
  'widths': (4,),
  'hidden': (6,),
  'norm': 'batch',
}
MLP = {**options_lib.defaults(mlp), 'name': 'mlp', 'hidden': (7, 5), 'dropout': 0.2}
MODULES = {'cnn': cnn, 'mlp': mlp}


def draw(model, shape=(8, 8, 1), seed=0):
  """Variables of an untrained classifier, batch statistics included, at random."""
  module = MODULES[model['name']].build({**model, 'outputs': 10, 'shape': shape})
  hyper = {f'model.{name}': 0.0 for name in options.traced(MODULES[model['name']])}
  found = cases.jit(
    lambda: module.init(
      jax.random.key(seed), jnp.zeros((1, *shape)), train=False, hyper=hyper
    )
  )()
  generator = np.random.default_rng(seed)

  def shake(leaf):
    return np.abs(leaf + generator.normal(0, 0.2, leaf.shape)).astype(np.float32)

  stats = jax.tree.map(shake, dict(found).get('batch_stats', {}))
  kept = {'params': found['params'], **({'batch_stats': stats} if stats else {})}
  return kept, cases.jit(lambda x: module.apply(kept, x, train=False, hyper=hyper))


def meta(model, shape=(8, 8, 1), **changes):
  return {
    'model': model,
    'shape': shape,
    'mean': [73.0] * shape[-1],
    'sd': [90.0] * shape[-1],
    'classes': list('0123456789'),
    'accuracy': 0.5,
    'examples': 10,
    'worst': {'classifier_fid': 7.0},
    'run': {},
    'data': {'name': 'digits', 'tested_on': 'some'},
    'command': '',
    'versions': {},
    **changes,
  }


def write(folder, model=CNN, shape=(8, 8, 1), variables=None, **changes):
  path = folder / 'mine.npz'
  variables = draw(model, shape)[0] if variables is None else variables
  path.write_bytes(classifier.pack(meta(model, shape, **changes), variables))
  return path


def compiled(extractor):
  return extractor._replace(apply=cases.jit(extractor.apply))


def dense(x, layer):
  return x @ np.asarray(layer['kernel'], float) + np.asarray(layer['bias'], float)


# Files


@pytest.mark.parametrize('model', [CNN, MLP], ids=['cnn', 'mlp'])
def test_it_answers_as_the_classifier_does_on_its_data(tmp_path, model):
  variables, module = draw(model)
  extractor = features.load(str(write(tmp_path, model, variables=variables)), DATA)
  raw = {name: array[:50] for name, array in DATA.arrays.items()}
  see = cases.jit(lambda raw: DATA.transform(raw, rng.Keys(rng.root(0)), train=False))
  seen = see(raw)['image']
  found, logits = cases.jit(extractor.apply)(raw['image'] / np.float32(127.5) - 1)
  np.testing.assert_allclose(logits, module(seen), rtol=1e-5, atol=1e-5)
  # What enters the last layer, by that layer.
  output = variables['params']['output']
  np.testing.assert_allclose(dense(found, output), logits, rtol=1e-5, atol=1e-5)
  assert found.shape == (50, extractor.dims) == (50, model['hidden'][-1])
  assert found.dtype == logits.dtype == jnp.float32
  assert extractor.name == 'mine'
  assert extractor.classes == tuple('0123456789')
  assert extractor.worst == {'classifier_fid': 7.0}
  assert '8×8' in extractor.note


def test_the_features_are_the_last_hidden_layer_by_hand(tmp_path):
  variables, _ = draw(MLP)
  path = str(write(tmp_path, MLP, variables=variables))
  extractor = compiled(features.load(path, DATA))
  x = (DATA.arrays['image'][:20].reshape(20, -1) - 73.0) / 90.0
  for name in ('dense0', 'dense1'):
    x = np.maximum(dense(x, variables['params'][name]), 0)
  found, _ = features.measure(extractor, DATA.arrays['image'][:20])
  np.testing.assert_allclose(found, x, rtol=1e-5, atol=1e-5)


def test_inside_of_a_program_it_answers_the_same(tmp_path):
  extractor = features.load(str(write(tmp_path)), DATA)
  images = features.scaled(DATA.arrays['image'][:8])
  plain = cases.jit(extractor.apply)(images)

  @cases.jit
  def run(images):
    _, looped = jax.lax.scan(lambda c, x: (c, extractor.apply(x)), 0, images)
    return looped, jax.vmap(extractor.apply)(images)

  looped, many = run(images[None])
  for one, other in zip(plain * 2, [*looped, *many], strict=True):
    np.testing.assert_allclose(one, other[0], rtol=1e-5, atol=1e-5)


def test_images_are_resized_repeated_and_clipped(tmp_path):
  ask = cases.jit(features.load(str(write(tmp_path)), DATA).apply)
  flat = np.full((2, 8, 8, 1), 0.25)
  wanted = ask(flat)[0]
  for size in ((3, 5), (28, 28)):  # a flat image stays flat
    found = ask(np.full((2, *size, 1), 0.25))[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
  # Halving is the mean of neighbours under a triangle of weights (1, 3, 3, 1) / 8.
  edge = np.where(np.arange(16) < 8, -1.0, 1.0)
  small = np.where(np.arange(8) < 4, -1.0, 1.0)
  small[3:5] = -0.75, 0.75
  big = np.broadcast_to(edge[None, None, :, None], (1, 16, 16, 1))
  pixels = cases.jit(lambda big: classifier.pixels(big, (8, 8, 1)))(big)
  np.testing.assert_allclose(pixels[0, 4, :, 0], (small + 1) * 127.5, atol=1e-3)
  over = ask(np.full((2, 8, 8, 1), 9.0))[0]
  np.testing.assert_array_equal(over, ask(np.ones((2, 8, 8, 1)))[0])
  colour = features.load(str(write(tmp_path, shape=(8, 8, 3))), DATA)
  ask = cases.jit(lambda grey: (colour.apply(grey), colour.apply(grey.repeat(3, -1))))
  found, repeated = ask(features.scaled(DATA.arrays['image'][:3]))
  np.testing.assert_array_equal(found[0], repeated[0])


def test_the_digest_tells_weights_apart(tmp_path):
  digests = {
    features.load(str(write(tmp_path, **change)), DATA).digest
    for change in ({}, {}, {'variables': draw(CNN, seed=1)[0]}, {'mean': [1.0]})
  }
  assert len(digests) == 3


# Those that are shipped


def test_auto_is_the_shipped_one_and_as_good_as_it_says():
  extractor = compiled(features.load('auto', DATA))
  indices = DATA.split(0)['test']
  found, logits = features.measure(extractor, DATA.arrays['image'][indices])
  right = (logits.argmax(-1) == DATA.arrays['label'][indices]).mean()
  assert right == pytest.approx(extractor.accuracy, abs=1.5 / len(indices))
  assert right > 0.98
  assert found.shape == (359, 64)
  assert 'seed 0' in extractor.note
  assert extractor.worst['classifier_fid'] > 100


def test_shipped_files_are_small_and_say_whence_they_come():
  assert features.shipped() == ['digits', 'mnist']
  for path in features.SHIPPED.glob('*'):
    assert path.stat().st_size < 500_000
    told, _ = classifier.unpack(path.read_bytes())
    assert told['command'].startswith('python -m experiments.launch --config=configs/')
    assert len(told['run']['fingerprint']) == 32
    assert len(told['data']['digest']) == 64
    assert told['versions']['jax']
    assert str(pathlib.Path.home()) not in json.dumps(told)


def test_mnist_is_one_of_them_and_sees_digits():
  extractor = compiled(features.load('mnist', DATA))
  assert extractor.accuracy >= 0.988
  assert extractor.dims == 64
  _, logits = features.measure(extractor, DATA.arrays['image'][:500])
  # Other people's digits, upsampled from 8×8, and still mostly read.
  assert (logits.argmax(-1) == DATA.arrays['label'][:500]).mean() > 0.5


@pytest.mark.skipif(not MNIST.is_dir(), reason='needs MNIST in $DLSTEROIDS_DATA/mnist')
def test_mnists_classifier_is_as_good_as_it_says():
  dataset = mnist.load({})
  extractor = compiled(features.load('auto', dataset))
  indices = dataset.split(0)['test'][::5]
  _, logits = features.measure(extractor, dataset.arrays['image'][indices])
  right = (logits.argmax(-1) == dataset.arrays['label'][indices]).mean()
  assert right == pytest.approx(extractor.accuracy, abs=0.006)  # 3 standard errors


# A user's own


OWN = """
import jax.numpy as jnp
from dlsteroids.tasks.lib import features

def extractor(classes=(), note='no resizing', dims=2, **changes):
  def apply(images):
    flat = images.reshape(len(images), -1)
    return flat[:, :2], flat[:, :len(classes)] if classes else None
  changes = {'digest': 'weights', 'accuracy': float('nan'), **changes}
  return features.Extractor(
    name='own', dims=dims, apply=apply, classes=classes, note=note, **changes
  )

def make(dataset):
  return extractor()

def three(dataset):
  return extractor(classes=('a', 'b', 'c'))

def heavier(dataset):
  return extractor(digest='others')

def silent(dataset):
  return extractor(note='')

def wide(dataset):
  return extractor(dims=3)

def broken(dataset):
  return extractor()._replace(apply=lambda images: images.nothing)

def nothing(dataset):
  return None

def fails(dataset):
  raise KeyError('no weights')
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
  (tmp_path / 'own_features.py').write_text(OWN)
  monkeypatch.syspath_prepend(tmp_path)
  return 'own_features'


def test_a_module_or_function_of_the_user_serves(mine):
  found = features.load(f'{mine}.make', DATA)
  assert (found.name, found.dims, found.classes) == ('own', 2, ())
  images = DATA.arrays['image'][:4]
  rows, logits = features.measure(found, images)
  assert rows.shape == (4, 2)
  assert logits is None
  _, logits = features.measure(features.load(f'{mine}.three', DATA), images)
  assert logits.shape == (4, 3)
  # The weights' digest counts, and the code's.
  assert found.digest not in ('weights', features.load(f'{mine}.heavier', DATA).digest)


OWN_MISTAKES = [
  ('silent', 'whose note states the resize rule'),
  ('nothing', 'not NoneType'),
  ('fails', 'KeyError: no weights'),
  ('missing', "AttributeError: module 'own_features' has no attribute 'missing'"),
  ('wide', r'features \[B, 3\].*gave float32 \[2, 2\]'),
  ('broken', 'apply fails on images'),
]


@pytest.mark.parametrize(('function', 'message'), OWN_MISTAKES)
def test_a_users_mistakes_are_one_line(mine, function, message):
  with pytest.raises(errors.UserError, match=message) as error:
    features.load(f'{mine}.{function}', DATA)
  assert '\n' not in str(error.value)


# Mistakes


def test_none_for_a_data_set_says_how_to_make_one():
  other = DATA._replace(name='scans')
  with pytest.raises(errors.UserError, match=r"'scans'.*digits, mnist.*=export"):
    features.load('auto', other)
  with pytest.raises(errors.UserError, match="'digit': no such"):
    features.load('digit', DATA)
  with pytest.raises(errors.UserError, match=r'No such file.*--action=export'):
    features.load('nowhere/it.npz', DATA)
  with pytest.raises(errors.UserError, match=r'nowhere\.it'):
    features.load('nowhere.it', DATA)


def foreign(path, **arrays):
  np.savez(path, **arrays)


def test_damaged_and_foreign_files_are_one_line(tmp_path):
  path = write(tmp_path)
  whole = path.read_bytes()
  spoiled = [whole[:cut] for cut in (0, 10, len(whole) // 2, len(whole) - 1)]
  with zipfile.ZipFile(path) as file:
    member = max(file.infolist(), key=lambda info: info.compress_size)
  middle = member.header_offset + 100 + member.compress_size // 2
  spoiled.append(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
  for data in spoiled:
    path.write_bytes(data)
    fails(path, 'damaged or no npz file')
  foreign(path, a=np.zeros(3))
  fails(path, 'no classifier of dlsteroids')
  foreign(path, meta=np.array([{}], object))  # a pickle
  fails(path, 'it holds Python objects')
  text = json.dumps({'kind': 'other', 'format': 1}).encode()
  foreign(path, meta=np.frombuffer(text, np.uint8))
  fails(path, "holds 'other'")
  fails(write(tmp_path, format=2), 'format 2')
  told = meta(CNN)
  del told['mean']
  path.write_bytes(classifier.pack(told, draw(CNN)[0]))
  fails(path, 'lacks mean')
  fails(write(tmp_path, variables=draw({**CNN, 'hidden': (5,)})[0]), 'dense0/bias is')
  fails(write(tmp_path, variables=draw({**CNN, 'norm': 'none'})[0]), 'missing')


def fails(path, message):
  with pytest.raises(errors.UserError, match=message) as error:
    features.load(str(path), DATA)
  assert '\n' not in str(error.value)


def test_colour_for_a_grey_classifier_is_refused(tmp_path):
  path = str(write(tmp_path))
  colour = DATA._replace(arrays={'image': np.zeros((4, 8, 8, 3), np.uint8)})
  with pytest.raises(errors.UserError, match='images of 1 channels; these have 3'):
    features.load(path, colour)


def test_a_model_without_an_output_layer_is_named():
  class Odd:
    def apply(self, *args, **kwargs):
      return 0

  with pytest.raises(errors.UserError, match="Odd has no layer named 'output'"):
    classifier.ask(Odd(), {}, 0, {})


# Export


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp('exported')
  settings = disk.SETTINGS + "  config.engine.keep = 'last'\n  config.study.seeds = 1\n"
  config = disk.write(folder, settings=settings)
  with pytest.MonkeyPatch.context() as patch:
    disk.spare_figures(patch)
    words = ['launch', f'--config={config}', f'--workdir={folder}/work']
    assert command.main(words) == 0
  made = launch.plan_of(files.read(str(config)), folder / 'work')
  return made, folder / 'work'


def test_a_finished_run_becomes_a_file(finished, tmp_path):
  made, work = finished
  run = launch.one_run(made, 'baseline', 0)
  said = []
  path = export.export(made, run, work, tmp_path / 'it.npz', said.append)
  told, variables = classifier.unpack(path.read_bytes())
  values = results.read(work).records[run.fingerprint].run['values']
  assert told['accuracy'] == pytest.approx(values['final/test/accuracy'], abs=2 / 359)
  assert told['examples'] == 359
  assert told['run'] == {
    'fingerprint': run.fingerprint, 'arm': 'baseline', 'seed': 0, 'steps': 12,
  }  # fmt: skip
  np.testing.assert_allclose([*told['mean'], *told['sd']], [73, 90], rtol=1e-5)
  assert told['data']['digest'] == made.dataset(run.config).digest
  assert f'--workdir={work}' in told['command']
  assert told['worst'].keys() == {'classifier_fid', 'classifier_kid'}
  assert variables['params']['dense0']['kernel'].shape == (64, 8)
  extractor = features.load(str(path), DATA)
  assert extractor.dims == 8
  assert len(said) == 1
  assert str(path) in said[0]
  assert export.export(made, run, work, None, said.append) == work / 'digits.npz'


def test_exports_mistakes_are_one_line(finished, tmp_path):
  made, work = finished
  run = launch.one_run(made, 'baseline', 0)

  def refused(message, run=run, work=work, target='it.npz'):
    with pytest.raises(errors.UserError, match=message) as error:
      export.export(made, run, work, tmp_path / target, print)
    assert '\n' not in str(error.value)
    assert not (tmp_path / target).exists()

  refused('--target must end in .npz', target='it.npy')
  refused('seed 5 is not finished', launch.one_run(made, 'baseline', 5))
  refused('is not finished', work=tmp_path)
  config = {**run.config, 'task': {'name': 'forecast'}}
  with pytest.raises(errors.UserError, match='only classifiers of images'):
    export.check(config, DATA, tmp_path / 'it.npz')
  export.compare({'accuracy': 0.9, 'examples': 100}, 0.91)
  with pytest.raises(errors.UserError, match='depends on more than its variables'):
    export.compare({'accuracy': 0.9, 'examples': 100}, 0.95)


def test_a_transform_that_does_more_is_refused():
  def square(batch, keys, *, train):
    del keys, train
    return {'image': jnp.square(batch['image'].astype(jnp.float32))}

  with pytest.raises(errors.UserError, match='does more to images'):
    export.normalisation(DATA._replace(transform=square))
  mean, sd, shape = export.normalisation(DATA)
  np.testing.assert_allclose([*mean, *sd], [73, 90], rtol=1e-5)
  assert shape == (8, 8, 1)
