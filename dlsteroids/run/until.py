"""The loop of `--until=decided`: one launch for each look that is due."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from dlsteroids.analysis import looks, sequential, summary
from dlsteroids.plan import manifest, study_plan, tuning
from dlsteroids.report import formats
from dlsteroids.store import results
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

WORD = 'decided'


class Bound(NamedTuple):
  """How far a launch that looks until verdicts are reached may go.

  Attributes:
    most: seeds an arm may get.
    flops: nominal, of the whole study's training; 0: no bound.
    hours: of the whole study's training; 0: no bound.
  """

  most: int
  flops: float = 0.0
  hours: float = 0.0

  @property
  def cost(self) -> study_lib.Spending:
    """What the whole study may take."""
    return study_lib.Spending(self.flops, 3600 * self.hours)


def check(
  until: str, most: int | None, most_flops: float = 0.0, most_hours: float = 0.0
) -> Bound | None:
  """The bound of a launch that looks until verdicts are reached; None if it does not.

  Raises:
    UserError: for another word, a bound without it or it without --most, or a bound
      that is not a number above 0.
  """
  costs = {'most_flops': most_flops, 'most_hours': most_hours}
  if until not in ('', WORD):
    raise errors.UserError(f'until: expected {WORD!r}, not {until!r}')
  if until and not most:
    raise errors.UserError(
      f'--until={WORD} needs a bound: --most=40, the most seeds an arm may get'
    )
  if most and not until:
    raise errors.UserError(f'--most goes with --until={WORD}')
  for name, value in costs.items():
    if value and not until:
      raise errors.UserError(f'--{name} goes with --until={WORD}')
    if not 0 <= value < math.inf:
      raise errors.UserError(f'--{name} must be a finite number above 0, not {value}')
  return Bound(most, most_flops, most_hours) if most else None


def begin(
  plan: study_plan.Plan, workdir: pathlib.Path, bound: Bound
) -> study_plan.Plan:
  """The plan of the look at which a study stands, with its schedule.

  The schedule is the one of study.json if there was a look; before that it is new.

  Raises:
    UserError: if no look can be significant, if the FLOPs allow none, if results were
      looked at otherwise, or if more or other looks are asked for than were declared
      before the first.
  """
  most = bound.most
  old = manifest.read_study(workdir)
  study = manifest.describe(plan, '', old, old.looks if old else ())
  settings = plan.config['study']
  contrasts = len(summary.family(study))
  sizes = sequential.sizes(settings['looks'], most, settings['alpha'], contrasts)
  taken = looks.taken(study)
  if not taken:
    first = cost_of_look(plan, sizes[0])
    if 0 < bound.flops < first.flops:
      raise errors.UserError(
        f'--most_flops={bound.flops:g} is below the first look, {sizes[0]} seeds: '
        f'{first.runs} runs take {first.flops:.3g}'
      )
    return at(plan, study_lib.Until(sizes, most, bound=bound.cost), sizes[0])
  declared = old.until if old else None
  question = looks.question(study)
  foreign = [n for asked, n in taken if asked != question]
  if declared is None or foreign or {n for _, n in taken} - {*declared.sizes}:
    raise errors.UserError(
      'results have been looked at before, with other seeds or another question: the '
      f'looks of --until={WORD} are declared before the first; use another --workdir '
      'and, as --config.study.first_seed=1000, seeds that nobody has looked at'
    )
  text = ', '.join(map(str, declared.sizes))
  if most > max(declared.sizes[-1], declared.most) or settings['looks'] != (
    old.looks_declared if old else 0
  ):
    raise errors.UserError(
      f'the looks were declared at {text} seeds, before the first of them: '
      f'--most={most} and --config.study.looks={settings["looks"]} would change that '
      'after results were shown; without --until, --config.study.seeds adds seeds '
      'whose verdicts are exploratory'
    )
  until = declared._replace(most=most, bound=bound.cost)
  return at(plan, until, max(n for _, n in taken))


def at(plan: study_plan.Plan, until: study_lib.Until, seeds: int) -> study_plan.Plan:
  """The plan with so many seeds for every arm that has not stopped."""
  config = {**plan.config, 'study': {**plan.config['study'], 'seeds': seeds}}
  return plan._replace(config=config, until=until)


def advance(
  plan: study_plan.Plan,
  workdir: pathlib.Path,
  runs: pd.DataFrame,
  say: Callable[[str], None],
) -> study_plan.Plan | None:
  """The plan of the next look after the report of one; None if none is due.

  Args:
    plan: of the look that has been reported.
    workdir: of the study.
    runs: of the declared condition.
    say: prints a line for the user.
  """
  study, until = manifest.read_study(workdir), plan.until
  if study is None or study.until is None or until is None:
    raise ValueError('no looks are scheduled')
  if not looks.complete(study, runs):
    say('the look is not complete: runs failed; the same command tries them again')
    return None
  decided = sequential.decisions(study, runs)
  endings = sequential.endings(study, decided)
  following = sequential.next_size(study)
  going = [one.arm for one in endings if one.why == sequential.OPEN]
  number = until.sizes.index(len(study.seeds)) + 1
  reached = sum(bool(one.verdict) and not one.is_open for one in decided)
  line = f'look {number} of {len(until.sizes)}, {len(study.seeds)} seeds: '
  line += f'{reached} of {len(decided)} contrasts decided'
  if broke := [one.arm for one in endings if one.why == sequential.COST]:
    line += f'; the bound on the cost leaves no further seeds for {", ".join(broke)}'
  if not going or not following:
    say(line)
    return None
  say(f'{line}; {", ".join(going)} go on to {following} seeds')
  stopped = {one.arm: one.seeds for one in endings if one.arm not in going}
  return at(plan, until._replace(stopped=stopped), following)


def measure_costs(study: study_lib.Study, index: results.Index) -> study_lib.Study:
  """The study with what its runs took, and what a further seed of each arm takes.

  Only if it has a bound on the cost. An arm costs by the runs that it has.
  """
  until = study.until
  if until is None or not any(until.bound):
    return study
  names = tuning.programs_by_run(study)
  spent = _sum(index.records[name] for name in names if name in index.records)
  groups: dict[tuple[Any, ...], list[results.Record]] = {}
  for run in study.runs:
    if run.fingerprint in index.records:
      key = run.arm, run.tuned, run.regime, run.budget, run.size
      groups.setdefault(key, []).append(index.records[run.fingerprint])
  per_seed: dict[str, study_lib.Spending] = {}
  for (arm, *_), records in groups.items():
    own = zip(per_seed.get(arm, study_lib.Spending()), _sum(records))
    per_seed[arm] = study_lib.Spending(*(x + y / len(records) for x, y in own))
  until = until._replace(spent=spent, per_seed=per_seed)
  return dataclasses.replace(study, until=until)


def _sum(records: Iterable[results.Record]) -> study_lib.Spending:
  pairs = [(record.run['flops'], record.run['wall_s']) for record in records]
  return study_lib.Spending(sum(x for x, _ in pairs), sum(y for _, y in pairs))


class LookCost(NamedTuple):
  """What a study takes up to a look that all arms come to, as planned.

  Attributes:
    runs: how many.
    flops: nominal.
    seconds: of training; nan if no run of the study is stored.
  """

  runs: int
  flops: float
  seconds: float


def cost_of_look(
  plan: study_plan.Plan, seeds: int, index: results.Index | None = None
) -> LookCost:
  """The cost of a study in which every arm gets so many seeds, searches included.

  Args:
    plan: the plan; of searches, the points so far, tuned runs as the untuned ones.
    seeds: of an arm.
    index: the store, whose runs tell the time; None: no store.
  """
  rate = _sum(index.records.values() if index else ())
  each, flops = 0, 0.0
  for (arm, condition), count in _runs_per_seed(plan).items():
    each += count
    flops += count * manifest.arm_cost(plan, arm, condition).flops
  search = [
    run
    for points in study_plan.searches(plan).values()
    for runs in points
    for run in runs
  ]
  flops = seeds * flops + sum(
    plan.facts[run.program].flops * run.config['train']['steps'] for run in search
  )
  seconds = flops * rate.seconds / rate.flops if rate.seconds else math.nan
  return LookCost(seeds * each + len(search), flops, seconds)


def _runs_per_seed(plan: study_plan.Plan) -> dict[study_plan.Key, int]:
  """How many runs a seed of an arm has under each condition: as configured, tuned."""
  untuned = plan.conditions[:1] if plan.grid else plan.conditions
  as_configured = study_plan.trains_untuned(plan)
  return {
    key: int(as_configured and key[1] in untuned) + bool(plan.grid) for key in plan.at
  }


def lines(plan: study_plan.Plan, index: results.Index, sd: float) -> list[str]:
  """What the looks cost, for the action `plan`.

  Args:
    plan: of `begin`.
    index: the store.
    sd: of differences between runs; nan if unknown.
  """
  until, settings = plan.until, plan.config['study']
  if until is None:
    return []
  sizes = [n for n in until.sizes if n <= until.most]
  levels = [looks.level(settings['alpha'], j) for j in range(1, len(sizes) + 1)]
  schedule = ', '.join(f'{n} (level {a:.2g})' for n, a in zip(sizes, levels))
  study = manifest.describe(plan, '')
  effect = settings['margin'] or sd
  expected = 'unknown before two runs of the reference (--pilot=8 trains some)'
  if sd == sd:
    seeds = sequential.expected_seeds(
      sizes, sd, effect, settings['alpha'], len(summary.family(study))
    )
    size = 'the margin' if settings['margin'] else 'the noise floor'
    cost = _describe_cost(cost_of_look(plan, round(seeds), index))
    expected = f'about {seeds:.0f} seeds, if all differ by {size}: {cost}'
  costs = [cost_of_look(plan, size, index) for size in sizes]
  return [
    f'until decided: looks at {schedule} seeds',
    f'first look: {_describe_cost(costs[0])}; at most: {_describe_cost(costs[-1])}; '
    f'expected: {expected}',
    *describe_bound(until.bound, sizes, costs),
  ]


def _describe_cost(cost: LookCost) -> str:
  """'24 runs, 1.2 GFLOPs, about 3 min'."""
  time = '' if math.isnan(cost.seconds) else f', about {formats.seconds(cost.seconds)}'
  return f'{cost.runs} runs, {formats.flops(cost.flops)}{time}'


def describe_bound(
  bound: study_lib.Spending, sizes: Sequence[int], costs: Sequence[LookCost]
) -> list[str]:
  """How far the bounds on the cost reach; [] without any."""
  parts = []
  for name, most, write in (
    ('flops', bound.flops, formats.flops),
    ('seconds', bound.seconds, formats.seconds),
  ):
    if not most:
      continue
    values = [getattr(cost, name) for cost in costs]
    count = sum(value <= most for value in values)
    text = f'{write(most)} pay for {sizes[max(count, 1) - 1]} seeds of every arm'
    if any(map(math.isnan, values)):
      text = f'how far {write(most)} reach is known after the first runs'
    elif not count:
      text = f'{write(most)} are less than the first look, which is taken nevertheless'
    elif count == len(sizes):
      text = f'{write(most)} pay for every look'
    parts.append(text)
  if not parts:
    return []
  return [f'bound on the cost, applied after each look: {"; ".join(parts)}']
