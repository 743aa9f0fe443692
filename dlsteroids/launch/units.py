"""Units of work: what one program of the plan has to train, search and claim.

Tuning varies traced numbers only, so an arm's search and its claim are runs of the same
program: a unit needs no other to be done, wherever it is trained.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids.launch import prepare
from dlsteroids.results import choices, store
from dlsteroids.study import conditions, plan


class Unit(NamedTuple):
  """The runs of one program.

  Attributes:
    program: its id.
    search: what is trained first; the rest may depend on it.
    claim: the other runs, given what is stored.
    possible: those that `claim` may ever give, for processes that see no store.
  """

  program: str
  search: Sequence[plan.Run]
  claim: Callable[[store.Index], Sequence[plan.Run]]
  possible: Callable[[], Sequence[plan.Run]]

  def runs(self, index: store.Index) -> list[plan.Run]:
    """The runs known to be wanted, the search's first, each once."""
    return plan.unique([*self.search, *self.claim(index)])

  def missing(self, index: store.Index) -> list[plan.Run]:
    """Those that the store lacks."""
    return [r for r in self.runs(index) if r.fingerprint not in index.records]


def make(made: prepare.Plan) -> list[Unit]:
  """The units of a plan, in its order."""
  searched = prepare.searches(made)
  seeds = plan.seeds(made.config)
  claims = group(prepare.claim_runs(made))
  search = group([run for runs in searched.values() for run in runs])

  def unit(program: str) -> Unit:
    mine = {key: runs for key, runs in searched.items() if runs[0].program == program}
    tuned: dict[Any, list[plan.Run]] = {}

    def claim(index: store.Index) -> Sequence[plan.Run]:
      left = {key: runs for key, runs in mine.items() if key not in tuned}
      for key, numbers in choose(made, left, index).items():
        tuned[key] = made.runs(key[0], seeds, plan.TUNED, numbers, key[1])
      return [
        *claims.get(program, ()),
        *(run for key in mine for run in tuned.get(key, ())),
      ]

    def possible() -> Sequence[plan.Run]:
      found = list(claims.get(program, ()))
      for arm, condition in mine:
        for point in made.grid:
          found += made.runs(arm, seeds, plan.TUNED, point, condition)
      return found

    return Unit(program, search.get(program, ()), claim, possible)

  return [unit(program) for program in dict.fromkeys([*claims, *search])]


def group(runs: Sequence[plan.Run]) -> dict[str, list[plan.Run]]:
  """Runs by program, in order."""
  found: dict[str, list[plan.Run]] = {}
  for run in runs:
    found.setdefault(run.program, []).append(run)
  return found


def choose(
  made: prepare.Plan,
  searched: Mapping[tuple[str, conditions.Condition], Sequence[plan.Run]],
  index: store.Index,
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


def given(runs: Sequence[plan.Run]) -> list[Unit]:
  """Units that train given runs and nothing else."""

  def unit(program: str, mine: Sequence[plan.Run]) -> Unit:
    return Unit(program, (), lambda index: mine, lambda: mine)

  return [unit(program, mine) for program, mine in group(runs).items()]
