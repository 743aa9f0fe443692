"""The benchmark's table and its protocol with workers; nothing here looks at times."""

import json
import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.train import cost, member
from dlsteroids.train import step as step_lib
from experiments.bench import budget, common, gan, gpu
from experiments.bench import cases as cases_lib
from experiments.bench import data as data_lib
from experiments.bench import devices as devices_lib
from experiments.bench import page as page_lib
from experiments.bench import worker as worker_lib
from tests.fixtures import model_cases as cases

ROWS = (
  page_lib.Row('A', 'ours', (2.0, 4.0, 3.0), 's/s', (1.0, 2.0, 1.25), 'x|y', 1.2),
  page_lib.Row('A', 'other', (0.01234,), 's/s', goal=0.01, below=True),
  page_lib.Row('B', 'third', note='no GPU', goal=1.0),
)


def clean(tmp_path, **more):
  """An environment whose cache and devices are this test's own."""
  mine = {'JAX_PLATFORMS': 'cpu', 'DLSTEROIDS_CACHE': str(tmp_path)}
  return {**os.environ, **mine, **more}


def test_markdown_has_medians_spreads_and_verdicts():
  lines = page_lib.markdown(ROWS, {'commit': 'abc'}).splitlines()
  assert '- commit: abc' in lines
  assert lines.count('## A') == lines.count('## B') == 1
  assert (
    '| ours | 3.00 (2.00 – 4.00) s/s | 1.25 (1.00 – 2.00) | x\\|y | ≥ 1.2, met |  |'
    in lines
  )
  assert '| other | 0.0123 s/s |  |  | ≤ 0.01, missed |  |' in lines
  assert '| third | not measured |  |  | ≥ 1 | no GPU |' in lines


def test_text_names_each_part_once_above_its_rows():
  lines = page_lib.text(ROWS).splitlines()
  assert [line for line in lines if line in ('A', 'B')] == ['A', 'B']
  assert lines.index('B') > next(i for i, x in enumerate(lines) if 'other' in x)


def test_json_keeps_every_sample_and_has_no_nan(tmp_path):
  rows = [*ROWS, page_lib.Row('B', 'free', (1.0,))]
  page_lib.write(tmp_path, rows, {'commit': 'abc'})

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
  assert page_lib.number(value) == text


def test_goal_is_for_the_ratios_where_there_are_some():
  row = page_lib.Row('A', 'a', (100.0,), ratios=(0.9,), goal=1.0)
  assert page_lib.is_met(row) is False
  assert page_lib.is_met(row._replace(ratios=())) is True
  assert page_lib.is_met(row._replace(goal=math.nan)) is None


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
  alone = worker_lib.Contender('alone', [Fake('a', 8.0, log)])
  pair = worker_lib.Contender('pair', [Fake('b', 4.0, log), Fake('c', 2.0, log)])
  rates = worker_lib.interleave([alone, pair], 10.0, 3)
  # The slower of two partners decides when both are done: 2 × 2 per second.
  assert rates == {'alone': [8.0] * 3, 'pair': [4.0] * 3}
  assert log[-9:] == ['a', 'b', 'c'] * 3
  assert worker_lib.best(rates) == 'alone'


def test_every_number_of_devices_is_compared_with_one():
  one = {want.label: want for want in devices_lib.wanted_on(1, 32)}
  for count in (2, 8):
    for want in devices_lib.wanted_on(count, 32):
      width, devices, data = want.layout
      assert devices == count
      assert want.seeds <= width * devices // data  # one batch of members
      per_device = want.seeds * want.batch / count
      before = one[want.against]
      if want.label.startswith('weak'):
        assert per_device == before.seeds * before.batch
      else:
        assert want.seeds * want.batch == before.seeds * before.batch


@pytest.mark.parametrize('name', cases_lib.CASES)
def test_torch_trains_a_network_of_the_same_size(name):
  pytest.importorskip('torch', reason='torch is not installed')
  from experiments.bench import torch_images as torch_lib

  case = cases_lib.CASES[name]
  config = config_lib.resolve(
    cases_lib.make_config(name, max(512, cases_lib.CASES[name].batch))
  )
  made = data_lib.load({k: v for k, v in config['data'].items() if k != 'name'})
  slot = member.slot(config, made, 0)
  state = jax.eval_shape(member.make(config, made).init, slot, dict(made.arrays))
  leaves = jax.tree.leaves(state['variables']['model']['params'])
  network = torch_lib.Network(case)
  assert sum(x.numel() for x in network.parameters()) == sum(x.size for x in leaves)


def test_small_nets_are_timed_at_three_numbers_of_seeds():
  for net, goal in (('small', 1.2), ('perceptron', 2.0)):
    for seeds in (2, 8, 12):
      case = cases_lib.CASES[f'{net}{seeds}']
      config = cases_lib.make_config(f'{net}{seeds}', 512)
      assert (case.goal, config.study.seeds) == (goal, seeds)
      assert config.optimizer.name == 'adam'
      assert config.model.get('norm', '') == ('batch' if net == 'small' else 'none')


def test_a_worker_trains_through_the_engine_and_ends_with_its_asker(
  tmp_path, monkeypatch
):
  for name, value in clean(tmp_path).items():
    monkeypatch.setenv(name, value)
  spec = {'kind': 'layouts', 'case': 'tiny_mlp', 'count': 512, 'devices': 1}
  wanted = [('map', 2, 1, 3)]  # three seeds in batches of two
  with worker_lib.Worker(sys.executable, {**spec, 'wanted': wanted}) as worker:
    name = 'map, width 2 × 1 devices'
    sample = worker_lib.Contender('x', [worker.ready()], name).run(5)
    assert worker.facts['params'] == 16 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
  assert sample.seed_steps == 15
  assert sample.seconds > 0
  assert worker.process.returncode is not None


def test_a_worker_that_fails_says_why(tmp_path, monkeypatch):
  for name, value in clean(tmp_path).items():
    monkeypatch.setenv(name, value)
  with (
    worker_lib.Worker(sys.executable, {'kind': 'nothing'}) as worker,
    pytest.raises(worker_lib.Failed, match='nothing'),
  ):
    worker.ready()


def test_a_gpu_page_whose_minutes_are_spent_names_what_it_left_out(tmp_path):
  words = ['--page=gpu', '--quick', '--minutes=0.001', f'--out={tmp_path / "page"}']
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.bench', *words, '--torch_python='],
    cwd=worker_lib.ROOT,
    env=clean(tmp_path),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  text = (tmp_path / 'page' / 'gpu.md').read_text()
  assert '--page=gpu' in text
  assert 'these numbers mean nothing' in text
  rows = json.loads((tmp_path / 'page' / 'gpu.json').read_text())['rows']
  assert rows[0]['note'] == 'not measured: torch is not installed'
  assert all(row['note'].startswith('left out') for row in rows[1:])
  planned = gpu.measurements(settings()._replace(torch=''))
  assert len(rows) == len(planned) + 1


def test_the_command_of_a_committed_page_makes_that_page():
  folder = worker_lib.ROOT / 'experiments' / 'results' / 'bench'
  pages = sorted(folder.glob('*.json'))
  assert pages
  for page in pages:
    command = json.loads(page.read_text())['about']['command']
    assert f'--page={page.stem}' in command.split(), page.name
    assert f'- command: {command}\n' in page.with_suffix('.md').read_text()


def test_an_unknown_part_is_one_line(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.bench', '--only=gpus'],
    cwd=worker_lib.ROOT,
    env=clean(tmp_path),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1
  assert done.stderr.strip().splitlines()[-1].startswith("only: unknown 'gpus'")


# Games of two players: torch does the same work


def make_game(name):
  """Ours: task, first state, a batch of images as a step draws it, numbers."""
  config = config_lib.resolve(gan.make_config(name, 64))
  made = config_lib.find('data', config['data']['name']).load(config['data'])
  task = config_lib.find('tasks', config['task']['name']).build(config, made)
  hyper = {path: jnp.float32(value) for path, value in config_lib.hyper(config).items()}
  raw = made.take(made.arrays, np.arange(config['train']['batch_size']), train=True)
  batch = made.transform(raw, rng.Keys(rng.root(0)), train=True)
  init = lambda batch: step_lib.init(task, rng.root(0), batch, hyper)
  return task, init, batch, hyper


def test_torch_plays_games_of_the_same_size():
  torch = pytest.importorskip('torch', reason='torch is not installed')
  from experiments.bench import torch_gan

  for name, case in cases_lib.GAMES.items():
    _, init, batch, _ = make_game(name)
    state = jax.eval_shape(init, batch)
    with torch.device('meta'):
      game = torch_gan.make_game(case, 'eager')
    for player, mine in state['variables'].items():
      count = sum(leaf.size for leaf in jax.tree.leaves(mine['params']))
      assert sum(value.numel() for value in game.parameters(player)) == count


def copy_weights(torch, params, net):
  """Our parameters of one network into torch's of the same names."""
  left = dict(net.named_parameters())
  for path, leaf in traverse_util.flatten_dict(params).items():
    value = torch.tensor(np.asarray(leaf))
    layer = net.get_submodule('.'.join(x for x in path[:-1] if x != 'batch'))
    if isinstance(layer, torch.nn.ConvTranspose2d) and value.ndim == 4:
      value = value.flip(0, 1).permute(2, 3, 0, 1)
    elif value.ndim > 1:
      value = value.permute((3, 2, 0, 1) if value.ndim == 4 else (1, 0))
    own = 'bias' if path[-1] == 'bias' else 'weight'
    getattr(layer, own).data.copy_(value)
    left = {key: rest for key, rest in left.items() if rest is not getattr(layer, own)}
  assert not left


@pytest.mark.parametrize(
  'name', ['tiny_dcgan', pytest.param('tiny_cyclegan', marks=pytest.mark.slow)]
)
def test_torch_plays_the_same_game(name):
  """With copied weights both losses of three steps, so also both Adams' moves; and the
  operations of a step, by torch's own counter."""
  torch = pytest.importorskip('torch', reason='torch is not installed')
  from torch.utils import flop_counter

  from experiments.bench import torch_gan

  task, init, batch, hyper = make_game(name)
  state = cases.jit(init)(batch)
  games = {mode: torch_gan.make_game(cases_lib.GAMES[name], mode)
           for mode in common.MODES[:2]}  # fmt: skip
  for game in games.values():
    for player, nets in game.nets.items():
      params = state['variables'][player]['params']
      for key, net in nets.items():
        copy_weights(torch, params[key] if key else params, net)
  step = step_lib.make(task)
  keys = rng.Keys(rng.root(0))
  counted = cost.nominal(lambda s, b: step(s, b, keys, hyper), state, batch)
  run = cases.jit(lambda s, b, number: step(s, b, rng.Keys(rng.root(0), number), hyper))
  for number in range(3):
    state, ours, finite = run(state, batch, number)
    assert finite
    given = {domain: torch.tensor(np.asarray(batch[domain])).permute(0, 3, 1, 2)
             for domain in games['eager'].domains}  # fmt: skip
    noise = rng.Keys(rng.root(0), number)('noise')
    shape = (len(given[games['eager'].domains[0]]), cases_lib.LATENT)
    given['noise'] = torch.tensor(np.asarray(jax.random.normal(noise, shape)))
    for game in games.values():
      with flop_counter.FlopCounterMode(display=False) as counter:
        theirs = game.step(given)
      for key, value in theirs.items():
        assert float(ours[key]) == pytest.approx(value.item(), rel=1e-4)
      assert counter.get_total_flops() == counted.flops


def test_a_pool_of_torch_fills_and_then_exchanges():
  torch = pytest.importorskip('torch', reason='torch is not installed')
  from experiments.bench import torch_gan

  torch.manual_seed(0)
  pool = torch_gan.Pool(3)
  images = torch.arange(40.0).reshape(40, 1, 1, 1)
  shown = torch.cat([pool.show(image) for image in images.split(1)])
  assert torch.equal(shown[:3], images[:3])
  old = shown[3:] != images[3:]
  assert 8 < old.sum() < 29  # of 37 about half
  seen = sorted([*shown.flatten().tolist(), *(x.item() for x in pool.images)])
  assert set(seen) == set(range(40))


def test_many_seeds_are_shared_by_processes():
  assert gan.split(4, 2) == [2, 2]
  assert gan.split(3, 2) == [2, 1]
  assert gan.split(1, 2) == [1]


@pytest.mark.slow  # compiles four programs
def test_games_are_timed_in_turns(tmp_path):
  words = ['--quick', '--only=adversarial', f'--out={tmp_path}', '--page=games']
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.bench', *words],
    cwd=worker_lib.ROOT,
    env=clean(tmp_path),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  rows = json.loads((tmp_path / 'games.json').read_text())['rows']
  assert all(row['samples'] for row in rows)
  goals = [row['goal'] for row in rows if row['what'].startswith('dlsteroids')]
  assert goals == [1.0, 0.9, 0.9, 0.9, 0.9]


@pytest.mark.slow  # a report of a hundred arms
def test_long_studies_are_filled_scanned_and_reported(tmp_path):
  words = ['--quick', '--only=store,checkpoints', f'--out={tmp_path}', '--page=long']
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.bench', *words],
    cwd=worker_lib.ROOT,
    env=clean(tmp_path),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  rows = json.loads((tmp_path / 'long.json').read_text())['rows']
  assert all(row['samples'] for row in rows), rows
  assert len({row['part'] for row in rows}) == 2


def test_a_named_page(tmp_path):
  page_lib.write(tmp_path, ROWS, {'commit': 'abc'}, 'games')
  assert {path.name for path in tmp_path.iterdir()} == {'games.md', 'games.json'}


# The page of a GPU


def settings(quick=True):
  return common.Settings(['python'], 'python', 0.05, 2, 512, quick)


def test_a_budget_leaves_out_what_does_not_fit_and_survives_failures():
  now, limits = [0.0], {}

  def make(name, estimate, takes, error=None):
    def run(limit):
      limits[name] = limit
      now[0] += takes
      yield page_lib.Row('P', f'{name} half')
      if error:
        raise error
      yield page_lib.Row('P', name)

    return budget.Measurement('P', name, estimate, run)

  todo = [
    make('first', 10, 20),
    make('second', 10, 30, ValueError('long story\nout of memory')),
    make('third', 60, 0),  # 50 s are left
    make('fourth', 5, 49),
    make('fifth', 5, 0),
  ]
  rows = list(budget.spend(todo, 100.0, lambda: now[0]))
  assert [row.what for row in rows] == [
    *('first half', 'first', 'second half', 'second'),
    *('third', 'fourth half', 'fourth', 'fifth'),
  ]
  assert rows[3].note == 'not measured: out of memory'
  assert rows[4].note == 'left out: takes about 60 s, 50 s were left'
  assert rows[7].note == 'left out: takes about 5 s, 1 s were left'
  assert limits == {'first': 25.0, 'second': 25.0, 'fourth': 12.5}


def test_rows_of_a_part_that_are_measured_later_stand_with_it():
  a, b, c = (page_lib.Row(part, what) for part, what in ('A1', 'B2', 'A3'))
  assert page_lib.by_part([a, b, c]) == [a, c, b]


def test_the_four_networks_come_first_and_each_has_torch_in_all_modes():
  plan = gpu.measurements(settings(quick=False))
  names = [(item.part, item.name) for item in plan]
  assert len(set(names)) == len(names)
  first = [part for part, name in names if name == 'dlsteroids'][:4]
  assert first == [f'{gpu.about_of(name)}; TF32' for name in gpu.CASES]
  for part in first:
    modes = {name for other, name in names if other == part}
    for mode in ('eager', 'compile', 'graph', 'compile graph'):
      assert any(name.removesuffix(' channels_last') == f'torch, {mode}'
                 for name in modes)  # fmt: skip
  # What matters most fits into eight minutes by its own estimates.
  assert sum(item.seconds for item in plan[: 1 + 2 * len(gpu.CASES)]) < 5 * 60


class NoGpu(Fake):
  """A worker whose JAX runs on the processor."""

  facts: dict[str, str] = {'backend': 'cpu'}  # noqa: RUF012

  def __init__(self, python, spec):
    super().__init__(python, 1.0, [])

  def __enter__(self):
    return self

  def __exit__(self, *error):
    pass

  def ready(self):
    return self


def test_without_a_gpu_its_page_is_refused_in_one_line(monkeypatch):
  monkeypatch.setattr(gpu, 'Worker', NoGpu)
  line = gpu.refuse(settings(quick=False))
  assert line.startswith('page gpu: needs an NVIDIA GPU')
  assert 'runs on cpu' in line
  assert '\n' not in line
  assert gpu.refuse(settings()) == ''


def test_a_worker_past_its_limit_is_cut(monkeypatch):
  class Slow(worker_lib.Worker):
    def __init__(self, python, spec, **environment):
      self.log = open(os.devnull, 'w+')  # noqa: SIM115
      self.process = subprocess.Popen(
        ['sleep', '60'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
      )

  monkeypatch.setattr(gpu, 'Worker', Slow)
  bench = gpu.Bench(settings())
  with (
    pytest.raises(worker_lib.Failed, match='cut after 0 s'),
    bench.open('python', 'gpu_facts', 0.05),
  ):
    pass


def test_forms_of_many_members_convolutions_equal_a_loop_over_members():
  from experiments.bench import gpu_jax

  x, k, dy = gpu_jax.draw_convolution(3, 2, 4, 2, 5)
  expected = {'forward': [], 'kernel gradient': []}
  for member_x, member_k, member_dy in zip(x, k, dy):
    conv = lambda kernel, image=member_x: gpu_jax.convolve(image, kernel)
    y, pull = jax.vjp(conv, member_k)
    expected['forward'].append(y)
    expected['kernel gradient'].append(pull(member_dy)[0])
  for name, forms in gpu_jax.conv_forms().items():
    for form, function in forms.items():
      value = function(x, k, dy)
      np.testing.assert_allclose(
        value, np.stack(expected[name]), rtol=1e-4, atol=1e-4, err_msg=f'{name} {form}'
      )


def test_torch_trains_a_decoder_of_the_same_size():
  torch = pytest.importorskip('torch', reason='torch is not installed')
  from experiments.bench import gpu_torch

  for name, case in cases_lib.DECODERS.items():
    config = config_lib.resolve(cases_lib.make_config(name, 0))
    data = config_lib.find('data', config['data']['name']).load(
      {k: v for k, v in config['data'].items() if k != 'name'}
    )
    slot = member.slot(config, data, 0)
    state = jax.eval_shape(member.make(config, data).init, slot, dict(data.arrays))
    leaves = jax.tree.leaves(state['variables']['model']['params'])
    with torch.device('meta'):
      count = gpu_torch.count_params(gpu_torch.Decoder(case).parameters())
    assert sum(leaf.size for leaf in leaves) == count


@pytest.mark.parametrize('name', dict.fromkeys(gpu.TOYS.values()))
def test_steps_of_torch_that_a_graph_can_capture_train_on_their_own_tensors(name):
  pytest.importorskip('torch', reason='torch is not installed')
  from experiments.bench import gpu_torch

  offer = gpu_torch.gpu_torch(name, 64, 'eager', 'float32', 'cpu')
  assert offer.measures['train'](2).seed_steps == 2
  assert offer.facts['params'] > 0


@pytest.mark.slow  # some twenty processes, each compiling
def test_a_whole_gpu_page_in_toy_sizes(tmp_path):
  words = ['--page=gpu', '--quick', '--minutes=30', f'--out={tmp_path}']
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.bench', *words],
    cwd=worker_lib.ROOT,
    env=clean(tmp_path),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  rows = json.loads((tmp_path / 'gpu.json').read_text())['rows']
  for row in rows:  # what needs a GPU says so, all else is measured
    needs_gpu = 'graph' in row['what'] or 'cuDNN' in row['what']
    assert bool(row['samples']) != needs_gpu, row
