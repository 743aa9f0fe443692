"""Units of work: what one program of the plan trains for searches and claims.

Where tuning varies traced numbers only, an arm's search and its claim are runs of the
same program: once no points are added any more, a unit depends on no other unit,
wherever it is trained. Which points are added depends on all searches (`plan.search`).
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
  goal = study_plan.tuning_goal(plan)
  chosen: dict[study_plan.Key, list[runs_lib.Run]] = {}  # by search that has ended
  keys: dict[str, dict[study_plan.Key, None]] = {}  # searches that try a program
  for key, search in searches.items():
    for at_point in search:
      keys.setdefault(at_point[0].program, {})[key] = None

  def claims_of(key: study_plan.Key, index: results.Index) -> list[runs_lib.Run]:
    if key not in chosen:
      names = [[run.fingerprint for run in at_point] for at_point in searches[key]]
      numbers = tuning.choose(plan.trials[key], names, index, goal)
      if numbers is None:
        return []
      chosen[key] = plan.runs(
        key[0], plan.seeds_of(key[0]), runs_lib.TUNED, numbers, key[1]
      )
    return chosen[key]

  def unit(program: str) -> Unit:
    own = keys.get(program, {})

    def claim(index: results.Index) -> Sequence[runs_lib.Run]:
      tuned = (run for key in own if plan.final for run in claims_of(key, index))
      return [
        *untuned.get(program, ()),
        *(run for run in tuned if run.program == program),
      ]

    def possible() -> Sequence[runs_lib.Run]:
      return [
        *untuned.get(program, ()),
        *(
          run
          for arm, condition in own
          for point in plan.trials[arm, condition]
          for run in plan.runs(
            arm, plan.seeds_of(arm), runs_lib.TUNED, point, condition
          )
          if run.program == program
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
