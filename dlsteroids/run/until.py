"""The loop of `--until=decided`: one launch for each look that is due."""

import pathlib
from collections.abc import Callable

import pandas as pd

from dlsteroids.analysis import looks, sequential, summary
from dlsteroids.plan import manifest, study_plan
from dlsteroids.store import results
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

WORD = 'decided'


def check(until: str, most: int | None) -> int:
  """The bound of a launch that looks until verdicts are reached; 0 if it does not.

  Raises:
    UserError: for another word, or one of the two without the other.
  """
  if until not in ('', WORD):
    raise errors.UserError(f'until: expected {WORD!r}, not {until!r}')
  if until and not most:
    raise errors.UserError(
      f'--until={WORD} needs a bound: --most=40, the most seeds an arm may get'
    )
  if most and not until:
    raise errors.UserError(f'--most goes with --until={WORD}')
  return most or 0


def begin(plan: study_plan.Plan, workdir: pathlib.Path, most: int) -> study_plan.Plan:
  """The plan of the look at which a study stands, with its schedule.

  The schedule is the one of study.json if there was a look; before that it is new.

  Raises:
    UserError: if no look can be significant, if results were looked at otherwise, or if
      more or other looks are asked for than were declared before the first.
  """
  old = manifest.read_study(workdir)
  study = manifest.describe(plan, '', old, old.looks if old else ())
  settings = plan.config['study']
  contrasts = len(summary.family(study))
  sizes = sequential.sizes(settings['looks'], most, settings['alpha'], contrasts)
  taken = looks.taken(study)
  if not taken:
    return at(plan, study_lib.Until(sizes, most), sizes[0])
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
  until = declared._replace(most=most)
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
  if not going or not following:
    say(line)
    return None
  say(f'{line}; {", ".join(going)} go on to {following} seeds')
  stopped = {one.arm: one.seeds for one in endings if one.arm not in going}
  return at(plan, until._replace(stopped=stopped), following)


def lines(
  plan: study_plan.Plan, index: results.Index, sd: float, write: Callable[[float], str]
) -> list[str]:
  """What the looks cost, for the action `plan`.

  Args:
    plan: of `begin`.
    index: the store.
    sd: of differences between runs; nan if unknown.
    write: a number of FLOPs in words.
  """
  until, settings = plan.until, plan.config['study']
  if until is None:
    return []
  sizes = [n for n in until.sizes if n <= until.most]
  levels = [looks.level(settings['alpha'], j) for j in range(1, len(sizes) + 1)]
  schedule = ', '.join(f'{n} (level {a:.2g})' for n, a in zip(sizes, levels))
  each = _flops_per_seed(plan)
  cost = lambda seeds: f'{len(plan.arms) * seeds:.0f} runs, {write(each * seeds)}'
  study = manifest.describe(plan, '')
  effect = settings['margin'] or sd
  expected = 'unknown before two runs of the reference (--pilot=8 trains some)'
  if sd == sd:
    seeds = sequential.expected_seeds(
      sizes, sd, effect, settings['alpha'], len(summary.family(study))
    )
    size = 'the margin' if settings['margin'] else 'the noise floor'
    expected = f'about {seeds:.0f} seeds, if all differ by {size}: {cost(seeds)}'
  return [
    f'until decided: looks at {schedule} seeds',
    f'first look: {cost(sizes[0])}; at most: {cost(sizes[-1])}; expected: {expected}',
  ]


def _flops_per_seed(plan: study_plan.Plan) -> float:
  """Nominal, of one run of every arm under every condition of the claim."""
  return sum(
    manifest.arm_cost(plan, arm, condition).flops
    for arm in plan.arms
    for condition in plan.conditions
  )
