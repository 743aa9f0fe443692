"""Helpers that trace programs meanwhile: what they are handed, and what they leave."""

import pytest

from dlsteroids import config as config_lib
from dlsteroids.plan import parallel_tracing
from dlsteroids.plan import programs as programs_lib
from dlsteroids.train import inspect
from dlsteroids.train import member as member_lib
from dlsteroids.util import environment


def make(hidden, **changes):
  config = config_lib.base(model='mlp', data='digits')
  paths = [('model.hidden', hidden), *changes.items()]
  return config_lib.override(config_lib.resolve(config), paths)


@pytest.fixture
def configs(monkeypatch, tmp_path):
  """Three configs, two of them of one program; each is enough for a helper."""
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path))
  monkeypatch.setattr(parallel_tracing, 'SHARE', 1)
  monkeypatch.setattr(environment, 'cores', lambda: 3)
  return [make((4,)), make((4,), **{'optimizer.learning_rate': 0.5}), make((5,))]


def test_what_a_helper_traced_is_not_traced_again(configs, monkeypatch):
  programs = programs_lib.Programs('accuracy')
  requests = parallel_tracing.divide(configs, programs)
  # Shares begin with the last program; a program is traced by one helper.
  assert [request.configs for request in requests] == [[configs[2]], [configs[0]]]
  parallel_tracing.trace(requests[0]._replace(key='of another machine'))
  assert len(programs.missing(configs)) == 2
  for request in requests:
    parallel_tracing.trace(request)
  assert not parallel_tracing.divide(configs, programs)
  expected = [
    inspect.describe(c, programs.dataset(c), member_lib.make(c, programs.dataset(c)))
    for c in configs[1:]
  ]
  monkeypatch.setattr(inspect, 'describe', None)
  assert [programs.add(c) for c in configs[1:]] == expected


def test_a_few_programs_one_core_or_an_accelerator_have_no_helper(configs, monkeypatch):
  divide = lambda: parallel_tracing.divide(configs, programs_lib.Programs('accuracy'))
  assert len(divide()) == 2
  for place, name, value in (
    (parallel_tracing, 'SHARE', 3),
    (parallel_tracing, 'MOST_BYTES', 100),
    (environment, 'cores', lambda: 1),
    (parallel_tracing.jax, 'default_backend', lambda: 'gpu'),
  ):
    with monkeypatch.context() as patch:
      patch.setattr(place, name, value)
      assert not divide()


def test_mistakes_are_left_to_who_names_the_arm(configs):
  broken = make((4,), **{'train.batch_size': 100_000})
  assert len(programs_lib.Programs('accuracy').missing([broken, configs[2]])) == 1


def test_helpers_end_with_the_plan(configs, monkeypatch):
  started = []
  monkeypatch.setattr(parallel_tracing, 'COMMAND', 'import time; time.sleep(99)')
  start = parallel_tracing.start
  keep = lambda request: started.append(start(request)) or started[-1]
  monkeypatch.setattr(parallel_tracing, 'start', keep)
  with parallel_tracing.run(configs, programs_lib.Programs('accuracy')):
    assert [process.poll() for process in started] == [None, None]
  assert all(process.poll() for process in started)


def test_a_request_survives_its_journey(configs):
  for request in parallel_tracing.divide(configs, programs_lib.Programs('accuracy')):
    again = parallel_tracing.from_json(parallel_tracing.to_json(request))
    assert again.configs == tuple(request.configs)  # hidden layers are tuples again
    assert again.key == request.key
    assert again.key in programs_lib.Programs('accuracy').missing(again.configs)


def test_a_helper_reads_its_request(configs, monkeypatch):
  code = "import sys; sys.exit(b'optimizer' not in sys.stdin.buffer.read())"
  monkeypatch.setattr(parallel_tracing, 'COMMAND', code)
  (request,) = parallel_tracing.divide(configs[:1], programs_lib.Programs('accuracy'))
  assert parallel_tracing.start(request).wait() == 0
