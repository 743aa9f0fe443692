"""Text from a finished run, by the command and by its mistakes."""

import pytest

from dlsteroids.cli import command
from tests.fixtures import studies_on_disk as disk

pytestmark = pytest.mark.usefixtures('quick')

CONFIG = """
from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config():
  config = config_lib.base(model='recurrent', data='text_file', task='language')
  config.study.name = 'sampled'
  config.study.metric = 'nats'
  config.study.seeds = 1
  config.data.path = {path!r}
  config.data.window = 8
  config.data.eval_window = 16
  config.data.context = 4
  config.model.hidden = 16
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.02
  config.train.steps = 100
  config.train.batch_size = 8
  config.train.evaluations = 1
  return config


def get_factors(config):
  return (factors.factor('cell', 'model.cell', config.model.cell, 'gru'),)
"""


@pytest.fixture(scope='module')
def study(tmp_path_factory):
  folder = tmp_path_factory.mktemp('sampled')
  (folder / 'text.txt').write_text('abcd efgh. ' * 300)
  (folder / 'asked.py').write_text(CONFIG.format(path=str(folder / 'text.txt')))
  with pytest.MonkeyPatch.context() as patch:
    disk.spare_figures(patch)
    assert command.main(words(folder)) == 0
  return folder


def words(folder, *more):
  return ['launch', f'--config={folder}/asked.py', f'--workdir={folder}/work', *more]


def draw(folder, capsys, *more):
  capsys.readouterr()
  code = command.main(words(folder, '--action=sample', *more))
  said = capsys.readouterr()
  return code, said.out.removesuffix('\n'), said.err


def test_a_trained_run_continues_a_prompt(study, capsys):
  code, out, _ = draw(study, capsys, '--prompt=abc', '--temperature=0', '--length=19')
  assert (code, out) == (0, 'abc|d efgh. abcd efgh. '[:23])
  _, greedy, _ = draw(study, capsys, '--prompt=abc', '--top_k=1', '--length=19')
  assert greedy == out
  _, other, _ = draw(study, capsys, '--arm=cell=gru', '--prompt=abc', '--length=19')
  assert other.startswith('abc|')


def test_equal_draws_are_equal_and_others_differ(study, capsys):
  hot = ('--prompt=abc', '--temperature=20', '--length=60')
  first, again, other = (
    draw(study, capsys, *hot, f'--draw={seed}')[1] for seed in (1, 1, 2)
  )
  assert first == again != other
  assert len(first) == len('abc|') + 60


def test_without_a_prompt_it_continues_the_test_text(study, capsys):
  code, out, _ = draw(study, capsys, '--length=5')
  assert code == 0
  assert out.partition('|')[0] in 'abcd efgh. ' * 10


MISTAKES = [
  (('--prompt=xyz',), "'x'"),
  (('--length=0',), '--length must be at least 1'),
  (('--temperature=-1',), '--temperature must be at least 0'),
  (('--top_k=-1',), '--top_k must be at least 0'),
  (('--draw=-1',), '--draw must be at least 0'),
  (('--arm=cell=rnn',), "no arm 'cell=rnn'"),
  (('--seed=7',), 'seed 7 is not finished'),
  (('--count=3',), '--count is not for texts, which task language generates'),
  (('--label=a',), '--label is not for texts'),
  (('--target=there',), '--target is not for texts'),
]


@pytest.mark.parametrize(('more', 'wanted'), MISTAKES, ids=[m[0][0] for m in MISTAKES])
def test_mistakes_are_one_line(study, capsys, more, wanted):
  code, out, err = draw(study, capsys, *more)
  assert (code, out) == (2, '')
  assert len(err.splitlines()) == 1
  assert wanted in err


def test_images_generate_nothing(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(disk.ROOT)
  argv = ['launch', '--config=configs/digits_cnn.py:smoke', f'--workdir={tmp_path}']
  assert command.main([*argv, '--action=sample']) == 2
  assert 'generates nothing' in capsys.readouterr().err


def test_a_lost_checkpoint_is_said(study, capsys):
  folder = study / 'work' / 'checkpoints'
  folder.rename(study / 'moved')
  code, _, err = draw(study, capsys)
  assert code == 2
  assert 'no checkpoint' in err
  (study / 'moved').rename(folder)
