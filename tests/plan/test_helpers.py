"""Helpers that trace programs meanwhile: what they are handed, and what they leave."""

import pytest

from dlsteroids import config as config_lib
from dlsteroids.plan import helpers
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
  monkeypatch.setattr(helpers, 'SHARE', 1)
  monkeypatch.setattr(environment, 'cores', lambda: 3)
  return [make((4,)), make((4,), **{'optimizer.learning_rate': 0.5}), make((5,))]


def test_what_a_helper_traced_is_not_traced_again(configs, monkeypatch):
  programs = programs_lib.Programs('accuracy')
  requests = helpers.divide(configs, programs)
  # Shares begin with the last program; a program is traced by one helper.
  assert [request.configs for request in requests] == [[configs[2]], [configs[0]]]
  helpers.trace(requests[0]._replace(key='of another machine'))
  assert len(programs.missing(configs)) == 2
  for request in requests:
    helpers.trace(request)
  assert not helpers.divide(configs, programs)
  expected = [
    inspect.describe(c, programs.dataset(c), member_lib.make(c, programs.dataset(c)))
    for c in configs[1:]
  ]
  monkeypatch.setattr(inspect, 'describe', None)
  assert [programs.add(c) for c in configs[1:]] == expected


def test_a_few_programs_one_core_or_an_accelerator_have_no_helper(configs, monkeypatch):
  divide = lambda: helpers.divide(configs, programs_lib.Programs('accuracy'))
  assert len(divide()) == 2
  for place, name, value in (
    (helpers, 'SHARE', 3),
    (helpers, 'MOST_BYTES', 100),
    (environment, 'cores', lambda: 1),
    (helpers.jax, 'default_backend', lambda: 'gpu'),
  ):
    with monkeypatch.context() as patch:
      patch.setattr(place, name, value)
      assert not divide()


def test_mistakes_are_left_to_who_names_the_arm(configs):
  broken = make((4,), **{'train.batch_size': 100_000})
  assert len(programs_lib.Programs('accuracy').missing([broken, configs[2]])) == 1


def test_helpers_end_with_the_plan(configs, monkeypatch):
  started = []
  monkeypatch.setattr(helpers, 'COMMAND', 'import time; time.sleep(99)')
  start = helpers.start
  monkeypatch.setattr(
    helpers, 'start', lambda request: started.append(start(request)) or started[-1]
  )
  with helpers.tracing(configs, programs_lib.Programs('accuracy')):
    assert [process.poll() for process in started] == [None, None]
  assert all(process.poll() for process in started)


def test_a_request_survives_its_journey(configs):
  for request in helpers.divide(configs, programs_lib.Programs('accuracy')):
    again = helpers.from_json(helpers.to_json(request))
    assert again.configs == tuple(request.configs)  # hidden layers are tuples again
    assert again.key == request.key
    assert again.key in programs_lib.Programs('accuracy').missing(again.configs)


def test_a_helper_reads_its_request(configs, monkeypatch):
  code = "import sys; sys.exit(b'optimizer' not in sys.stdin.buffer.read())"
  monkeypatch.setattr(helpers, 'COMMAND', code)
  (request,) = helpers.divide(configs[:1], programs_lib.Programs('accuracy'))
  assert helpers.start(request).wait() == 0
