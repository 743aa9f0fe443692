"""`--action=status`: where a study stands, from files alone; imports no JAX.

Nothing is written or locked, so it may be asked from any terminal at any time.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids import config as config_lib
from dlsteroids.plan import manifest, tuning
from dlsteroids.report import formats
from dlsteroids.run import leases
from dlsteroids.store import failures, results
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

LONG = 60  # letters of arms' names in a line


class Program(NamedTuple):
  """What is known of one program.

  Attributes:
    arms: that it trains.
    wanted: fingerprints of its runs.
    done: as many are stored.
    failed: reasons by fingerprint.
    holder: who trains it now; None if nobody does.
  """

  arms: Sequence[str]
  wanted: Sequence[str]
  done: int
  failed: Mapping[str, str]
  holder: leases.Holder | None

  @property
  def running(self) -> int:
    """Runs that train now."""
    members = int(self.holder.facts.get('members', 0)) if self.holder else 0
    return min(members, len(self.wanted) - self.done)

  @property
  def missing(self) -> int:
    return len(self.wanted) - self.done - len(self.failed) - self.running


def lines(workdir: pathlib.Path) -> list[str]:
  """The state of the study in a workdir, a line each.

  Raises:
    UserError: if there is none, or it can't be read.
  """
  try:
    told = study_lib.from_json(results.read_json(workdir / 'study.json'))
    programs = results.read_json(workdir / 'plan.json')['programs']
  except FileNotFoundError as error:
    raise errors.UserError(
      f'no study in {workdir}: it is not planned yet, or lies elsewhere (--workdir)'
    ) from error
  except manifest.MISFITS as error:
    raise errors.UserError(f'{workdir}: study.json or plan.json: {error}') from error
  index = results.read(workdir)
  told = tuning.with_choices(told, index)
  found = gather(workdir, told, programs, index)
  if not found:
    raise errors.UserError(
      f'{workdir} was written by an older version: --action=run, then ask again'
    )
  return [head(workdir, told, found, index), *rows(found), *trouble(found)]


def gather(
  workdir: pathlib.Path,
  told: study_lib.Study,
  programs: Mapping[str, Any],
  index: results.Index,
) -> dict[str, Program]:
  """Every program that the study asks for, by id."""
  wanted = tuning.programs_by_run(told)
  failed = failures.reasons(workdir, wanted, index.records)
  engine = config_lib.DEFAULTS['engine'] | told.config['engine']
  held = leases.live(workdir, engine['lease_seconds'])
  names: dict[str, list[str]] = {}
  for name, program in wanted.items():
    names.setdefault(program, []).append(name)
  return {
    program: Program(
      programs.get(program, {}).get('arms', ()),
      mine,
      sum(name in index.records for name in mine),
      {name: failed[name] for name in mine if name in failed},
      held.get(program),
    )
    for program, mine in names.items()
  }


def head(
  workdir: pathlib.Path,
  told: study_lib.Study,
  found: Mapping[str, Program],
  index: results.Index,
) -> str:
  """The whole study in a line."""
  every = sum(len(p.wanted) for p in found.values())
  done = sum(p.done for p in found.values())
  parts = [f'{done:,} of {every:,} runs done']
  for what in ('running', 'missing'):
    count = sum(getattr(p, what) for p in found.values())
    parts += [f'{count:,} {what}'] if count else []
  lost = sum(len(p.failed) for p in found.values())
  parts += [f'{lost:,} failed'] if lost else []
  text = f'study {told.name} in {workdir}: {", ".join(parts)}'
  if done == every:
    return f'{text}; complete'
  if not any(p.holder for p in found.values()):
    return f'{text}; nothing runs: the same command as before goes on'
  seconds = left(told, found, index)
  return text + (f'; about {formats.seconds(seconds)} left' if seconds else '')


def left(
  told: study_lib.Study, found: Mapping[str, Program], index: results.Index
) -> float:
  """Seconds to go, by FLOPs and the programs that train now; 0 if unknown."""
  spent = work = 0.0
  for record in index.records.values():
    spent += record.run['wall_s']
    work += record.run['flops']
  if not work or not spent:
    return 0.0
  each = costs(told)
  todo = 0.0
  for program in found.values():
    lacking = [name for name in program.wanted if name not in index.records]
    todo += sum(each.get(name, 0.0) for name in lacking if name not in program.failed)
    if program.holder and lacking:
      facts = program.holder.facts
      share = facts.get('step', 0) / max(facts.get('steps', 1), 1)
      todo -= share * program.running * each.get(lacking[0], 0.0)
  lanes = sum(p.holder is not None for p in found.values())
  return max(0.0, todo) / work * spent / lanes


def costs(study: study_lib.Study) -> dict[str, float]:
  """Nominal FLOPs by run."""
  at = {
    (arm.name, *cost.condition): cost.flops for arm in study.arms for cost in arm.at
  }
  flops = {
    run.fingerprint: at[run.arm, run.regime, run.budget, run.size] for run in study.runs
  }
  for one in study.tuning.candidates if study.tuning else ():
    cost = at[one.arm, one.regime, one.budget, one.size]
    flops |= {name: cost for names in one.search for name in names}
  return flops


def rows(found: Mapping[str, Program]) -> list[str]:
  """A line for each program."""
  width = max(len(shorten(p.arms)) for p in found.values())
  count = max(len(str(len(p.wanted))) for p in found.values())
  told = []
  for name, program in found.items():
    done = f'{program.done:>{count}} of {len(program.wanted):>{count}}'
    told.append(f'  {name}  {shorten(program.arms):<{width}}  {done}  {state(program)}')
  return told


def shorten(arms: Sequence[str]) -> str:
  text = ', '.join(arms)
  return text if len(text) <= LONG else f'{text[: LONG - 2]} …'


def state(program: Program) -> str:
  """What a program does now."""
  holder = program.holder
  if holder is None:
    if program.done == len(program.wanted):
      return 'done'
    return f'{len(program.failed)} failed' if program.failed else 'waits'
  facts = holder.facts
  text = f'runs: {holder}'
  if 'steps' not in facts:
    text += ', compiles'
  else:
    text += (
      f', batch {facts["batch"]} of {facts["batches"]} ({facts["members"]} runs), step '
      f'{facts["step"]:,} of {facts["steps"]:,}, {facts["rate"]:,.3g} steps/s'
    )
  return f'{text}, {holder.age:.0f} s ago' if holder.age > 15 else text


def trouble(found: Mapping[str, Program]) -> list[str]:
  """A line for each reason of failure."""
  told = []
  for name, program in found.items():
    counts: dict[str, int] = {}
    for why in program.failed.values():
      counts[why] = counts.get(why, 0) + 1
    told += [
      f'failed: {name} ({shorten(program.arms)}), {count} runs: {why}'
      for why, count in counts.items()
    ]
  return told
