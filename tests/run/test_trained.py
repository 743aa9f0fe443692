"""A trained run read back; oracle: what the study stored of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dlsteroids
from dlsteroids.report import report
from dlsteroids.run import compiler as compiler_lib
from dlsteroids.run import local
from dlsteroids.train import probes
from dlsteroids.train import program as program_lib
from tests.fixtures import studies_on_disk as disk

FACTORS = disk.FACTORS + (
  "factors.factor('rate', 'optimizer.learning_rate', 0.1, 0.05),"
)


@pytest.fixture(scope='module')
def study(tmp_path_factory):
  folder = tmp_path_factory.mktemp('trained')
  settings = disk.SETTINGS + "  config.engine.keep = 'last'\n"
  config = disk.write(folder, factors=FACTORS, settings=settings)
  with pytest.MonkeyPatch.context() as patch:
    disk.spare_figures(patch)
    disk.share_programs(patch)
    answer = dlsteroids.run(config, folder / 'work', say=print)
  return answer


def test_a_loaded_run_predicts_as_it_did_when_it_was_trained(study):
  for arm in ('baseline', 'dropout=0.0', 'rate=0.05'):
    trained = dlsteroids.load(study.workdir, arm=arm, seed=1)
    test = trained.dataset.split(1)['test']
    logits = trained.apply(trained.dataset.arrays['image'][test])
    right = np.asarray(logits).argmax(-1) == trained.dataset.arrays['label'][test]
    assert right.mean() == pytest.approx(trained.scores['final/test/accuracy'])
    assert trained.config['model']['dropout'] == (0.0 if arm == 'dropout=0.0' else 0.2)
    rate = trained.config['optimizer']['learning_rate']
    assert rate == pytest.approx(0.05 if arm == 'rate=0.05' else 0.1)
  assert dlsteroids.load(study.workdir).seed == 0


def test_a_loaded_run_can_be_tuned_further(study):
  trained = dlsteroids.load(study.workdir)
  images, labels = (trained.dataset.arrays[name][:32] for name in ('image', 'label'))
  x = trained.preprocess(images)['image']

  def loss(params):
    variables = {**trained.variables, 'params': params}
    logits = trained.module.apply(variables, x, train=False, hyper=trained.hyper)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

  params = trained.variables['params']
  step = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))
  assert loss(step) < loss(params)
  assert jnp.isfinite(loss(step))


@pytest.mark.parametrize(
  ('options', 'wanted'),
  [
    ({'arm': 'dropuot=0.0'}, "did you mean 'dropout=0.0'"),
    ({'seed': 7}, 'no run of arm baseline with seed 7; the seeds are 0, 1'),
  ],
)
def test_mistakes_of_loading_are_one_line(study, options, wanted):
  with pytest.raises(dlsteroids.UserError, match=wanted):
    dlsteroids.load(study.workdir, **options)


@pytest.mark.parametrize(
  ('inputs', 'wanted'),
  [
    ({'imag': np.zeros((2, 8, 8, 1))}, "did you mean 'image'"),
    (np.zeros((2, 9, 8, 1)), r"'image' must have shape \[B, 8, 8, 1\], not \[2, 9"),
  ],
)
def test_mistakes_of_inputs_are_one_line(study, inputs, wanted):
  with pytest.raises(dlsteroids.UserError, match=wanted):
    dlsteroids.load(study.workdir).apply(inputs)


def test_no_study_and_nothing_kept(tmp_path, study, monkeypatch):
  with pytest.raises(dlsteroids.UserError, match='holds no study'):
    dlsteroids.load(tmp_path)


def test_an_answer_shows_its_findings(study):
  text = repr(study)
  assert text.endswith(f'report: {study.report}')
  assert 'These design' not in text
  page = study._repr_html_()
  for line in study.findings():
    assert line in text
  assert page.count('<li>') == len(study.findings())
  frame = study.per_seed()
  assert frame.columns.tolist() == ['baseline', 'dropout=0.0', 'rate=0.05']
  assert frame.index.tolist() == [0, 1]
  row = study.runs.query("arm == 'rate=0.05' and seed == 1")
  assert frame.loc[1, 'rate=0.05'] == row['test/accuracy'].item()
  with pytest.raises(dlsteroids.UserError, match="did you mean 'loss'"):
    study.per_seed('los')
  with pytest.raises(dlsteroids.UserError, match="no figure 'effects'"):
    study.plot()


def test_everything_of_a_run_uses_its_own_precision(tmp_path, monkeypatch):
  """Of an arm with train.matmul of its own: the program, the training, the probes."""
  seen = set()

  def spy(module, name):
    real = getattr(module, name)

    def call(*args, **options):
      seen.add((name, jax.config.jax_default_matmul_precision))
      return real(*args, **options)

    monkeypatch.setattr(module, name, call)

  spy(local.program_lib, 'compile_all')
  spy(local.loop, 'train')
  spy(probes, 'make')
  monkeypatch.setattr(report, 'write', lambda work, *rest: work / 'report.html')
  factors = "factors.factor('matmul', 'train.matmul', 'default', 'highest'),"
  config = disk.write(tmp_path, factors=factors)
  with jax.default_matmul_precision('float32'):
    dlsteroids.run(config, tmp_path / 'work', say=print)
    assert jax.config.jax_default_matmul_precision == 'float32'  # left alone
  names = ('compile_all', 'train', 'make')
  assert seen == {(name, kind) for name in names for kind in ('default', 'highest')}


def test_a_data_set_is_placed_once_by_many_threads(monkeypatch):
  import concurrent.futures
  import time
  import types

  calls = []

  def place(dataset, mesh):
    time.sleep(0.01)
    calls.append(dataset.digest)
    return {'x': object()}

  monkeypatch.setattr(program_lib, 'place_data', place)
  compiler = compiler_lib.Compiler(None)
  dataset, program = (types.SimpleNamespace(digest='d', mesh=None) for _ in range(2))
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    tasks = [pool.submit(compiler.place_data, dataset, program) for _ in range(8)]
    placed = [task.result() for task in tasks]
  assert calls == ['d']
  assert all(each is placed[0] for each in placed)
