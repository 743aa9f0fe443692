"""The command line: absl flags, the actions, and one line for every mistake."""

import ast
import contextlib
import math
import os
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from dlsteroids import config as config_lib
from dlsteroids.cluster import executors
from dlsteroids.config import files
from dlsteroids.run import interrupt
from dlsteroids.util import environment, errors

ACTIONS = ('plan', 'run', 'status', 'report', 'replay', 'sample', 'export', 'work')
OWN = (
  *('config', 'workdir', 'action', 'arm', 'seed', 'latex'),
  *('prompt', 'length', 'temperature', 'top_k', 'count', 'label', 'draw', 'target'),
  *('pilot', 'effect', 'power', 'programs', 'distributed'),
  *executors.OWN,
)


def define(values: flags.FlagValues, argv: Sequence[str]) -> None:
  config_flags.DEFINE_config_file(
    'config',
    None,
    'the study: a file of configs/ or your own, with ":smoke" for a quick look',
    lock_config=True,
    flag_values=values,
    sys_argv=list(argv),
  )
  flags.DEFINE_string(
    'workdir', None, 'where results go; default: studies/<name>', flag_values=values
  )
  flags.DEFINE_enum(
    'action',
    'run',
    ACTIONS,
    'run: train what is missing and report; plan: say what that takes; status: where '
    'it stands, from another terminal; report: from what is stored; replay: one run '
    'again with finite checks; work: train some programs of a planned study',
    flag_values=values,
  )
  one = 'for replay, sample, export'
  flags.DEFINE_string('arm', 'baseline', one, flag_values=values)
  flags.DEFINE_integer(
    'seed', None, f"{one}; default: the study's first", flag_values=values
  )
  flags.DEFINE_string(
    'prompt', '', 'for sample: what the text continues', flag_values=values
  )
  flags.DEFINE_integer('length', 500, 'for sample: symbols', flag_values=values)
  flags.DEFINE_float(
    'temperature', 0.8, 'for sample; 0 takes the likeliest', flag_values=values
  )
  flags.DEFINE_integer(
    'top_k', 0, 'for sample: of so many likeliest symbols; 0: all', flag_values=values
  )
  flags.DEFINE_integer('count', 64, 'for sample: of pictures', flag_values=values)
  flags.DEFINE_string('label', '', 'for sample: class of pictures', flag_values=values)
  flags.DEFINE_string(
    'target', '', 'for sample: folder of pictures; for export: file', flag_values=values
  )
  flags.DEFINE_integer('draw', 0, "for sample: the draw's seed", flag_values=values)
  flags.DEFINE_integer(
    'pilot', 0, 'for plan: train so many seeds to measure noise', flag_values=values
  )
  flags.DEFINE_float(
    'effect', 0.0, "for pilot: to be found; default: the study's margin",
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_float('power', 0.8, 'for pilot: chance to find it', flag_values=values)
  flags.DEFINE_bool(
    'distributed', False,
    'for run: one of several processes; SLURM and TPU tell it which, else '
    'JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_list(
    'programs', [], 'for work: ids, as in plan.json', flag_values=values
  )
  executors.define(values)
  flags.DEFINE_bool('latex', False, 'also write effects.tex', flag_values=values)


def main(argv: Sequence[str]) -> int:
  """Runs the command.

  Returns:
    the exit code: 0, 1 if runs failed, 2 for a mistake, 130 after Ctrl-C, 143 after
      SIGTERM.
  """
  with own_output(), interrupt.handled():
    try:
      parsed = parse(argv)
      with together(parsed.flags):
        return act(parsed, argv)
    except errors.UserError as error:
      print(f'dlsteroids: {error}', file=sys.stderr)
      return 2
    except OSError as error:
      place = f' {error.filename}' if error.filename else ''
      print(f'dlsteroids: {error.strerror or error}{place}', file=sys.stderr)
      return 2
    except KeyboardInterrupt as error:
      kept = f'; {error}' if str(error) else ''
      print(
        f'dlsteroids: {interrupt.name()}{kept}; to continue: {repeated(argv)}',
        file=sys.stderr,
      )
      return interrupt.code()


@contextlib.contextmanager
def own_output():
  """Keeps libraries' notices off the user's terminal unless asked for."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  from absl import logging

  logging.set_verbosity(os.environ.get('DLSTEROIDS_LOG', 'fatal'))
  yield


def together(values: flags.FlagValues) -> contextlib.AbstractContextManager[Any]:
  """With the other processes of the study, if it has several."""
  running = values.action == 'run'
  if values.distributed and not running:
    raise errors.UserError('--distributed goes with --action=run')
  if not values.distributed and not (
    'JAX_COORDINATOR_ADDRESS' in os.environ and running
  ):
    return contextlib.nullcontext()
  from dlsteroids.train import processes

  return processes.joined()


class Parsed(NamedTuple):
  """Flags, and overrides of options that the config file's plug-ins do not have."""

  flags: flags.FlagValues
  added: Mapping[str, Any]


def parse(argv: Sequence[str]) -> Parsed:
  """Parses flags; UserError for anything wrong with them or with the config file."""
  added: dict[str, Any] = {}
  for word, after in zip(argv[1:], [*argv[2:], '']):
    flag, equals, value = word.partition('=')
    if flag in ('--config', '-config'):
      tree = files.load_config(value if equals else after).to_dict()
      argv, added = split_added(argv, tree)
  values = flags.FlagValues()
  define(values, argv)
  try:
    rest = values(list(argv))[1:]
  except errors.UserError:
    raise
  except flags.UnrecognizedFlagError as error:
    raise errors.UserError(unrecognized(error.flagname)) from error
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
    raise errors.UserError(illegal(str(error), values)) from error
  if rest:
    raise errors.UserError(f'unexpected argument {rest[0]!r}; flags begin with --')
  if values['config'].value is None and not (
    values.action == 'status' and values.workdir
  ):
    shipped = sorted(str(path) for path in pathlib.Path('configs').glob('[a-z]*.py'))
    raise errors.UserError(
      f'--config=FILE is missing; shipped: {", ".join(shipped) or "none here"}'
    )
  return Parsed(values, added)


def split_added(
  argv: Sequence[str], tree: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
  """Takes out overrides of what only a plug-in has that another flag switches to.

  Raises:
    UserError: for a `--config.SECTION.OPTION` that neither has.
  """
  given: dict[str, str] = {}  # the last one said counts
  places: dict[str, list[int]] = {}
  words = list(argv)
  for at, word in enumerate(words[1:], 1):
    flag, equals, value = word.partition('=')
    path = flag.lstrip('-').removeprefix('config.')
    if not word.startswith('-') or path == flag.lstrip('-'):
      continue
    after = words[at + 1 : at + 2]
    alone = not equals and bool(after) and not after[0].startswith('-')
    given[path] = after[0] if alone else value
    places.setdefault(path, []).extend([at, at + 1] if alone else [at])
  added, gone = {}, set()
  for path, value in given.items():
    section, _, key = path.partition('.')
    if key in tree.get(section, {}):
      continue
    name = given.get(f'{section}.name', '')
    if section not in config_lib.PLUGINS or not name:
      raise errors.UserError(config_lib.unknown_path(path, tree))
    defaults = config_lib.defaults_of(section, {'name': name})
    if key not in defaults:
      raise errors.UserError(config_lib.unknown_path(path, {**tree, section: defaults}))
    gone |= set(places[path])
    added[path] = read_value(path, defaults[key], value)
  return [word for at, word in enumerate(words) if at not in gone], added


def read_value(path: str, like: Any, text: str) -> Any:
  """The value that a flag's text means, of the type of `like`; UserError if not."""
  words: dict[str, Any] = {'true': True, 'false': False, 'inf': math.inf}
  if isinstance(like, str):
    return text
  try:
    value = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
  except (ValueError, SyntaxError):
    value = text
  return config_lib.coerce(path, like, value)


def unrecognized(name: str) -> str:
  return (
    f'unknown flag --{name}{errors.did_you_mean(name, OWN)}; there are '
    f'{", ".join("--" + flag for flag in OWN)} and --config.SECTION.OPTION'
  )


def illegal(text: str, values: flags.FlagValues) -> str:
  """One line for a value that absl or ml_collections refused."""
  text = text.splitlines()[0] if text else 'cannot be read'
  path, _, given = text.removeprefix('flag --config.').partition('=')
  section, _, key = path.partition('.')
  tree = values['config'].value.to_dict() if values['config'].value else {}
  if text.startswith('flag --config.') and key in tree.get(section, {}):
    old = tree[section][key]
    given = given.partition(': ')[0]
    return f'config.{path} expects {type(old).__name__} (like {old!r}), not {given!r}'
  return f'command line: {text}'


def spoken(argv: Sequence[str]) -> str:
  """The command that repeats this one as a run, whatever the action was."""
  return repeated([argv[0], *without(argv[1:], ('action',))])


def repeated(argv: Sequence[str]) -> str:
  """The command that says just the same again."""
  return 'python -m experiments.launch ' + shlex.join(argv[1:])


def without(words: Sequence[str], names: Sequence[str]) -> list[str]:
  """The words of a command without some flags and their values."""
  left = list(words)
  for i, word in reversed(list(enumerate(left))):
    name, equals, _ = word.lstrip('-').partition('=')
    if word.startswith('-') and name in names:
      del left[i : i + (1 if equals else 2)]
  return left


def act(parsed: Parsed, argv: Sequence[str]) -> int:
  values = parsed.flags
  if values.action == 'status':
    show_status(values)
    return 0
  from dlsteroids.cli import summary
  from dlsteroids.plan import manifest
  from dlsteroids.run import launch

  config = values.config
  with config.unlocked():
    for path, value in parsed.added.items():
      section, _, key = path.partition('.')
      config[section][key] = value
  config_flag = values['config']
  overridden = {*config_flags.get_override_values(config_flag), *parsed.added}
  path = config_flags.get_config_filename(config_flag)
  tree = config_lib.resolve(config, overridden)
  environment.prepare(tree['train']['matmul'])
  asked = files.read(path, config, overridden, spoken(argv))
  name = tree['study']['name']
  workdir = pathlib.Path(values.workdir or default_workdir(path, name))
  manifest.check(workdir, name)
  check_pilot(values)
  executors.check(values)
  if values['programs'].present != (values.action == 'work'):
    raise errors.UserError('--programs goes with --action=work, and it with that')
  if values.action == 'work':
    return work(values, asked, workdir)
  if values.action == 'plan':
    made = launch.plan_of(asked, workdir)
    found = fly(values, made, workdir) if values['pilot'].present else []
    print('\n'.join([*summary.lines(made, workdir), *found]))
    return 0
  if values.action in ('replay', 'sample', 'export'):
    made = launch.plan_of(asked, workdir, only=values.arm)
    seed = tree['study']['first_seed'] if values.seed is None else values.seed
    again(values, made, launch.replayed(made, values.arm, seed), workdir)
    return 0
  if values.action == 'report':
    with environment.hold(workdir) if workdir.exists() else contextlib.nullcontext():
      answer = launch.export(workdir, print, tree['engine']['tensorboard'])
  else:
    answer = train(values, asked, workdir, argv)
  if answer.follows:
    return 1 if answer.failed else 0
  if values.latex:
    print(f'latex: {summary.write_latex(answer)}')
  print('\n'.join(summary.findings(answer)))
  print(f'report: {answer.report}')
  return 1 if answer.failed else 0


def show_status(values: flags.FlagValues) -> None:
  from dlsteroids.run import status

  workdir = values.workdir
  if not workdir:
    path = config_flags.get_config_filename(values['config'])
    workdir = default_workdir(path, values.config.study.name)
  print('\n'.join(status.lines(pathlib.Path(workdir))))


def train(
  values: flags.FlagValues,
  asked: files.Asked,
  workdir: pathlib.Path,
  argv: Sequence[str],
) -> Any:
  """The action `run`: in this process, or by workers of an executor."""
  from dlsteroids.cluster import child, dispatch
  from dlsteroids.run import launch, progress

  with progress.Progress(asked.config.study.metric) as shown:
    if values.executor == 'local' and not values.unit_minutes:
      return launch.train(asked, workdir, shown.watch, shown.say)
    # the workers need the accelerator's memory that JAX would take here
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
    own = (*executors.OWN, 'action', 'workdir')
    words = [w for w in without(argv[1:], own) if w not in ('--latex', '--nolatex')]
    order = child.order(words, workdir, values.unit_minutes)
    return dispatch.train(asked, workdir, executors.make(values, order), shown)


def work(values: flags.FlagValues, asked: files.Asked, workdir: pathlib.Path) -> int:
  """The action `work`; 1 if runs failed."""
  from dlsteroids.cluster import worker
  from dlsteroids.run import progress

  with progress.Progress(asked.config.study.metric) as shown:
    return bool(worker.work(asked, workdir, values.programs, shown.watch, shown.say))


def check_pilot(values: flags.FlagValues) -> None:
  """Raises UserError for a flag of the pilot where there is none."""
  for name in ('pilot', 'effect', 'power'):
    if values[name].present and values.action != 'plan':
      raise errors.UserError(f'--{name} goes with --action=plan')
    if values[name].present and not values['pilot'].present:
      raise errors.UserError(f'--{name} goes with --pilot')


def fly(values: flags.FlagValues, made: Any, workdir: pathlib.Path) -> list[str]:
  """Trains the pilot of a plan; lines that say what it tells."""
  from dlsteroids.run import pilot, progress

  wanted = pilot.Wanted(values.effect, values.power)
  with progress.Progress(made.config['study']['metric']) as shown:
    return pilot.run(made, workdir, values.pilot, wanted, shown.watch, shown.say)


def again(values: flags.FlagValues, made: Any, run: Any, workdir: pathlib.Path) -> None:
  """The actions of one run: train it again, let it generate, or pack it."""
  if values.action == 'replay':
    from dlsteroids.run import replay

    replay.replay(made, run, print)
  elif values.action == 'export':
    from dlsteroids.run import export

    target = pathlib.Path(values.target) if values.target else None
    export.export(made, run, workdir, target, print)
  else:
    from dlsteroids.run import sample

    names = (*sample.TEXT, *sample.PICTURES)
    chosen: dict[str, Any] = {name: values[name].value for name in names}
    options = sample.Options(**chosen, seed=values.draw)
    asked = [name for name in names if values[name].present]
    sample.sample(made, run, workdir, options, print, asked)


def default_workdir(path: str, name: str) -> str:
  """studies/<name>, with the mode unless the name tells it: it is another study."""
  mode = path.partition(':')[2]
  told = all(part in name for part in mode.split('-'))
  return f'studies/{name}' + ('' if told else f'-{mode}')
