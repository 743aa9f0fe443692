"""How a program's runs lie on devices; oracles: the rule by hand, and counting."""

import collections

import jax
import pytest

from dlsteroids import config as config_lib
from dlsteroids.plan import equalise, layouts, memory, study_plan
from dlsteroids.plan import runs as runs_lib
from dlsteroids.study import conditions
from dlsteroids.train import inspect
from dlsteroids.train import program as program_lib

GIB = 2**30


def facts(convolves, state_bytes, activation=0, evaluation=0):
  return inspect.Facts(
    digest='',
    live=frozenset(),
    params=0,
    flops=1.0,
    executed_flops=1.0,
    activation_bytes=activation,
    evaluation_bytes=evaluation,
    state_bytes=state_bytes,
    traffic_bytes=0.0,
    unknown_loops=False,
    convolves=convolves,
    recurs=False,
    primitives=frozenset(),
    scalars=(),
  )


CONFIG = config_lib.resolve(config_lib.base(model='mlp', data='digits'))


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='widths of a CPU')
@pytest.mark.parametrize(
  ('convolves', 'state_bytes', 'strategy', 'width'),
  [
    (True, 10**6, 'map', 8),
    (True, 2**26, 'map', 4),
    (True, 260_000_000, 'map', 1),
    (True, 2**33, 'map', 1),
    (False, 10**6, 'vmap', 5),
    (False, 2**28, 'vmap', 4),
  ],
)
def test_a_width_takes_no_more_than_its_bytes(convolves, state_bytes, strategy, width):
  layout = layouts.choose(CONFIG, facts(convolves, state_bytes))
  assert (layout.strategy, layout.width) == (strategy, width)


def test_what_was_planned_before_comes_first():
  before = {'strategy': 'map', 'width': 3}
  layout = layouts.choose(CONFIG, facts(True, 10**6), written=before)
  assert (layout.strategy, layout.width) == ('map', 3)


def test_the_evaluation_batch_of_an_arm_is_cut_not_that_of_the_baseline(monkeypatch):
  arm = config_lib.override(CONFIG, [('train.eval_batch', 100)])
  name, condition = runs_lib.program_id(arm), conditions.Condition('steps')
  plan = study_plan.Plan(
    config=CONFIG, design=None, conditions=[condition], arms={},
    at={('arm', condition): equalise.Adjusted(arm, 0.0)}, datasets={},
    members={name: None}, facts={name: facts(True, 0, evaluation=GIB)}, layouts={},
    code={}, grid={}, final=True, claims=(), programs=None,
  )  # fmt: skip
  devices = jax.device_count() if memory.shared() else 1
  monkeypatch.setattr(memory, 'room', lambda datasets: devices * GIB / 2)
  plan = study_plan.with_layouts(plan, {})
  assert plan.layouts[name].eval_batch == 50
  assert '50 in place of 100 examples' in plan.limits[name]


def make_runs(count, program='p', steps=10, first=0):
  config = {'train': {'steps': steps}}
  names = [f'{program}{steps}:{i}' for i in range(first, first + count)]
  return [runs_lib.Run('arm', 0, 0, config, program, name, name) for name in names]


def never(name):
  return False


def choose(strategy, devices, counts, monkeypatch):
  monkeypatch.setattr(jax, 'device_count', lambda: devices)
  return layouts.choose(CONFIG, facts(strategy == 'map', 10**6), counts)


def cut(runs, layout, done=never, **options):
  return layouts.batches(runs, done, lambda name: layout, **options)


@pytest.mark.parametrize('devices', [1, 2, 8])
@pytest.mark.parametrize('strategy', ['map', 'vmap'])
def test_no_seed_count_trains_members_to_discard_them(strategy, devices, monkeypatch):
  """Every run has a slot of its own; no batch keeps more devices busy than it must."""
  most = layouts.WIDTHS['cpu', strategy]
  for count in range(1, 41):
    layout = choose(strategy, devices, [count], monkeypatch)
    rounds = -(-count // (devices * most))
    assert layout.width == -(-count // (devices * rounds))
    todo = cut(make_runs(count), layout)
    assert layouts.share_padded(todo) <= 0.05
    assert [run.fingerprint for batch in todo for run in batch.runs] == [
      run.fingerprint for run in make_runs(count)
    ]
    assert len(todo) == rounds
    for batch in todo:
      assert len(set(batch.positions)) == len(batch.runs)
      assert max(batch.positions) < batch.layout.members
      sizes = [len(part) for part in batch.parts]
      assert max(sizes) - min(sizes) <= 1
      assert len(sizes) == min(devices, len(batch.runs))


@pytest.mark.parametrize(
  ('seeds', 'devices', 'sizes'),
  [
    (2, 1, [[2]]),
    (2, 2, [[1, 1]]),
    (12, 2, [[3, 3], [3, 3]]),
    (7, 1, [[4], [3]]),
    (7, 2, [[4, 3]]),
    (13, 2, [[4, 4], [3, 2]]),
    (9, 8, [[2] + 7 * [1]]),
  ],
)
def test_seeds_are_spread_over_devices_and_rounds(seeds, devices, sizes, monkeypatch):
  layout = choose('vmap', devices, [seeds], monkeypatch)
  todo = cut(make_runs(seeds), layout)
  assert [[len(part) for part in batch.parts] for batch in todo] == sizes
  for batch in todo:
    counts = [len(part) for part in batch.parts for _ in part]
    assert batch.widths == counts  # nobody runs beside a copy


def test_arms_that_differ_in_numbers_alone_and_searches_share_the_width(monkeypatch):
  """Of several series of runs the one that needs the most members decides."""
  assert choose('vmap', 1, [3, 8, 4], monkeypatch).width == 4
  assert choose('vmap', 2, [3, 20], monkeypatch).width == 5


def test_a_fixed_width_is_filled_up_and_the_share_is_known():
  layout = program_lib.Layout('vmap', 5, 2)
  todo = cut(make_runs(12), layout, fixed=True)
  assert [[len(part) for part in batch.parts] for batch in todo] == [[5, 5], [2]]
  assert {width for batch in todo for width in batch.widths} == {5}
  assert layouts.share_padded(todo) == pytest.approx(3 / 15)
  several = [*todo, *cut(make_runs(5, 'q', 30), layout, fixed=True)]
  assert layouts.share_padded(several, {'p': 1.0, 'q': 2.0}.get) == pytest.approx(
    3 * 10 / (15 * 10 + 5 * 30 * 2)
  )


@pytest.mark.parametrize('devices', [1, 2, 3, 8])
@pytest.mark.parametrize('count', [7, 13, 23])
def test_a_continued_study_keeps_every_width_on_any_devices(count, devices):
  """Batches are stored whole; the widths left over are those that were recorded."""
  layout = program_lib.Layout('vmap', 4, 2)
  runs = make_runs(count)
  whole = cut(runs, layout)
  widths = collections.Counter()
  for batch in whole:
    widths.update(batch.widths)
  narrow = layouts.narrow_widths(whole, lambda name: layout)
  other = layout._replace(devices=devices)
  done: dict[str, int] = {}
  while len(done) < count:  # killed after every batch
    batch = cut(runs, other, done.__contains__, narrow=narrow)[0]
    done |= {run.fingerprint: w for run, w in zip(batch.runs, batch.widths)}
  assert collections.Counter(done.values()) == widths
  for name, width in narrow.items():
    assert done[name] == width


def test_later_seeds_fill_batches_of_the_recorded_width():
  layout = program_lib.Layout('vmap', 4, 2)
  runs = make_runs(8)
  done = {run.fingerprint for run in runs}
  todo = cut([*runs, *make_runs(11, first=8)], layout, done.__contains__)
  assert [[len(part) for part in batch.parts] for batch in todo] == [[4, 4], [2, 1]]


def test_groups_that_share_batches_run_as_many_members_each():
  layout = program_lib.Layout('vmap', 4, 4, 2)
  (batch,) = cut(make_runs(3), layout)
  assert (batch.layout.width, batch.layout.rest) == (2, 0)
  assert layouts.padded(batch) == 1


@pytest.mark.parametrize(
  ('free', 'width', 'eval_batch'),
  [(100, 5, 0), (5, 5, 0), (3.5, 3, 0), (2, 2, 250), (0.4, 1, 63), (0, 1, 1)],
)
def test_memory_narrows_width_and_evaluation(free, width, eval_batch, monkeypatch):
  """Per member 1 GiB of a training step, 3 GiB of evaluating 500 examples."""
  monkeypatch.setattr(jax, 'device_count', lambda: 1)
  needs = facts(False, 0, GIB, 3 * GIB)
  wanted = layouts.choose(CONFIG, needs)
  layout = layouts.choose(CONFIG, needs, free=free * GIB)
  assert (layout.width, layout.eval_batch) == (width, eval_batch)
  text = memory.describe(wanted, layout, needs, 500, free * GIB)
  assert bool(text) == (layout != wanted)
  if free == 2:
    assert text == (
      '2 in place of 5 runs per device at a time, evaluation in batches of 250 in '
      'place of 500 examples: it would take up to 5 GiB, and 2 GiB are free for it'
    )
  # what was written comes back, however much is free now
  entry = {'strategy': 'vmap', 'width': layout.width}
  entry |= {'evaluation': layout.evaluation, 'eval_batch': layout.eval_batch}
  assert layouts.choose(CONFIG, needs, written=entry, free=GIB) == layout


def test_the_users_width_is_left_alone_and_evaluations_side_by_side_are_split():
  needs = facts(False, 0, GIB, GIB)
  layout = program_lib.Layout('vmap', 5, 1, evaluation='vmap')
  fixed = memory.fit(layout, needs, 500, 2 * GIB, fixed=True)
  assert (fixed.width, fixed.evaluation, fixed.eval_batch) == (5, 'map', 0)
