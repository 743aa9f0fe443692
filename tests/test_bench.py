"""The benchmark's table and its protocol with workers; nothing here looks at times."""

import json
import math
import os
import subprocess
import sys

import jax
import pytest

from dlsteroids import config as config_lib
from dlsteroids.train import member
from experiments import bench_cases, bench_data, bench_page, bench_worker

ROWS = (
  bench_page.Row('A', 'ours', (2.0, 4.0, 3.0), 's/s', (1.0, 2.0, 1.25), 'x|y', 1.2),
  bench_page.Row('A', 'other', (0.01234,), 's/s', goal=0.01, below=True),
  bench_page.Row('B', 'third', note='no GPU', goal=1.0),
)


def clean(tmp_path, **more):
  """An environment whose cache and devices are this test's own."""
  mine = {'JAX_PLATFORMS': 'cpu', 'DLSTEROIDS_CACHE': str(tmp_path)}
  return {**os.environ, **mine, **more}


def test_markdown_has_medians_spreads_and_verdicts():
  lines = bench_page.markdown(ROWS, {'commit': 'abc'}).splitlines()
  assert '- commit: abc' in lines
  assert lines.count('## A') == lines.count('## B') == 1
  assert (
    '| ours | 3.00 (2.00 – 4.00) s/s | 1.25 (1.00 – 2.00) | x\\|y | ≥ 1.2, met |  |'
    in lines
  )
  assert '| other | 0.0123 s/s |  |  | ≤ 0.01, missed |  |' in lines
  assert '| third | not measured |  |  | ≥ 1 | no GPU |' in lines


def test_text_names_each_part_once_above_its_rows():
  lines = bench_page.text(ROWS).splitlines()
  assert [line for line in lines if line in ('A', 'B')] == ['A', 'B']
  assert lines.index('B') > next(i for i, x in enumerate(lines) if 'other' in x)


def test_json_keeps_every_sample_and_has_no_nan(tmp_path):
  rows = [*ROWS, bench_page.Row('B', 'free', (1.0,))]
  bench_page.write(tmp_path, rows, {'commit': 'abc'})

  def refuse(word):
    raise AssertionError(word)

  told = json.loads((tmp_path / 'bench.json').read_text(), parse_constant=refuse)
  assert told['rows'][0]['samples'] == [2.0, 4.0, 3.0]
  assert told['rows'][3]['goal'] is None
  assert told['about'] == {'commit': 'abc'}


@pytest.mark.parametrize(
  ('value', 'text'),
  [(0, '0'), (1234.5, '1,234'), (12.345, '12.3'), (0.0999, '0.0999'), (1, '1.00')],
)
def test_numbers_have_three_digits(value, text):
  assert bench_page.number(value) == text


def test_goal_is_for_the_ratios_where_there_are_some():
  row = bench_page.Row('A', 'a', (100.0,), ratios=(0.9,), goal=1.0)
  assert bench_page.is_met(row) is False
  assert bench_page.is_met(row._replace(ratios=())) is True
  assert bench_page.is_met(row._replace(goal=math.nan)) is None


class Fake:
  """A worker that takes a second per seed-step and `speed` of them at once."""

  def __init__(self, name, speed, log):
    self.name, self.speed, self.log = name, speed, log

  def ask(self, name, steps):
    self.log.append(self.name)
    self.steps = steps

  def read(self):
    return {'seconds': self.steps / self.speed, 'seed_steps': self.steps}


def test_contenders_take_turns_and_partners_add_up():
  log: list[str] = []
  alone = bench_worker.Contender('alone', [Fake('a', 8.0, log)])
  pair = bench_worker.Contender('pair', [Fake('b', 4.0, log), Fake('c', 2.0, log)])
  rates = bench_worker.interleave([alone, pair], 10.0, 3)
  # The slower of two partners decides when both are done: 2 × 2 per second.
  assert rates == {'alone': [8.0] * 3, 'pair': [4.0] * 3}
  assert log[-9:] == ['a', 'b', 'c'] * 3
  assert bench_worker.best(rates) == 'alone'


@pytest.mark.parametrize('name', bench_cases.CASES)
def test_torch_trains_a_network_of_the_same_size(name):
  pytest.importorskip('torch', reason='torch is not installed')
  from experiments import bench_torch

  case = bench_cases.CASES[name]
  config = config_lib.resolve(bench_cases.make_config(name, 512))
  made = bench_data.load({k: v for k, v in config['data'].items() if k != 'name'})
  slot = member.slot(config, made, 0)
  state = jax.eval_shape(member.make(config, made).init, slot, dict(made.arrays))
  leaves = jax.tree.leaves(state['variables']['model']['params'])
  network = bench_torch.Network(case)
  assert sum(x.numel() for x in network.parameters()) == sum(x.size for x in leaves)


def test_a_worker_trains_through_the_engine_and_ends_with_its_asker(
  tmp_path, monkeypatch
):
  for name, value in clean(tmp_path).items():
    monkeypatch.setenv(name, value)
  spec = {'kind': 'layouts', 'case': 'tiny_mlp', 'count': 512, 'devices': 1}
  wanted = [('map', 2, 1, 3)]  # three seeds in batches of two
  with bench_worker.Worker(sys.executable, {**spec, 'wanted': wanted}) as worker:
    name = 'map, width 2 × 1 devices'
    sample = bench_worker.Contender('x', [worker.ready()], name).run(5)
    assert worker.facts['params'] == 16 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
  assert sample.seed_steps == 15
  assert sample.seconds > 0
  assert worker.process.returncode is not None


def test_a_worker_that_fails_says_why(tmp_path, monkeypatch):
  for name, value in clean(tmp_path).items():
    monkeypatch.setenv(name, value)
  with (
    bench_worker.Worker(sys.executable, {'kind': 'nothing'}) as worker,
    pytest.raises(bench_worker.Failed, match='nothing'),
  ):
    worker.ready()


def test_command_prints_one_table_and_writes_it_where_asked(tmp_path):
  words = ['--quick', '--only=gpu', '--torch_python=', f'--out={tmp_path / "page"}']
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.bench', *words],
    cwd=bench_worker.ROOT,
    env=clean(tmp_path),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert 'not measured: no GPU' in done.stdout
  page = (tmp_path / 'page' / 'bench.md').read_text()
  assert '--only=gpu' in page
  assert 'these numbers mean nothing' in page


def test_an_unknown_part_is_one_line(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.bench', '--only=gpus'],
    cwd=bench_worker.ROOT,
    env=clean(tmp_path),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1
  assert done.stderr.strip().splitlines()[-1].startswith("only: unknown 'gpus'")
