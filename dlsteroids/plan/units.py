"""Units of work: what one program of the plan trains for searches and claims.

Tuning varies traced numbers only, so an arm's search and its claim are runs of the same
program: with a final grid a unit depends on no other unit, wherever it is trained. The
grid itself depends on all searches (`study_plan.extend_grid`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from dlsteroids.plan import runs as runs_lib
from dlsteroids.plan import study_plan, tuning
from dlsteroids.store import results


class Unit(NamedTuple):
  """The runs of one program.

  Attributes:
    program: its id.
    search: what is trained first; the rest may depend on it.
    claim: the other runs, as far as they follow from the store; the tuned ones only
      once the plan's grid is final.
    possible: every run that `claim` may give, for processes that do not see the store.
  """

  program: str
  search: Sequence[runs_lib.Run]
  claim: Callable[[results.Index], Sequence[runs_lib.Run]]
  possible: Callable[[], Sequence[runs_lib.Run]]

  def runs(self, index: results.Index) -> list[runs_lib.Run]:
    """The runs that follow from the store, the search's first, each once."""
    return runs_lib.unique([*self.search, *self.claim(index)])

  def missing(self, index: results.Index) -> list[runs_lib.Run]:
    """Those that the store lacks."""
    return [r for r in self.runs(index) if r.fingerprint not in index.records]


def make(plan: study_plan.Plan) -> list[Unit]:
  """The units of a plan, in its order."""
  searches = study_plan.searches(plan)
  untuned = by_program(study_plan.claim_runs(plan))
  search_runs = by_program(
    run for search in searches.values() for at_point in search for run in at_point
  )
  seeds, goal = runs_lib.seeds(plan.config), study_plan.tuning_goal(plan)
  points = plan.points

  def unit(program: str) -> Unit:
    own = {
      key: search for key, search in searches.items() if search[0][0].program == program
    }
    tuned: dict[study_plan.Key, list[runs_lib.Run]] = {}

    def claim(index: results.Index) -> Sequence[runs_lib.Run]:
      for (arm, condition), search in own.items() if plan.final else ():
        if (arm, condition) in tuned:
          continue
        names = [[run.fingerprint for run in at_point] for at_point in search]
        numbers = tuning.choose(points, names, index, goal)
        if numbers is not None:
          tuned[arm, condition] = plan.runs(
            arm, seeds, runs_lib.TUNED, numbers, condition
          )
      claims = (run for key in own for run in tuned.get(key, ()))
      return [*untuned.get(program, ()), *claims]

    def possible() -> Sequence[runs_lib.Run]:
      return [
        *untuned.get(program, ()),
        *(
          run
          for arm, condition in own
          for point in points
          for run in plan.runs(arm, seeds, runs_lib.TUNED, point, condition)
        ),
      ]

    return Unit(program, search_runs.get(program, ()), claim, possible)

  return [unit(program) for program in dict.fromkeys([*untuned, *search_runs])]


def by_program(runs: Iterable[runs_lib.Run]) -> dict[str, list[runs_lib.Run]]:
  """Runs by program, in order."""
  groups: dict[str, list[runs_lib.Run]] = {}
  for run in runs:
    groups.setdefault(run.program, []).append(run)
  return groups


def of_runs(runs: Sequence[runs_lib.Run]) -> list[Unit]:
  """Units that train these runs and nothing else."""

  def unit(program: str, own: Sequence[runs_lib.Run]) -> Unit:
    return Unit(program, (), lambda index: own, lambda: own)

  return [unit(program, own) for program, own in by_program(runs).items()]
