"""Training from a stream; oracle: the same training on resident arrays, to the bit."""

import sys
import threading
import time
from typing import Any, NamedTuple

import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.analysis import summary
from dlsteroids.data import image_folder, image_stream
from dlsteroids.data.lib import reader
from dlsteroids.report import tables
from dlsteroids.train import feed as feed_lib
from dlsteroids.train import loop, requests
from dlsteroids.train import member as member_lib
from dlsteroids.train import program as program_lib
from dlsteroids.util import errors
from tests.fixtures import photo_fixture, report_fixture, tiny

SIZE = 24  # large enough that no JPEG is decoded at half its size
STEPS = 9  # of 3 an epoch
SECTION = {'size': SIZE, 'flip': True, 'colour': 0.1, 'test': 0.2, 'validation': 0.2}
SECTION |= {'cutout': 3, 'random_labels': 0.3}
CHANGES = {
  'model.widths': (2,),
  'model.hidden': (),
  'model.dropout': 0.2,
  'train.steps': STEPS,
  'train.batch_size': 7,
  'train.evaluations': 2,
  'train.eval_batch': 5,
  'optimizer.learning_rate': 0.05,
  'task.metrics': 'tests.fixtures.reduced_metric',
}


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  return photo_fixture.make(tmp_path_factory.mktemp('photos') / 'photos')


def make_config(photos, data='image_stream', **changes):
  tree = config_lib.resolve(config_lib.base(model='cnn', data=data))
  section = {f'data.{key}': value for key, value in SECTION.items()}
  section |= {'data.path': str(photos)}
  if data == 'image_stream':
    section |= {'data.resize': SIZE, 'data.window': 'middle'}
  more = {name.replace('__', '.'): value for name, value in changes.items()}
  return config_lib.override(tree, {**section, **CHANGES, **more}.items())


def make_bench(config, watched=None, **layout):
  """A program on the config's data; `watched` is told every request of its stream."""
  module = image_stream if config['data']['name'] == 'image_stream' else image_folder
  dataset = module.load(config['data'])
  if watched:
    inner = dataset.stream.example

    def example(request):
      watched(request)
      return inner(request)

    dataset = dataset._replace(stream=dataset.stream._replace(example=example))
  return tiny.make_bench(config, dataset=dataset, strategy='map', width=3, **layout)


@pytest.fixture(scope='module')
def streamed(photos):
  return make_bench(make_config(photos))


@pytest.fixture(scope='module')
def whole(streamed):
  """Two seeds, and one of them again with another learning rate, in one go."""
  return streamed.train(slots(streamed))


def slots(bench):
  return [bench.slot(3), bench.slot(5), bench.slot(3, optimizer__learning_rate=0.1)]


def test_streamed_and_resident_trainings_agree_to_the_bit(photos, whole):
  bench = make_bench(make_config(photos, 'image_folder'))
  resident = bench.train(slots(bench))
  for at in range(3):
    tiny.assert_equal_bits(tiny.bits(resident, at), tiny.bits(whole, at))
    assert 'stall_s' not in resident.records[at]
    values = whole.records[at]['values']
    assert values['test/spread'] == pytest.approx(values['test/spread_on_host'], 1e-12)
  losses = [row[3] for row in whole.records[0]['curves'] if row[1] == 'train']
  assert losses[0] != losses[-1]  # it learns, so agreement says something


@pytest.mark.parametrize('at', [1, 4, 5, 8])
def test_a_training_interrupted_in_mid_epoch_ends_with_the_same_bits(
  at, streamed, whole, tmp_path, monkeypatch
):
  monkeypatch.setattr(loop, 'CHUNK_SECONDS', 0.0)  # a look after every step

  class Killed(Exception):
    pass

  def kill(progress):
    if progress.step == at:
      raise Killed

  options = {'folder': tmp_path / 'checkpoints', 'checkpoint_seconds': 0.0}
  with pytest.raises(Killed):
    streamed.train(slots(streamed), watch=kill, **options)
  assert not [t for t in threading.enumerate() if t.name.startswith('feed')]
  steps = []
  again = streamed.train(
    slots(streamed), watch=lambda p: steps.append(p.step), **options
  )
  # It went on behind the last checkpoint, of the step before: that of step 4 was
  # written before the evaluation, which is made again.
  assert steps[0] == (4 if at == 5 else at)
  for member in range(3):
    tiny.assert_equal_bits(tiny.bits(again, member), tiny.bits(whole, member))


def test_the_length_of_chunks_changes_no_bit(photos, streamed, whole, monkeypatch):
  assert streamed.program.member.chunks.length('train', 3) == 16
  monkeypatch.setattr('dlsteroids.train.chunks.STEPS', 2)
  bench = make_bench(make_config(photos))
  assert bench.program.member.chunks.length('train', 3) == 2
  small = bench.program.member.chunks._replace(budget=150_000)
  assert small.length('train', 3) == 2
  assert small._replace(budget=52_200).length('train', 3) == 1
  assert small._replace(budget=52_200).length('evaluate', 3) == 2
  result = bench.train(slots(bench))
  for at in range(3):
    tiny.assert_equal_bits(tiny.bits(result, at), tiny.bits(whole, at))


def test_a_budget_of_one_batch_still_evaluates_all(photos, whole):
  config = make_config(photos, engine__stream_mb=1)
  dataset = image_stream.load(config['data'])
  member = member_lib.make(config, dataset)
  member = member._replace(chunks=member.chunks._replace(budget=1))
  bench = tiny.make_bench(config, 'map', 3, dataset=dataset, member=member)
  result = bench.train(slots(bench))
  for at in range(3):
    tiny.assert_equal_bits(tiny.bits(result, at), tiny.bits(whole, at))


def test_every_example_is_read_once_an_epoch_for_all_members_of_a_seed(photos):
  asked = []
  bench = make_bench(make_config(photos, train__evaluations=1), asked.append)
  members = [*slots(bench)[::2], bench.slot(5, live=False)]
  bench.train(members)
  # Two members of seed 3 share what is read; nothing is read for the padding.
  assert {request.seed for request in asked if request.epoch >= 0} == {3}
  train = bench.dataset.split(3)['train']
  for epoch in range(3):
    seen = [r.example for r in asked if r.epoch == epoch]
    assert len(seen) == len(set(seen)) == 21
    assert set(seen) <= set(train.tolist())
  judged = sorted(request.example for request in asked if request.epoch < 0)
  split = bench.dataset.split(3)
  assert judged == sorted([*split['validation'], *split['test']])
  assert len(asked) == 3 * 21 + len(judged)


def test_processes_read_each_its_rows_of_the_same_batches(streamed):
  chunks = streamed.program.member.chunks._replace(sizes={'train': 7, 'evaluate': 5})
  train = {3: streamed.dataset.split(3)['train'], 5: streamed.dataset.split(5)['train']}

  def read(rows, steps=(2, 8)):
    found = requests.Training(chunks, train, rows, steps)
    every = [found[i] for i in range(len(found))]
    return np.array(every).reshape(6, 2, -1, 3)  # step, seed, row, request

  one, other, alone = read(slice(0, 3)), read(slice(3, 7)), read(slice(0, 7))
  np.testing.assert_array_equal(np.concatenate([one, other], 2), alone)
  epoch = alone[1:4, 0, :, 0].ravel()  # steps 3 to 5 are the second epoch
  assert len(set(epoch.tolist())) == 21
  assert (alone[1:4, :, :, 2] == 1).all()
  assert (alone[:, 0, :, 1] == 3).all()
  assert (alone[:, 1, :, 1] == 5).all()


class Part(NamedTuple):
  """How an array lies, seen by a process that has some of the devices."""

  sharding: Any
  devices: tuple[int, ...]

  def addressable_devices_indices_map(self, shape):
    every = self.sharding.devices_indices_map(shape)
    return {d: part for d, part in every.items() if d.id in self.devices}


@pytest.mark.parametrize('data', [1, 2])
@pytest.mark.parametrize('devices', [(), (0,), (1,), (0, 1)])
def test_a_process_reads_what_its_devices_train_on(photos, data, devices, monkeypatch):
  """Two devices, each with three members; or together with half a batch each."""
  asked = []
  changes = {'train__batch_size': 8, 'train__eval_batch': 4}
  bench = make_bench(
    make_config(photos, **changes), asked.append, devices=2, data=data, compiled=False
  )
  members = [bench.slot(seed) for seed in (3, 4, 5, 6, 7, 8)[: 6 // data]]
  placed = program_lib.place(members, bench.program)

  def read(devices):
    real = program_lib.chunk_sharding
    with monkeypatch.context() as patch:
      parts = lambda shape, made: Part(real(shape, made), devices)
      patch.setattr(program_lib, 'chunk_sharding', parts)
      feed = feed_lib.Streamed(bench.program, members, placed, reader.Readers(1))
    asked.clear()
    with feed:
      feed.start([feed_lib.Visit(3, 5, True)])
      fed, stop = feed.training(3, 5)
      assert stop == 5
      train = np.asarray(fed['batches']['image'][:, 3:5])
      judged = np.concatenate(
        [np.asarray(part['batches']['image']) for part in feed.evaluation()], 1
      )
    return train, judged, len(asked)

  *alone, wanted = read((0, 1))
  *mine, told = read(devices)
  for whole, part, kind in zip(alone, mine, ('train', 'evaluate')):
    expected, axis = np.zeros_like(whole), 0 if data == 1 else 2
    size = whole.shape[axis] // 2
    for device in devices:
      at = (slice(None),) * axis + (slice(size * device, size * (device + 1)),)
      expected[at] = whole[at]
    np.testing.assert_array_equal(part, expected, kind)
  assert abs(told - wanted * len(devices) / 2) <= 2 * len(members)  # short batches


def test_a_batch_that_the_axis_does_not_divide_lies_whole_on_it(photos):
  bench = make_bench(make_config(photos), devices=2, data=2, compiled=False)
  for shape, cut in (((3, 4, 6, 8), True), ((3, 4, 7, 8), False), ((3, 4), False)):
    sharding = program_lib.chunk_sharding(shape, bench.program)
    halves = {str(part) for part in sharding.devices_indices_map(shape).values()}
    assert len(halves) == 1 + cut


def test_waiting_for_input_is_measured_and_told(photos):
  def slow(request):
    time.sleep(0.002)

  bench = make_bench(make_config(photos), slow)
  told = []
  result = bench.train(slots(bench), watch=told.append, readers=reader.Readers(1))
  record = result.records[0]
  assert 0.05 < record['stall_s'] <= record['wall_s']
  assert all(0 < progress.stalled <= 1 for progress in told)


def test_a_damaged_file_ends_the_training_in_one_line(photos, tmp_path):
  root = photo_fixture.make(tmp_path / 'photos')
  bench = make_bench(make_config(root))
  victim = bench.dataset.split(3)['train'][0]
  name = bench.dataset.stream.example.args[0].names[victim]
  (root / name).write_bytes(b'\xff\xd8 no more')
  with pytest.raises(errors.UserError, match=name):
    bench.train(slots(bench))
  assert not [t for t in threading.enumerate() if t.name.startswith('feed')]


def test_more_than_the_visits_is_refused(streamed):
  members = slots(streamed)
  placed = program_lib.place(members, streamed.program)
  with feed_lib.make(streamed.program, members, placed, reader.Readers(1)) as feed:
    feed.start(loop.visits(8, [4, 9], [4]))
    assert feed.training(8, 9)[1] == 9
    list(feed.evaluation())
    with pytest.raises(ValueError, match='more steps or evaluations'):
      feed.training(9, 10)


def test_visits_are_what_remains():
  assert loop.visits(0, [4, 9], []) == [(0, 4, True), (4, 9, True)]
  assert loop.visits(4, [4, 9], []) == [(4, 4, True), (4, 9, True)]
  assert loop.visits(4, [4, 9], [4]) == [(4, 4, False), (4, 9, True)]
  assert loop.visits(6, [4, 9], [4]) == [(6, 9, True)]


def test_a_gan_needs_images_in_memory(photos):
  tree = config_lib.base(model='dcgan', data='image_stream', task='gan')
  with tree.unlocked():
    tree.data.path, tree.data.range = str(photos), 'tanh'
    tree.data.size = tree.data.resize = 16
    tree.train.batch_size = 8
  config = config_lib.resolve(tree)
  with pytest.raises(errors.UserError, match="'photos' streams"):
    member_lib.make(config, image_stream.load(config['data']))


def test_without_grain_one_line_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'grain', None)
  with (
    pytest.raises(errors.UserError, match='pip install grain'),
    reader.read(lambda request: {}, [types.Request(0)], reader.Readers(1)),
  ):
    pass


def test_the_compute_table_shows_waiting_beside_the_time_of_a_step():
  case = report_fixture.digits(2, tuned=False)
  plain = summary.Source(case.study, case.tables, case.arrays)
  assert 'of it waiting for input' not in header(plain)
  runs = case.tables.runs.assign(stall_s=0.25 * case.tables.runs['wall_s'])
  waited = summary.Source(case.study, case.tables._replace(runs=runs), case.arrays)
  names = header(waited)
  row = dict(zip(names, tables.make_compute(waited).rows[0]))
  cost = summary.compute_of(waited, 0)[0]
  assert names.index('of it waiting for input') == names.index('Wall time a run') + 2
  assert row['of it waiting for input'].endswith('(25%)')
  assert cost['stall'] == pytest.approx(cost['wall'] / 4, rel=0.1)


def header(source):
  return list(tables.make_compute(source).head)
