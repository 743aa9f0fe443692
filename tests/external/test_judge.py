"""The action `judge`: what it prints and writes, and what it leaves alone."""

import json
import os
import pathlib
import subprocess
import sys

import pandas as pd
import pytest

import dlsteroids
from dlsteroids.cli import command
from dlsteroids.external import judge
from dlsteroids.report.figures import registry
from dlsteroids.util import errors
from tests.fixtures import tables_of_runs as tables

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def no_figures(monkeypatch):
  """Reports without figures, which take most of the time."""
  monkeypatch.setattr(registry, 'draw', lambda source: {})


@pytest.fixture(scope='module')
def judged(tmp_path_factory):
  """The answer on the long table."""
  folder = tmp_path_factory.mktemp('judged')
  path = tables.write(folder, 'long')
  words = 'dlsteroids judge long.csv'
  return judge.judge(path, folder / 'work', margin=0.004, command=words)


def test_the_verdicts_are_those_of_the_scores(judged):
  verdicts = dict(zip(judged.effects['arm'], judged.effects['verdict']))
  assert verdicts == {'no_dropout': 'hurts', 'tanh': 'equivalent'}
  first, second = judged.findings()
  assert first.startswith('no_dropout: in place of baseline it lowers test accuracy by')
  assert second.startswith('tanh makes a real but negligible difference')
  table = judged.per_seed()
  assert table.loc[3, 'tanh'] == tables.score('tanh', 3)
  assert judged.plot('effects').size[0] > 100


def test_the_report_says_what_was_read_and_nothing_of_training(judged):
  text = (judged.workdir / 'report.md').read_text('utf-8')
  assert 'seed from “seed”' in text
  assert 'dlsteroids judge long.csv' in text
  assert 'More test accuracy is better, by its name' in text
  for word in ('parameters', 'best step', 'validation', 'action=replay', 'multiply'):
    assert word not in text


def test_a_second_look_at_more_seeds_is_exploratory(tmp_path, no_figures):
  rows = [(a, s, tables.score(a, s)) for a, s in tables.RUNS]
  frame = pd.DataFrame(rows, columns=['arm', 'seed', 'acc'])
  answers = [
    judge.judge(part, tmp_path / 'w', alpha=0.1).to_json()
    for part in (frame[frame['seed'] < 6], frame[frame['seed'] < 6], frame)
  ]
  assert [answer['look']['exploratory'] for answer in answers] == [False, False, True]
  assert [step['action'] for step in answers[-1]['next']][-1] == 'confirm'


def test_missing_and_unpaired_runs_are_named(tmp_path, no_figures):
  rows = [(a, s, tables.score(a, s)) for a, s in tables.RUNS if (a, s) != ('tanh', 5)]
  frame = pd.DataFrame(rows, columns=['arm', 'seed', 'acc'])
  answer = judge.judge(frame, tmp_path / 'a')
  assert answer.failed
  text = answer.report.with_suffix('.md').read_text('utf-8')
  assert 'left out, with its pair (tanh: seed 5)' in text
  answer = judge.judge(frame, tmp_path / 'b', pairing='unpaired')
  text = answer.report.with_suffix('.md').read_text('utf-8')
  assert 'not paired by seed' in text
  assert 'baseline 7, no\\_dropout 7 and tanh 6' in text
  assert '6 and 7 runs, not paired' in text


def test_an_arm_without_scores_asks_for_its_runs(tmp_path, no_figures):
  rows = [(a, s, None if a == 'tanh' else tables.score(a, s)) for a, s in tables.RUNS]
  frame = pd.DataFrame(rows, columns=['arm', 'seed', 'acc'], dtype=object)
  answer = judge.judge(frame, tmp_path / 'w', alpha=0.1).to_json()
  run, *more = answer['next']
  assert (run['action'], run['sentence']) == (
    'run',
    'The table has no score of 7 runs of tanh.',
  )
  assert 'tanh' not in {step['arm'] for step in more}


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'better': 'more'}, 'better'),
    ({'margin': -1.0}, 'margin'),
    ({'alpha': 1.0}, 'alpha'),
    ({'fallback': float('nan')}, 'fallback'),
    ({'looks': 0}, 'looks'),
    ({'alpha': 'x'}, "alpha is a number, not 'x'"),
    ({'margin': None}, 'margin is a number'),
    ({'reference': 0}, "no arm '0'"),
    ({'pairing': 'x'}, 'pairing'),
    ({'metric': 'a,a'}, 'twice'),
    ({'reference': 'x'}, 'no arm'),
  ],
)
def test_a_wrong_setting_is_one_line_and_writes_nothing(tmp_path, options, message):
  path = tables.write(tmp_path, 'long')
  with pytest.raises(errors.UserError, match=message):
    judge.judge(path, tmp_path / 'work', **options)
  assert not (tmp_path / 'work').exists()


def test_a_workdir_of_another_study_is_left_alone(judged, tmp_path):
  before = (judged.workdir / 'study.json').read_bytes()
  path = tables.write(tmp_path, 'wide')
  with pytest.raises(errors.UserError, match="holds study 'long'"):
    judge.judge(path, judged.workdir, metric='acc')
  assert (judged.workdir / 'study.json').read_bytes() == before


def test_the_command_prints_the_findings(tmp_path, capsys, monkeypatch, no_figures):
  monkeypatch.chdir(tmp_path)
  tables.write(tmp_path, 'long')
  assert command.main(['dlsteroids', 'judge', 'long.csv', '--seed=seed']) == 0
  out = capsys.readouterr().out.splitlines()
  assert out[-1] == 'report: studies/long/report.html'
  for words in (['judge'], ['judge', 'x.csv'], ['judge', 'long.csv', '--metric=x']):
    assert command.main(['dlsteroids', *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count('\n')) == ('', 1)


def test_judging_imports_no_jax(tmp_path):
  tables.write(tmp_path, 'long')
  code = (
    'import sys; from dlsteroids.cli import command\n'
    "code = command.main(['dlsteroids', 'judge', 'long.csv', '--json'])\n"
    "names = {name.split('.')[0] for name in sys.modules}\n"
    "assert code == 0 and not names & {'jax', 'jaxlib', 'flax', 'optax'}, names"
  )
  done = subprocess.run(
    [sys.executable, '-c', code],
    cwd=tmp_path,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert json.loads(done.stdout)['kind'] == 'answer'
  assert dlsteroids.judge is judge.judge
