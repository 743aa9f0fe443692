"""The plan: arms × seeds → runs → programs → batches. Pure, and imports no JAX."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids import config as config_lib
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


def make_run(
  arm: str,
  seed: int,
  tuned: int,
  config: Mapping[str, Any],
  data: str,
  code: str,
  condition: conditions.Condition = PLAIN,
) -> Run:
  """A run with its fingerprint; `data` and `code` are digests."""
  return make_runs(arm, [seed], tuned, config, data, code, condition)[0]


def make_runs(
  arm: str,
  seeds: Sequence[int],
  tuned: int,
  config: Mapping[str, Any],
  data: str,
  code: str,
  condition: conditions.Condition = PLAIN,
) -> list[Run]:
  """The runs of an arm at several seeds, which share its config."""
  # the metric, for it chooses the step whose scores are a run's
  metric = config['study']['metric']
  facts = {'config': config_lib.training(config), 'data': data, 'metric': metric}
  identities = digests(facts, seeds)
  fingerprints = digests({**facts, 'code': code}, seeds)
  program = program_id(config)
  return [
    Run(arm, seed, tuned, config, program, fingerprint, identity, condition)
    for seed, fingerprint, identity in zip(seeds, fingerprints, identities)
  ]


def digests(facts: Mapping[str, Any], seeds: Sequence[int]) -> list[str]:
  """`config.digest` of facts with each seed; the text of the rest is made once."""
  text = config_lib.text({**facts, 'seed': 0})
  head = text.removesuffix('0}')  # keys are sorted: the seed comes last
  return [config_lib.digest_text(f'{head}{seed}}}') for seed in seeds]


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
  found: dict[str, Run] = {}
  for run in runs:
    found.setdefault(run.fingerprint, run)
  return list(found.values())


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
  found = []
  for (program, steps), group in groups.items():
    size = members(program)
    for start in range(0, len(group), size):
      left = [r for r in group[start : start + size] if not done(r.fingerprint)]
      if left:
        found.append(Batch(program, steps, tuple(left)))
  return found


def parse_grid(text: str, config: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
  """'optimizer.learning_rate=0.01,0.03;…' as {path: values}.

  Raises:
    UserError: if it can't be read, or names a path that isn't a traced number.
  """
  grid: dict[str, tuple[float, ...]] = {}
  traced = [p for p in config_lib.traced_paths(config) if p != 'train.steps']
  for part in filter(None, text.split(';')):
    path, _, values = part.partition('=')
    path = path.strip()
    try:
      numbers = tuple(float(value) for value in values.split(','))
    except ValueError as error:
      raise errors.UserError(
        f"config.study.tune: expected 'path=number,number;…', not {part!r}"
      ) from error
    if path not in traced:
      guess = errors.did_you_mean(path, traced)
      raise errors.UserError(
        f'config.study.tune: {path!r} is no traced number{guess}; use '
        f'{", ".join(traced)}'
      )
    if len(set(numbers)) < 2 or path in grid:
      raise errors.UserError(
        f'config.study.tune: {path} needs two or more different values, once'
      )
    grid[path] = numbers
  return grid


def points(grid: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
  """Every combination of a grid; none for an empty one."""
  if not grid:
    return []
  return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]


def choose(
  grid: Sequence[Mapping[str, float]], scores: Sequence[float], better: str
) -> dict[str, float]:
  """The grid point with the best mean validation score; the first of equals."""
  sign = 1 if better == 'higher' else -1
  best = max(range(len(grid)), key=lambda i: (sign * scores[i], -i))
  return dict(grid[best])
