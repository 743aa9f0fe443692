"""Programs: what the arms' configs compile to, each traced once."""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from dlsteroids import config as config_lib
from dlsteroids import types
from dlsteroids.config import code as code_lib
from dlsteroids.plan import code_cache, equalise, facts_cache, runs
from dlsteroids.train import inspect
from dlsteroids.train import member as member_lib
from dlsteroids.util import errors

SHARED = ('dlsteroids.train.loop', 'dlsteroids.train.program')  # code of every run


class Programs:
  """Data sets, members and facts of configs, each computed once.

  Attributes:
    datasets: by digest of the config section that made them.
    members: by program id.
    facts: by program id.
  """

  def __init__(self, metric: str):
    self.metric = metric
    self.datasets: dict[str, types.Dataset] = {}
    self.members: dict[str, member_lib.Member] = {}
    self.facts: dict[str, inspect.Facts] = {}
    self.params = equalise.counter(self.dataset)
    self._code: dict[tuple[str, ...], code_lib.Code] = {}
    self._ready: dict[str, tuple[member_lib.Member, str | None]] = {}
    self._cache = facts_cache.Cache()

  def dataset(self, config: Mapping[str, Any]) -> types.Dataset:
    key = config_lib.digest(config['data'])
    if key not in self.datasets:
      module = config_lib.find('data', config['data']['name'])
      self.datasets[key] = module.load(config['data'])
    return self.datasets[key]

  def add(self, config: Mapping[str, Any]) -> inspect.Facts:
    """Traces the config's program unless that was done; its facts."""
    program = runs.program_id(config)
    if program not in self.members:
      member, key = self._prepare(program, config)
      facts = self._cache.read(key) if key else None
      if facts is None:
        facts = inspect.describe(config, self.dataset(config), member)
        if key:
          self._cache.write(key, facts)
      member.scalars[:] = facts.scalars
      check_batch_norm(config, facts)
      self.members[program], self.facts[program] = member, facts
    return self.facts[program]

  def missing(
    self, configs: Iterable[Mapping[str, Any]]
  ) -> dict[str, Mapping[str, Any]]:
    """By key in the cache a config of every program whose facts it lacks.

    Without those that have no key there, and those at fault, which `add` reports.
    """
    lacking: dict[str, Mapping[str, Any]] = {}
    for config in configs:
      with contextlib.suppress(Exception):  # whatever a plug-in raises
        _, key = self._prepare(runs.program_id(config), config)
        if key and self._cache.read(key) is None:
          lacking.setdefault(key, config)
    return lacking

  def resident_bytes(self) -> int:
    """Of the data sets that were loaded."""
    arrays = (a for data in self.datasets.values() for a in data.resident.values())
    return sum(array.nbytes for array in arrays)

  def _prepare(
    self, program: str, config: Mapping[str, Any]
  ) -> tuple[member_lib.Member, str | None]:
    """A program's member, and the key of its facts if they may be kept."""
    if program not in self._ready:
      member = member_lib.make(config, self.dataset(config))
      check_metric(self.metric, member.task)
      self._ready[program] = member, self._key(program, config, member)
    return self._ready[program]

  def _key(
    self, program: str, config: Mapping[str, Any], member: member_lib.Member
  ) -> str | None:
    try:
      code = self.code(config)
    except errors.UserError:  # code that has no digest; a trace may know more
      return None
    if facts_cache.edited(code.modules):
      return None
    digests = self.dataset(config).digest, member.task.digest, code.digest
    return self._cache.key(program, config, *digests)

  def code(self, config: Mapping[str, Any]) -> code_lib.Code:
    """The code that a config's runs depend on; as `config.code.read`."""
    names = plugins(config)
    if names not in self._code:
      self._code[names] = code_cache.read([*SHARED, *names])
    return self._code[names]

  def costs(self, config: Mapping[str, Any]) -> equalise.Costs:
    facts = self.add(config)
    return equalise.Costs(facts.params, facts.flops)


def check_different(
  configs: Mapping[str, Mapping[str, Any]], programs: Programs
) -> None:
  """Raises UserError if two arms, as configured, are the same program on the same data.

  The other arms are trained under their conditions only: a regime may make them equal,
  which is then an answer.
  """
  signatures: dict[Any, str] = {}
  for name, arm in configs.items():
    with blame(f'arm {name}'):
      facts = programs.add(arm)
    signature = inspect.signature(arm, facts, programs.dataset(arm))
    twin = signatures.setdefault(signature, name)
    if twin != name:
      raise errors.UserError(
        f'arm {name} changes nothing against arm {twin}: same program, same data, and '
        'no number that differs reaches the result'
      )


def digest_code(
  configs: Mapping[str, Mapping[str, Any]], programs: Programs
) -> dict[str, code_lib.Code]:
  """The code that each arm runs, with the digest of its task's own data."""
  codes = {name: programs.code(arm) for name, arm in configs.items()}
  for name, arm in configs.items():
    task = programs.members[runs.program_id(arm)].task
    if task.digest:
      own_data = {f'{arm["task"]["name"]}: its own data': task.digest}
      codes[name] = code_lib.Code(
        config_lib.digest([codes[name].digest, task.digest]),
        {**codes[name].modules, **own_data},
      )
  return codes


@contextlib.contextmanager
def blame(what: str, every: bool = False) -> Any:
  """Turns an error while tracing a plug-in into one line.

  Args:
    what: the line begins with it.
    every: also that of a mistake that does not say where.
  """
  try:
    yield
  except errors.UserError as error:
    if every:
      raise errors.UserError(f'{what}: {error}') from error
    raise
  except Exception as error:  # flax's own, an assertion: what a plug-in may raise
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    raise errors.UserError(
      f'{what}: its model, data and task do not fit together: '
      f'{type(error).__name__}: {text}'
    ) from error


def plugins(config: Mapping[str, Any]) -> tuple[str, ...]:
  """Modules and functions that a config names: model, data set, task, blocks."""
  names: dict[str, None] = {}
  for section, kind in config_lib.PLUGINS.items():
    names[config_lib.find(kind, config[section]['name']).__name__] = None
    for value in config[section].values():
      if isinstance(value, str) and '.' in value:
        parts = map(str.strip, value.split(','))
        names |= dict.fromkeys(filter(code_lib.module_of, parts))
  return tuple(names)


def check_batch_norm(config: Mapping[str, Any], facts: inspect.Facts) -> None:
  """Raises UserError for batch norm over batches of one example.

  Such an example is its own mean: dense layers before the norm receive no gradient, and
  evaluation, by running averages, sees other values than training.
  """
  if facts.batch_norm and config['train']['batch_size'] == 1:
    raise errors.UserError(
      f'model {config["model"]["name"]} uses batch norm, which learns nothing from '
      'batches of one example: set config.train.batch_size to at least 2, or choose '
      'another norm'
    )


def check_metric(name: str, task: types.Task) -> None:
  usable = [key for key, metric in task.metrics.items() if metric.better]
  config_lib.choose('study.metric', name, usable)
