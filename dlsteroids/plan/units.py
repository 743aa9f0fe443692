"""Units of work: what one program of the plan has to train, search and claim.

Tuning varies traced numbers only, so an arm's search and its claim are runs of the same
program: a unit needs no other to be done, wherever it is trained.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids.plan import choices, study_plan
from dlsteroids.plan import runs as runs_lib
from dlsteroids.store import results
from dlsteroids.study import conditions


class Unit(NamedTuple):
  """The runs of one program.

  Attributes:
    program: its id.
    search: what is trained first; the rest may depend on it.
    claim: the other runs, given what is stored.
    possible: those that `claim` may ever give, for processes that see no store.
  """

  program: str
  search: Sequence[runs_lib.Run]
  claim: Callable[[results.Index], Sequence[runs_lib.Run]]
  possible: Callable[[], Sequence[runs_lib.Run]]

  def runs(self, index: results.Index) -> list[runs_lib.Run]:
    """The runs known to be wanted, the search's first, each once."""
    return runs_lib.unique([*self.search, *self.claim(index)])

  def missing(self, index: results.Index) -> list[runs_lib.Run]:
    """Those that the store lacks."""
    return [r for r in self.runs(index) if r.fingerprint not in index.records]


def make(made: study_plan.Plan) -> list[Unit]:
  """The units of a plan, in its order."""
  searched = study_plan.searches(made)
  seeds = runs_lib.seeds(made.config)
  claims = group(study_plan.claim_runs(made))
  search = group([run for runs in searched.values() for run in runs])

  def unit(program: str) -> Unit:
    mine = {key: runs for key, runs in searched.items() if runs[0].program == program}
    tuned: dict[Any, list[runs_lib.Run]] = {}

    def claim(index: results.Index) -> Sequence[runs_lib.Run]:
      left = {key: runs for key, runs in mine.items() if key not in tuned}
      for key, numbers in choose(made, left, index).items():
        tuned[key] = made.runs(key[0], seeds, runs_lib.TUNED, numbers, key[1])
      return [
        *claims.get(program, ()),
        *(run for key in mine for run in tuned.get(key, ())),
      ]

    def possible() -> Sequence[runs_lib.Run]:
      found = list(claims.get(program, ()))
      for arm, condition in mine:
        for point in made.grid:
          found += made.runs(arm, seeds, runs_lib.TUNED, point, condition)
      return found

    return Unit(program, search.get(program, ()), claim, possible)

  return [unit(program) for program in dict.fromkeys([*claims, *search])]


def group(runs: Sequence[runs_lib.Run]) -> dict[str, list[runs_lib.Run]]:
  """Runs by program, in order."""
  found: dict[str, list[runs_lib.Run]] = {}
  for run in runs:
    found.setdefault(run.program, []).append(run)
  return found


def choose(
  made: study_plan.Plan,
  searched: Mapping[tuple[str, conditions.Condition], Sequence[runs_lib.Run]],
  index: results.Index,
) -> dict[tuple[str, conditions.Condition], Mapping[str, float]]:
  """The tuned numbers of every arm and condition whose search has ended."""
  study = made.config['study']
  metric = next(iter(made.members.values())).task.metrics[study['metric']]
  decides = {'name': study['metric'], 'better': metric.better}
  count = study['tune_seeds']
  chosen: dict[tuple[str, conditions.Condition], Mapping[str, float]] = {}
  for key, runs in searched.items():
    names = [run.fingerprint for run in runs]
    by_point = [names[i : i + count] for i in range(0, len(names), count)]
    numbers = choices.choose(made.grid, by_point, index, decides)
    if numbers is not None:
      chosen[key] = numbers
  return chosen


def given(runs: Sequence[runs_lib.Run]) -> list[Unit]:
  """Units that train given runs and nothing else."""

  def unit(program: str, mine: Sequence[runs_lib.Run]) -> Unit:
    return Unit(program, (), lambda index: mine, lambda: mine)

  return [unit(program, mine) for program, mine in group(runs).items()]
