"""Pictures from a finished run, by the command and by its mistakes.

Oracles: Pillow reads what was written; the sheet is the pictures, laid by hand.
"""

import types

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from dlsteroids.cli import command
from dlsteroids.config import files
from dlsteroids.data import digits_unpaired
from dlsteroids.run import export, sample
from dlsteroids.run import launch as study_lib
from dlsteroids.util import errors
from tests.fixtures import studies_on_disk as disk

pytestmark = pytest.mark.usefixtures('quick')
SETTINGS = """
  config.data.examples = 64
  config.data.range = 'tanh'
  config.model.latent = 3
  config.model.generator_hidden = (6,)
  config.model.discriminator_hidden = (7,)
  config.task.features = 'tests.fixtures.toy_features.make'
  config.study.metric = 'classifier_fid'
  config.study.seeds = 1
  config.train.steps = 4
  config.train.evaluations = 1
  config.engine.keep = 'last'
"""
FACTORS = "factors.factor('told', 'model.conditional', False, True),"


@pytest.fixture(scope='module')
def study(tmp_path_factory, quick):
  """Generators that make digits of noise: the baseline's, and one told the class."""
  folder = tmp_path_factory.mktemp('drawn')
  disk.write(folder, 'dense_gan', 'digits', 'gan', SETTINGS, FACTORS)
  with pytest.MonkeyPatch.context() as patch:
    disk.spare_figures(patch)
    assert command.main(words(folder)) == 0
  return folder


@pytest.fixture(scope='module')
def planned(study):
  return study_lib.plan_of(files.read(str(study / 'tiny.py')), study / 'work')


def words(folder, *more):
  return ['launch', f'--config={folder}/tiny.py', f'--workdir={folder}/work', *more]


def act(study, capsys, *more):
  """Exit code, and what the command said."""
  capsys.readouterr()
  code = command.main(words(study, '--action=sample', *more))
  said = capsys.readouterr()
  return code, said.out.strip(), said.err


def paint(study, planned, target, arm='baseline', seed=0, draw=0, asked=(), **options):
  """As the command does it, planned once."""
  run = study_lib.one_run(planned, arm, seed)
  chosen = sample.Options(target=str(target), seed=draw, **options)
  return sample.sample(planned, run, study / 'work', chosen, print, asked)


def read(path):
  return np.asarray(PIL.Image.open(path))


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_picture_and_a_sheet_of_all_are_written(study, tmp_path, capsys):
  target = tmp_path / 'new' / 'folder'
  code, said, _ = act(study, capsys, '--count=5', f'--target={target}')
  assert code == 0
  assert said == f'5 pictures each, and image.png of all, in {target}'
  names = [f'image-{index:04d}.png' for index in range(5)]
  assert sorted(path.name for path in target.iterdir()) == [*names, 'image.png']
  images = [read(target / name) for name in names]
  for image in images:
    assert (image.shape, image.dtype) == ((8, 8), np.uint8)
    assert np.ptp(image) > 0
  assert len({image.tobytes() for image in images}) == 5
  wanted = np.full((2 * 8 + 2, 3 * 8 + 2 * 2), 255, np.uint8)  # three and two
  for index, image in enumerate(images):
    top, left = index // 3 * 10, index % 3 * 10
    wanted[top : top + 8, left : left + 8] = image
  np.testing.assert_array_equal(read(target / 'image.png'), wanted)


def test_equal_draws_are_equal_and_others_differ(study, planned, tmp_path, capsys):
  assert act(study, capsys, '--count=2', '--draw=1', f'--target={tmp_path}/0')[0] == 0
  for index, number in ((1, 1), (2, 2)):
    paint(study, planned, tmp_path / str(index), count=2, draw=number)
  found = [contents(tmp_path / str(index)) for index in range(3)]
  assert found[0] == found[1]
  assert all(found[0][name] != found[2][name] for name in found[0])


def test_without_a_target_they_lie_in_the_study_s_folder(study, planned):
  folder = paint(study, planned, '', count=1)
  assert folder == study / 'work' / 'samples' / 'baseline-0-0'
  assert sorted(contents(folder)) == ['image-0000.png', 'image.png']


def test_a_class_can_be_asked_for_and_else_they_take_turns(study, planned, tmp_path):
  found = {}
  for label in ('', '3', '4'):
    target = tmp_path / f'label{label}'
    paint(study, planned, target, arm='told=True', count=12, label=label)
    found[label] = contents(target)
  for index in range(12):  # the same noise: only the class makes a difference
    name = f'image-{index:04d}.png'
    for label in ('3', '4'):
      assert (found[''][name] == found[label][name]) == (index % 10 == int(label))


MISTAKES = [
  ({'count': 0}, '--count must be at least 1, not 0'),
  ({'draw': -1}, '--draw must be at least 0, not -1'),
  ({'label': '3'}, '--label=3: the model is not conditional'),
  (
    {'arm': 'told=True', 'label': 'cat'},
    '--label=cat: no class of digits; there are 0',
  ),
  ({'arm': 'told=No'}, "no arm 'told=No'"),
  ({'seed': 7}, 'seed 7 is not finished'),
  *(({'asked': (name,)}, f'--{name} is not for pictures') for name in sample.TEXT),
]


@pytest.mark.parametrize(('changes', 'wanted'), MISTAKES, ids=str)
def test_mistakes_are_one_line(study, planned, tmp_path, changes, wanted):
  with pytest.raises(errors.UserError) as error:
    paint(study, planned, tmp_path / 'none', **changes)
  assert '\n' not in str(error.value)
  assert wanted in str(error.value)
  assert not (tmp_path / 'none').exists()


def test_mistakes_of_the_command_are_one_line(study, tmp_path, capsys):
  file = tmp_path / 'file'
  file.write_text('mine')
  for more, wanted in (
    (f'--target={file}', str(file)),
    (f'--target={file}/below', str(file)),
    ('--prompt=a', '--prompt is not for pictures'),
  ):
    code, out, err = act(study, capsys, '--count=1', more)
    assert (code, out) == (2, '')
    assert len(err.splitlines()) == 1
    assert wanted in err
  assert file.read_text() == 'mine'


def test_a_generator_is_no_classifier_to_export(study, planned, tmp_path):
  run = study_lib.one_run(planned, 'baseline', 0)
  with pytest.raises(errors.UserError, match='can be exported; this is task gan'):
    export.export(planned, run, study / 'work', tmp_path / 'it.npz', print)
  assert not (tmp_path / 'it.npz').exists()


def test_a_translator_is_given_test_images_and_colour_is_kept(tmp_path):
  """Of every kind all pictures; with fewer test images than asked for, again."""
  dataset = digits_unpaired.load({'examples': 40})
  config = {'model': {'name': 'cyclegan'}}
  run = types.SimpleNamespace(config=config, seed=3, arm='baseline')
  options = sample.Options(count=190, target=str(tmp_path))
  given = {}

  def translate(prompt, options):
    given.update(prompt, **options)
    made = jnp.uint8(jnp.round((prompt['x'] + 1) * 127.5))
    return {'x': made, 'x_as_y': jnp.repeat(made, 3, -1)}

  folder = sample.draw_pictures(translate, dataset, run, options, tmp_path, print)
  rows = dataset.split(3)['test']
  assert len(rows) < 190
  pairs = dataset.arrays['pairs'][np.resize(rows, 190)]
  assert (given['count'], given['label']) == (190, -1)
  for column, side in enumerate('xy'):
    wanted = dataset.arrays[side][pairs[:, column]]
    np.testing.assert_allclose((given[side] + 1) * 127.5, wanted, atol=1e-3)
  for index in (0, 189):
    shown = dataset.arrays['x'][pairs[index, 0]]
    np.testing.assert_array_equal(read(folder / f'x-{index:04d}.png'), shown[..., 0])
    colour = read(folder / f'x_as_y-{index:04d}.png')
    np.testing.assert_array_equal(colour, np.repeat(shown, 3, -1))
  assert read(folder / 'x_as_y.png').shape == (14 * 10 - 2, 14 * 10 - 2, 3)


def test_one_picture_is_its_own_sheet():
  image = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
  np.testing.assert_array_equal(sample.sheet(image), image[0])
