"""Runs: one arm with one seed, its fingerprint, and the batches that runs form."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids import config as config_lib
from dlsteroids.config import code as code_lib
from dlsteroids.study import conditions
from dlsteroids.util import errors

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
  """Runs that train side by side: of one program, for as many steps."""

  program: str
  steps: int
  runs: tuple[Run, ...]

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


def batches(
  runs: Sequence[Run], done: Callable[[str], bool], members: Callable[[str], int]
) -> list[Batch]:
  """What is still to train, in the plan's order.

  Chunks are cut before finished runs are left out, so a continued study forms the same
  batches as an undisturbed one wherever a batch was lost whole.

  Args:
    runs: unique, planned.
    done: whether a fingerprint is in the store.
    members: batch size by program id.
  """
  groups: dict[tuple[str, int], list[Run]] = {}
  for run in runs:
    groups.setdefault((run.program, run.config['train']['steps']), []).append(run)
  batches = []
  for (program, steps), group in groups.items():
    size = members(program)
    for start in range(0, len(group), size):
      left = [r for r in group[start : start + size] if not done(r.fingerprint)]
      if left:
        batches.append(Batch(program, steps, tuple(left)))
  return batches
