"""Runs: one arm with one seed, its fingerprint, and the batches that runs form."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dlsteroids import config as config_lib
from dlsteroids.config import code as code_lib
from dlsteroids.study import conditions
from dlsteroids.util import errors

if TYPE_CHECKING:  # `dlsteroids status` starts without JAX
  from dlsteroids.train import program as program_lib

TUNE_SEED = 1_000_000  # tuning seeds start here, the claim's end before

UNTUNED, TUNED, SEARCH = 0, 1, 2
PLAIN = conditions.Condition('steps')


class Run(NamedTuple):
  """One arm with one seed.

  Attributes:
    arm: its name; the same run may serve several arms (tuned and untuned).
    seed: the seed.
    tuned: UNTUNED, TUNED or SEARCH (a point of the tuning grid).
    config: resolved.
    program: id of the static config; runs of one program share a compilation.
    fingerprint: of everything the result depends on.
    identity: the same without the code.
    condition: under which regime, budget and size the arm is trained.
  """

  arm: str
  seed: int
  tuned: int
  config: Mapping[str, Any]
  program: str
  fingerprint: str
  identity: str
  condition: conditions.Condition = PLAIN


class Batch(NamedTuple):
  """Runs that train at the same time: of one program, for as many steps.

  Attributes:
    program: its id.
    steps: of every run.
    parts: the runs of each group of devices, no more than the layout's width; groups
      beyond the last part are idle.
    layout: how the members lie on the devices.
  """

  program: str
  steps: int
  parts: tuple[tuple[Run, ...], ...]
  layout: 'program_lib.Layout'

  @property
  def runs(self) -> tuple[Run, ...]:
    return tuple(run for part in self.parts for run in part)

  @property
  def positions(self) -> list[int]:
    """The slot of every run: a group's live members come first."""
    return [
      group * self.layout.width + at
      for group, part in enumerate(self.parts)
      for at in range(len(part))
    ]

  @property
  def widths(self) -> list[int]:
    """By run the members with which it is vmapped; its bits depend on that number."""
    rest = self.layout.rest
    return [
      rest if len(part) <= rest else self.layout.width
      for part in self.parts
      for _ in part
    ]

  @property
  def name(self) -> str:
    members = config_lib.digest([run.fingerprint for run in self.runs])
    return f'{self.program}-{members[:12]}'


def program_id(config: Mapping[str, Any]) -> str:
  """12 hex digits of what is compiled: the config without its traced numbers.

  Where the data lie counts here, though it enters no fingerprint: two arms that read
  two files have two data sets.
  """
  places = {p: config_lib.get(config, p) for p in config_lib.places(config)}
  return config_lib.digest([config_lib.static(config), places])[:12]


def make_runs(
  arm: str,
  seeds: Sequence[int],
  tuned: int,
  config: Mapping[str, Any],
  data: str,
  code: str,
  condition: conditions.Condition = PLAIN,
) -> list[Run]:
  """The runs of an arm at several seeds.

  Args:
    arm, tuned, config, condition: see `Run`.
    seeds: one a run.
    data, code: digests of the data set and of the code.
  """
  # the metric, because it chooses the step whose scores are a run's
  metric = config['study']['metric']
  facts: dict[str, Any] = {
    'config': config_lib.training(config),
    'data': data,
    'metric': metric,
  }
  identity = config_lib.digest(facts)
  content = {**facts, 'config': code_lib.without_names(facts['config']), 'code': code}
  fingerprint = config_lib.digest(content)
  program = program_id(config)
  return [
    Run(
      arm=arm,
      seed=seed,
      tuned=tuned,
      config=config,
      program=program,
      fingerprint=config_lib.digest([fingerprint, seed]),
      identity=config_lib.digest([identity, seed]),
      condition=condition,
    )
    for seed in seeds
  ]


def seeds(config: Mapping[str, Any]) -> list[int]:
  """The claim's seeds.

  Raises:
    UserError: if they reach into the tuning seeds.
  """
  first, count = config['study']['first_seed'], config['study']['seeds']
  if first + count > TUNE_SEED:
    raise errors.UserError(
      f'config.study.first_seed + seeds must stay below {TUNE_SEED}: tuning begins '
      'there'
    )
  return list(range(first, first + count))


def unique(runs: Iterable[Run]) -> list[Run]:
  """The first run of every fingerprint, in order."""
  by_fingerprint: dict[str, Run] = {}
  for run in runs:
    by_fingerprint.setdefault(run.fingerprint, run)
  return list(by_fingerprint.values())
