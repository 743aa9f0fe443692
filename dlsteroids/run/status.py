"""`--action=status`: the progress of a study, from its files alone; imports no JAX.

Nothing is written or locked, so it works from any terminal at any time.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids import config as config_lib
from dlsteroids.plan import changes as changes_lib
from dlsteroids.plan import tuning
from dlsteroids.report import formats
from dlsteroids.run import leases
from dlsteroids.store import failures, results
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors

LONG = 60  # characters of arms' names in a line


class Program(NamedTuple):
  """The state of one program.

  Attributes:
    arms: that it trains.
    runs: fingerprints of its runs.
    done: how many of them are stored.
    failed: reasons by fingerprint.
    holder: the process that trains it now; None if there is none.
  """

  arms: Sequence[str]
  runs: Sequence[str]
  done: int
  failed: Mapping[str, str]
  holder: leases.Holder | None

  @property
  def running(self) -> int:
    """How many runs train now."""
    members = int(self.holder.facts.get('members', 0)) if self.holder else 0
    return min(members, len(self.runs) - self.done)

  @property
  def missing(self) -> int:
    return len(self.runs) - self.done - len(self.failed) - self.running


class Report(NamedTuple):
  """Where a study stands.

  Attributes:
    workdir: of the study.
    study: what it asks for.
    programs: the state of each, by id.
    store: what is stored.
    changes: what changed since study.json was written; '' if nothing did.
  """

  workdir: pathlib.Path
  study: study_lib.Study
  programs: Mapping[str, Program]
  store: results.Index
  changes: str

  def lines(self) -> list[str]:
    """For a reader, a line each."""
    study, states = self.study, self.programs
    return [
      head(self.workdir, study, states, self.store, self.changes),
      *rows(states),
      *trouble(states),
    ]

  def to_json(self) -> dict[str, Any]:
    """For a program, as docs/answer.schema.json describes it."""
    states = self.programs.values()
    total, done = sum(len(p.runs) for p in states), sum(p.done for p in states)
    running = any(program.holder for program in states)
    seconds = remaining(self.study, self.programs, self.store) if running else 0.0
    return {
      'kind': 'status',
      'format': 1,
      'study': self.study.name,
      'workdir': str(self.workdir),
      'complete': done == total and not self.changes,
      'changes': self.changes or None,
      'runs': {
        'planned': total,
        'done': done,
        'running': sum(program.running for program in states),
        'missing': sum(program.missing for program in states),
        'failed': sum(len(program.failed) for program in states),
      },
      'seconds_left': seconds or None,
      'programs': [
        {
          'program': name,
          'arms': list(program.arms),
          'runs': len(program.runs),
          'done': program.done,
          'running': program.running,
          'failed': sorted(set(program.failed.values())),
        }
        for name, program in self.programs.items()
      ],
      'lines': self.lines(),
    }


def read(workdir: pathlib.Path, config: Mapping[str, Any] | None = None) -> Report:
  """The state of the study in a workdir.

  Args:
    workdir: of the study.
    config: resolved, what `run` would be asked now; None: as in study.json.

  Raises:
    UserError: if there is none, or it can't be read.
  """
  try:
    study = study_lib.from_json(results.read_json(workdir / 'study.json'))
    programs = results.read_json(workdir / 'plan.json')['programs']
  except FileNotFoundError as error:
    raise errors.UserError(
      f'no study in {workdir}: it is not planned yet, or is elsewhere (--workdir)'
    ) from error
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise errors.UserError(f'{workdir}: study.json or plan.json: {error}') from error
  index = results.read(workdir)
  study = tuning.with_choices(study, index)
  states = gather(workdir, study, programs, index)
  return Report(workdir, study, states, index, changed(study, config or study.config))


def changed(study: study_lib.Study, config: Mapping[str, Any]) -> str:
  """What changed since study.json was written; '' if nothing did.

  Data are read again only where they are the user's files.
  """
  paths = ('path', 'path_x', 'path_y')
  data = study.data.digest
  if any(config['data'].get(name) for name in paths):
    try:
      module = config_lib.find('data', config['data']['name'])
      data = module.load(config['data']).digest
    except errors.UserError as error:
      return str(error)
  return changes_lib.describe(study, config, data)


def gather(
  workdir: pathlib.Path,
  study: study_lib.Study,
  programs: Mapping[str, Any],
  index: results.Index,
) -> dict[str, Program]:
  """The state of every program of the study, by id."""
  runs = tuning.programs_by_run(study)
  failed = failures.reasons(workdir, runs, index.records)
  engine = config_lib.DEFAULTS['engine'] | study.config['engine']
  holders = leases.live(workdir, engine['lease_seconds'])
  names: dict[str, list[str]] = {}
  for name, program in runs.items():
    names.setdefault(program, []).append(name)
  return {
    program: Program(
      programs.get(program, {}).get('arms', ()),
      own,
      sum(name in index.records for name in own),
      {name: failed[name] for name in own if name in failed},
      holders.get(program),
    )
    for program, own in names.items()
  }


def head(
  workdir: pathlib.Path,
  study: study_lib.Study,
  states: Mapping[str, Program],
  index: results.Index,
  changes: str = '',
) -> str:
  """The whole study in one line."""
  total = sum(len(p.runs) for p in states.values())
  done = sum(p.done for p in states.values())
  parts = [f'{done:,} of {total:,} runs done']
  for what in ('running', 'missing'):
    count = sum(getattr(p, what) for p in states.values())
    parts += [f'{count:,} {what}'] if count else []
  failed = sum(len(p.failed) for p in states.values())
  parts += [f'{failed:,} failed'] if failed else []
  text = f'study {study.name} in {workdir}: {", ".join(parts)}'
  if changes and not any(p.holder for p in states.values()):
    return f'{text}, before this changed: {changes}; --action=run trains anew'
  if done == total and study.tuning and not study.tuning.final:
    return f'{text}; searches done, claims follow: repeat the command to continue'
  if done == total:
    return f'{text}; complete'
  if not any(p.holder for p in states.values()):
    return f'{text}; nothing runs now: repeat the command to continue'
  seconds = remaining(study, states, index)
  return text + (f'; about {formats.seconds(seconds)} left' if seconds else '')


def remaining(
  study: study_lib.Study, states: Mapping[str, Program], index: results.Index
) -> float:
  """Seconds left, by FLOPs and the programs that train now; 0 if unknown."""
  spent = work = 0.0
  for record in index.records.values():
    spent += record.run['wall_s']
    work += record.run['flops']
  if not work or not spent:
    return 0.0
  each = costs(study)
  todo = 0.0
  for program in states.values():
    missing = [name for name in program.runs if name not in index.records]
    todo += sum(each.get(name, 0.0) for name in missing if name not in program.failed)
    if program.holder and missing:
      facts = program.holder.facts
      share = facts.get('step', 0) / max(facts.get('steps', 1), 1)
      todo -= share * program.running * each.get(missing[0], 0.0)
  lanes = sum(p.holder is not None for p in states.values())
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


def rows(states: Mapping[str, Program]) -> list[str]:
  """One line per program; those of the same arms that no process trains share one."""
  groups: dict[Any, list[Program]] = {}
  for name, program in states.items():
    left = program.done < len(program.runs)
    kind = (shorten(program.arms), left, bool(program.failed))
    key = name if program.holder else kind
    groups.setdefault(key, []).append(program)
  cells = []
  for group in groups.values():
    done, count = (sum(n) for n in zip(*((p.done, len(p.runs)) for p in group)))
    text = state(_together(group))
    text += f' ({len(group)} programs)' if len(group) > 1 else ''
    cells.append((shorten(group[0].arms), done, count, text))
  width = max(len(arms) for arms, *_ in cells)
  digits = max(len(str(count)) for _, _, count, _ in cells)
  return [
    f'  {arms:<{width}}  {done:>{digits}} of {count:>{digits}}  {text}'
    for arms, done, count, text in cells
  ]


def _together(group: Sequence[Program]) -> Program:
  """Programs of the same arms as one."""
  runs = [name for program in group for name in program.runs]
  failed = {name: why for program in group for name, why in program.failed.items()}
  return group[0]._replace(runs=runs, done=sum(p.done for p in group), failed=failed)


def shorten(arms: Sequence[str]) -> str:
  text = ', '.join(arms)
  return text if len(text) <= LONG else f'{text[: LONG - 2]} …'


def state(program: Program) -> str:
  """The state of a program in words."""
  holder = program.holder
  if holder is None:
    if program.done == len(program.runs):
      return 'done'
    return f'{len(program.failed)} failed' if program.failed else 'waiting'
  facts = holder.facts
  text = f'training: {holder}'
  if 'steps' not in facts:
    text += ', compiling'
  else:
    text += (
      f', {facts["members"]} runs, step '
      f'{facts["step"]:,} of {facts["steps"]:,}, {facts["rate"]:,.3g} steps/s'
    )
  return f'{text}, {holder.age:.0f} s ago' if holder.age > 15 else text


def trouble(states: Mapping[str, Program]) -> list[str]:
  """One line per reason of failure, with the log of its program."""
  lines = []
  for name, program in states.items():
    counts: dict[str, int] = {}
    for why in program.failed.values():
      counts[why] = counts.get(why, 0) + 1
    lines += [
      f'failed: {shorten(program.arms)}, {count} runs: {why} (program {name})'
      for why, count in counts.items()
    ]
  return lines
