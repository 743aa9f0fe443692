"""Every mistake: one clear line on stderr, exit code 2, nothing half-written."""

import contextlib
import json
import os
import pathlib
import signal

import pytest

from dlsteroids.cli import command
from dlsteroids.plan import runs as runs_lib
from dlsteroids.run import compiler as compiler_lib
from dlsteroids.run import interrupt, local
from dlsteroids.store import results
from dlsteroids.study import study as study_lib
from dlsteroids.train import checkpoint, program
from dlsteroids.util import lock
from tests.fixtures import studies
from tests.fixtures import studies_on_disk as disk


@pytest.fixture
def fails(tmp_path, capsys, monkeypatch):
  """`fails(words, *wanted)`: runs the command, checks its one line, returns it."""
  monkeypatch.chdir(disk.ROOT)

  def run(words, *wanted, config=None, workdir=None):
    config = config or disk.write(tmp_path)
    workdir = workdir or tmp_path / 'work'
    before = snapshot(workdir)
    argv = ['launch', f'--config={config}', f'--workdir={workdir}', *words]
    code = command.main(argv)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert code == 2, (code, out, err)
    assert len(lines) == 1, err
    assert lines[0].startswith('dlsteroids: ')
    for text in wanted:
      assert text in lines[0]
    assert snapshot(workdir) == before
    return lines[0]

  return run


def snapshot(workdir):
  """All a workdir holds, but for the lock."""
  return {
    str(path): path.read_bytes()
    for path in pathlib.Path(workdir).rglob('*')
    if path.is_file() and not path.name.startswith('.lock')
  }


VALUES = [
  ('config.train.stepz=1', "'train.stepz'", "did you mean 'train.steps'"),
  ('config.trian.steps=1', "'trian.steps'", "did you mean 'train.steps'"),
  ('config.train.steps=abc', 'train.steps expects int', "'abc'"),
  ('config.train.steps=1.5', 'train.steps expects int', "'1.5'"),
  ('seeds=3', 'the option is --config.study.seeds'),
  ('config.optimizer.learning_rate=fast', 'expects float', "'fast'"),
  ('config.optimizer.nesterov=maybe', 'expects bool', "'maybe'"),
  ('config.model.hidden=a,b', 'model.hidden', "'a"),
  ('config.model.name=mpl', "'mpl'", "did you mean 'mlp'", 'available: '),
  ('config.data.name=mnist --config.data.exampels=9', "did you mean 'data.examples'"),
  (
    'config.data.name=image_folder --config.data.size=a',
    'data.size expects int',
    "'a'",
  ),
  ('config.data.name=digit', "'digit'", "did you mean 'digits'", 'cifar10'),
  ('config.task.name=clasify', "did you mean 'classify'"),
  ('config.model.name=nolab.nets', "'nolab.nets'", 'nolab'),
  ('config.optimizer.name=sdg', "'sdg'", "did you mean 'sgd'", 'adamw'),
  ('config.optimizer.schedule=cos', "'cos'", 'cosine'),
  ('config.model.activation=rellu', "'rellu'", "did you mean 'relu'"),
  ('config.train.matmul=best', "'best'", 'highest'),
  ('config.engine.strategy=pmap', "'pmap'", 'vmap'),
  ('config.engine.width=-1', 'engine.width', '-1'),
  ('config.study.design=one_of', "did you mean 'one_out'", 'factorial'),
  ('config.study.metric=acuracy', "did you mean 'accuracy'", 'loss'),
  ('config.study.only=dropuot', "'dropuot'", 'dropout'),
  ('config.study.seeds=0', 'study.seeds must be at least 1'),
  ('config.study.tune=model.hidden=1,2', 'no number that can be tuned'),
  ('config.train.batch_size=97', 'batch_size=97 exceeds the 96'),
  ('config.model.dropout=0.0', 'dropout'),
  ('action=train', '--action=train', 'run|plan|status|report|judge'),
  ('action=work', '--action=work needs --programs'),
  ('arm=dropout=0.0', '--arm goes with --action=replay or --action=sample'),
  ('latex --action=plan', '--latex goes with --action=run or --action=report'),
  ('prompt=a --action=replay', '--prompt goes with --action=sample'),
  ('programs=abc', '--programs goes with --action=work'),
  ('executor=slrum', '--executor=slrum', 'local|slurm|ray'),
  ('partition=gpu', '--partition goes with --executor=slurm'),
  ('gpus=1', '--gpus goes with --executor=slurm or --executor=ray'),
  ('unit_minutes=-1', '--unit_minutes=-1'),
  ('unit_minutes=1 --action=plan', '--unit_minutes goes with --action=run'),
  ('config.engine.lease_seconds=0', 'engine.lease_seconds must be above 0'),
  ('actoin=run', '--actoin', "did you mean 'action'"),
]


@pytest.mark.parametrize('case', VALUES, ids=[case[0] for case in VALUES])
def test_a_wrong_value_is_told_in_one_line(fails, case):
  fails([f'--{word}' for word in case[0].split(' --')], *case[1:])


def test_words_without_dashes_and_a_missing_config(fails, capsys):
  fails(['run', 'fast'], "unexpected argument 'fast'")
  fails(['run', '--action=run'], "'run' and --action=run: name one")
  assert command.main(['launch']) == 2
  assert 'which study? dlsteroids run CONFIG; shipped: ' in capsys.readouterr().err
  assert command.main(['launch', 'rnu', 'digits_cnn']) == 2
  assert "unknown action 'rnu' (did you mean 'run'?)" in capsys.readouterr().err


def test_a_config_file_that_does_not_exist(fails, tmp_path, capsys):
  fails([], "no config file 'nowhere.py'; shipped: ", config='nowhere.py')
  assert command.main(['launch', '--config', 'nowhere.py']) == 2
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1
  fails([], 'no config file', config=tmp_path)
  text = tmp_path / 'notes.txt'
  text.write_text('hello')
  fails([], 'not a Python file', config=text)


FILES = {
  'syntax': ('def get_config(:\n', ('SyntaxError',)),
  'import': ('import nosuchmodule\n', ('ModuleNotFoundError', 'nosuchmodule')),
  'no get_factors': ('def get_config(): pass\n', ('no function get_factors',)),
  'no get_config': ('def get_factors(config): pass\n', ('no function get_config',)),
  'config raises': (
    'def get_config(): return 1 / 0\ndef get_factors(config): return ()\n',
    ('get_config: ZeroDivisionError',),
  ),
  'no config': (
    'def get_config(): return None\ndef get_factors(config): return ()\n',
    ('get_config must return a ConfigDict', 'NoneType'),
  ),
}


@pytest.mark.parametrize('kind', FILES)
def test_a_config_file_with_a_mistake(fails, tmp_path, kind):
  text, wanted = FILES[kind]
  path = tmp_path / 'wrong.py'
  path.write_text(text)
  fails([], 'wrong.py', *wanted, config=path)


FACTORS = {
  'raises': ('[][0],', ('get_factors: IndexError',)),
  'nothing': ('None', ('get_factors must return a tuple', 'NoneType')),
  'empty': ('', ('gives no factors',)),
  'a name': ("'dropout',", ("get_factors lists 'dropout'; expected", 'factor(…)')),
  'a path': ("factors.factor('d', 'model.dropuot', 0.2, 0.0),", ('model.dropuot',)),
  'a type': ("factors.factor('d', 'model.dropout', 0.2, 'no'),", ('model.dropout',)),
  'a level': (
    "factors.factor('a', 'model.activation', 'relu', 'tanhh'),",
    ("did you mean 'tanh'",),
  ),
  'no change': (
    "factors.factor('m', 'optimizer.beta1', 0.9, 0.5),",
    ('arm m=0.5 changes nothing',),
  ),
}


@pytest.mark.parametrize('kind', FACTORS)
def test_factors_with_a_mistake(fails, tmp_path, kind):
  text, wanted = FACTORS[kind]
  fails([], *wanted, config=disk.write(tmp_path, factors=text))


def test_a_mode_that_get_config_does_not_take(fails, tmp_path):
  path = disk.write(tmp_path)
  path.write_text(path.read_text().replace("get_config(mode='')", 'get_config()'))
  fails([], 'takes no mode', config=f'{path}:smoke')


def test_a_factorial_explosion_says_how_many_and_how_to_shrink(fails, tmp_path):
  names = ('learning_rate', 'momentum', 'weight_decay', 'warmup', 'final')
  values = (0.1, 0.9, 0.0, 0.0, 0.0)
  text = ''.join(
    f"factors.factor('{n}', 'optimizer.{n}', {v}, 0.01, 0.02, 0.03),"
    for n, v in zip(names, values)
  )
  config = disk.write(tmp_path, factors=text)
  fails(['--config.study.design=factorial'], '1024 arms', 'study.only', config=config)


def test_missing_data_says_where_to_put_it(fails, tmp_path, monkeypatch):
  monkeypatch.setenv('DLSTEROIDS_DATA', str(tmp_path / 'none'))
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path / 'cache'))
  config = disk.write(
    tmp_path, data='mnist', settings='  config.data.download = False\n',
    factors="factors.factor('a', 'model.activation', 'relu', 'tanh'),",
  )  # fmt: skip
  fails([], 'mnist', '$DLSTEROIDS_DATA', config=config)
  fails(['--config.data.path=/no/such/folder'], '/no/such/folder', config=config)


def test_report_and_replay_before_any_run(fails):
  fails(['--action=report'], 'nothing to report', 'run it first')
  fails(['--action=replay', '--arm=dropuot=0.0'], "did you mean 'dropout=0.0'")
  fails(['--action=replay', '--seed=-1'], '--seed must be at least 0')


def test_a_workdir_that_cannot_be_used(fails, tmp_path):
  file = tmp_path / 'file'
  file.write_text('x')
  fails([], 'cannot write to workdir', str(file), workdir=file)
  fails([], 'cannot write to workdir', workdir=file / 'below')


def test_a_workdir_without_the_right_to_write(fails, tmp_path, monkeypatch):
  real = os.open

  def refuse(path, *args, **options):
    if str(path).endswith('.lock'):
      raise PermissionError(13, 'Permission denied', str(path))
    return real(path, *args, **options)

  monkeypatch.setattr(os, 'open', refuse)  # root may write everywhere
  fails([], 'cannot write to workdir', 'Permission denied')


@pytest.mark.parametrize('action', ['plan', 'run', 'report', 'replay'])
def test_a_workdir_of_another_study(fails, tmp_path, action):
  work = tmp_path / 'work'
  work.mkdir()
  other = studies.typed(studies.make_study(('part',), 2, name='other'))
  results.write_json(work / 'study.json', study_lib.to_json(other))
  fails([f'--action={action}'], "holds study 'other', this is 'tiny'", '--workdir')


@pytest.mark.usefixtures('no_report')
def test_checkpoints_on_a_full_disk_are_said_once(tmp_path, monkeypatch, capsys):
  config, work = disk.write(tmp_path), tmp_path / 'work'
  argv = ['launch', f'--config={config}', f'--workdir={work}']
  argv += ['--config.engine.checkpoint_seconds=0.0', '--config.engine.width=1']

  def refuse(folder, *rest):
    raise checkpoint.Unwritable(5, 'No space left on device', str(folder))

  monkeypatch.setattr(checkpoint, 'save', refuse)
  assert command.main(argv) == 0
  said = capsys.readouterr().err
  assert said.count('No space left on device; training continues') == 1
  assert disk.trained(work) == 4


@pytest.mark.usefixtures('no_report')
def test_what_a_lost_file_of_the_study_told_is_found_elsewhere(
  tmp_path, monkeypatch, capsys
):
  """Widths lie in the store, looks in both files; oracle: the files before."""
  config, work = disk.write(tmp_path), tmp_path / 'work'
  argv = ['launch', f'--config={config}', f'--workdir={work}']
  assert command.main([*argv, '--config.engine.width=3']) == 0
  before = {name: json.loads((work / name).read_text()) for name in FILES_OF_STUDY}
  looks = before['study.json']['looks']
  assert len(looks) == 1
  assert before['plan.json']['looks'] == looks
  for name in FILES_OF_STUDY:
    path = work / name
    data = bytearray(path.read_bytes())
    data[data.index(b'"look": 1') + 8] ^= 2  # it would be look 3
    path.write_bytes(data)
    capsys.readouterr()
    assert command.main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f'{name} is damaged' in line
    assert 'checksum does not match' in line
    path.rename(tmp_path / name)
    assert command.main([*argv, '--config.study.seeds=2']) == 0
    after = json.loads(path.read_text())
    assert after['looks'] == looks
  (entry,) = read_plan(work)['programs'].values()
  assert entry['width'] == 3
  assert disk.trained(work) == 4


FILES_OF_STUDY = ('study.json', 'plan.json')


@pytest.mark.parametrize('text', ['', '[]', '{}', '{"pid": 1}', '\xff', '[1'])
def test_a_damaged_lock_is_no_matter(fails, tmp_path, monkeypatch, text):
  work = tmp_path / 'work'
  monkeypatch.setattr(lock, 'PATIENCE', 0.1)
  with lock.hold(work):
    (work / '.lock.json').write_text(text)
    fails([], 'is held by another process')
  with lock.hold(work):
    assert json.loads((work / '.lock.json').read_text())['pid'] == os.getpid()


@pytest.mark.parametrize('name', ['study.json', 'plan.json'])
@pytest.mark.parametrize('text', ['{"format', '{}', '[]'])
def test_a_damaged_file_of_the_study(fails, tmp_path, name, text):
  work = tmp_path / 'work'
  work.mkdir()
  (work / name).write_text(text)
  fails([], name, 'move it away')


def test_a_held_workdir_says_by_whom(fails, tmp_path, monkeypatch):
  work = tmp_path / 'work'
  monkeypatch.setattr(lock, 'PATIENCE', 0.1)
  with lock.hold(work):
    fails([], f'held by process {os.getpid()} on ', ' since ')
    fails(['--action=report'], 'held by process')


def full(*args, **options):
  raise OSError(28, 'No space left on device')


def test_a_full_disk_before_training(fails, monkeypatch):
  monkeypatch.setattr(os, 'fsync', full)
  fails([], 'No space left on device')


@pytest.fixture
def no_report(monkeypatch):
  """Draws no figures, which is quicker."""
  disk.spare_figures(monkeypatch)
  disk.share_programs(monkeypatch)


@pytest.mark.usefixtures('no_report')
@pytest.mark.parametrize('place', ['store', 'keep'])
def test_a_full_disk_while_training_leaves_a_study_that_continues(
  tmp_path, monkeypatch, capsys, place
):
  config, work = disk.write(tmp_path), tmp_path / 'work'
  words = ['--config.engine.keep=last', '--config.engine.checkpoint_seconds=0.0']
  argv = ['launch', f'--config={config}', f'--workdir={work}', *words]

  def orbax(*args, **options):  # what tensorstore raises
    raise ValueError(
      'RESOURCE_EXHAUSTED: Failed to write 9 bytes: No space left on device'
    )

  with monkeypatch.context() as patch:
    if place == 'store':
      patch.setattr(results, 'write_batch', full)
    else:
      patch.setattr(checkpoint, place, orbax)
    assert command.main(argv) == 2
  line = capsys.readouterr().err.splitlines()[-1]
  assert line.startswith('dlsteroids: cannot write results to')
  assert 'No space left on device' in line
  assert 'the same command continues' in line
  assert all(p['width'] > 1 for p in read_plan(work)['programs'].values())
  before = read_plan(work)['programs']
  assert command.main(argv) == 0
  assert read_plan(work)['programs'] == before  # a full disk is no lack of memory
  assert (work / 'effects.csv').exists()


def read_plan(work):
  return json.loads((work / 'plan.json').read_text())


@pytest.mark.usefixtures('no_report')
def test_out_of_memory_halves_the_width_and_says_so(tmp_path, monkeypatch, capsys):
  config, work = disk.write(tmp_path), tmp_path / 'work'
  argv = ['launch', f'--config={config}', f'--workdir={work}']
  argv.append('--config.engine.width=2')
  train = local.loop.train

  def exhausted(made, *args, **options):
    if made.layout.width > 1:
      raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes')
    return train(made, *args, **options)

  monkeypatch.setattr(local.loop, 'train', exhausted)
  assert command.main(argv) == 0
  assert (
    'out of memory with 2 runs per device at a time; continuing with 1'
    in capsys.readouterr().err
  )
  (entry,) = read_plan(work)['programs'].values()
  assert entry['width'] == 1
  assert disk.trained(work) == 4
  assert command.main([*argv, '--config.study.seeds=3']) == 0  # it remembers
  assert 'out of memory' not in capsys.readouterr().err
  assert disk.trained(work) == 6
  assert command.main([*argv[:-1], '--config.engine.width=8']) == 2
  assert 'depend on them to the bit' in capsys.readouterr().err


def test_a_batch_that_is_too_large_for_its_layout_is_no_batch():
  layout = program.Layout('map', 1, 2, 1)
  for parts in ((('a',), ('b',), ('c',)), (('a', 'b', 'c'),)):
    with pytest.raises(ValueError, match='3 runs in a batch of 2'):
      compiler_lib.make_slots(None, runs_lib.Batch('mine', 4, parts, layout))


@pytest.mark.usefixtures('no_report')
def test_an_interrupt_that_a_library_swallows_still_stops(
  tmp_path, monkeypatch, capsys
):
  config, work = disk.write(tmp_path), tmp_path / 'work'
  argv = ['launch', f'--config={config}', f'--workdir={work}']
  get = compiler_lib.Compiler.get

  def swallow(*args):  # as a garbage collector's callback does
    if not interrupt.requested():  # a second one would end this process
      with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    return get(*args)

  with monkeypatch.context() as patch:
    patch.setattr(compiler_lib.Compiler, 'get', swallow)
    assert command.main(argv) == 130
  line = capsys.readouterr().err.splitlines()[-1]
  command_line = f'python -m dlsteroids --config={config} --workdir={work}'
  assert line == (
    f'dlsteroids: SIGINT; step 1 of 12 is saved; to continue: {command_line}'
  )
  assert disk.trained(work) == 0
  assert command.main(argv) == 0
  assert disk.trained(work) == 4
