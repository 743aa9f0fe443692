"""The command line: `python -m dlsteroids`; one line for every mistake."""

import contextlib
import contextvars
import gc
import json
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from absl import flags as absl_flags

import dlsteroids
from dlsteroids import config as config_lib
from dlsteroids.cli import flags
from dlsteroids.config import files
from dlsteroids.run import interrupt
from dlsteroids.util import environment, errors, lock, terminal

NAME = 'python -m dlsteroids'
BY_FOLDER = ('status', 'report')  # actions that a study's folder is enough for
# Tracing makes millions of small objects; looking for cycles among them as often as
# Python does by default is a fifth of its time.
COLLECT_AFTER = (50_000, 10, 10)
# Where the answers of --json go while everything else goes to stderr.
_ANSWERS: contextvars.ContextVar[TextIO | None] = contextvars.ContextVar(
  'answers', default=None
)


class Command(NamedTuple):
  """A parsed command line.

  Attributes:
    flags: by absl.
    config: path or name of the study, with its mode; '' if none.
    overrides: text by config path, as on the command line.
    typed: the words after the program's name.
  """

  flags: absl_flags.FlagValues
  config: str
  overrides: Mapping[str, str]
  typed: Sequence[str]

  def study_words(self) -> list[str]:
    """The words that name the study, whatever the action."""
    options = [f'--config.{path}={text}' for path, text in self.overrides.items()]
    return [f'--config={self.config}', *options]

  def again(self) -> str:
    """The command that repeats this one exactly."""
    return f'{NAME} {shlex.join(self.typed)}'.rstrip()

  def rerun(self) -> str:
    """The command that trains this study, whatever the action was."""
    workdir = self.flags.workdir
    words = [*self.study_words(), *([f'--workdir={workdir}'] if workdir else [])]
    if self.flags.until:
      words += [f'--until={self.flags.until}', f'--most={self.flags.most}']
      costs = {name: self.flags[name].value for name in ('most_flops', 'most_hours')}
      words += [f'--{name}={value:g}' for name, value in costs.items() if value]
    return f'{NAME} {shlex.join(words)}'


def script() -> None:
  """The program `dlsteroids`; never returns."""
  gc.set_threshold(*COLLECT_AFTER)
  code = main(sys.argv)
  if (
    code > 128
  ):  # ended by a signal: a program that still compiles would delay the exit
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


def main(argv: Sequence[str]) -> int:
  """Runs a command line, `argv[0]` being the program's name.

  Returns:
    the exit code, as docs/agents.md lists them: 0, 1 if runs failed, 2 for a mistake,
      130 after Ctrl-C, 143 after SIGTERM.
  """
  with interrupt.handled():
    try:
      _quiet_libraries()
      if _inform(argv[1:]):
        return 0
      command = parse(argv)
      with _together(command.flags), _answers_alone(command.flags.json):
        return _act(command)
    except errors.UserError as error:
      print(f'dlsteroids: {error}', file=sys.stderr)
      return 2
    except ValueError as error:
      text = environment.describe_setting(error)
      if not text:
        raise
      print(f'dlsteroids: {text}', file=sys.stderr)
      return 2
    except BrokenPipeError:  # such as `dlsteroids --help | head`
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
      return 0
    except OSError as error:
      place = f' {error.filename}' if error.filename else ''
      print(f'dlsteroids: {error.strerror or error}{place}', file=sys.stderr)
      return 2
    except KeyboardInterrupt as error:
      saved = f'; {error}' if str(error) else ''
      words = shlex.join(argv[1:])
      print(
        f'dlsteroids: {interrupt.name()}{saved}; to continue: {NAME} {words}'.rstrip(),
        file=sys.stderr,
      )
      return interrupt.code()


@contextlib.contextmanager
def _answers_alone(json_only: bool) -> Iterator[None]:
  """With --json what configs, models and libraries print goes to stderr."""
  if not json_only:
    yield
    return
  token = _ANSWERS.set(sys.stdout)
  try:
    with contextlib.redirect_stdout(sys.stderr):
      yield
  finally:
    _ANSWERS.reset(token)


def _quiet_libraries() -> None:
  """Keeps libraries' notices off the terminal unless DLSTEROIDS_LOG asks for them."""
  terminal.make_printable()
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  from absl import logging

  level = os.environ.get('DLSTEROIDS_LOG', 'fatal')
  try:
    logging.set_verbosity(level)
  except (KeyError, ValueError) as error:
    raise errors.UserError(
      f'DLSTEROIDS_LOG={level}: use debug, info, warning, error or fatal'
    ) from error


def _together(values: absl_flags.FlagValues) -> contextlib.AbstractContextManager[Any]:
  """A context in which this process and the others of a distributed run are one."""
  coordinated = 'JAX_COORDINATOR_ADDRESS' in os.environ and values.action == 'run'
  if not values.distributed and not coordinated:
    return contextlib.nullcontext()
  from dlsteroids.train import processes

  return processes.joined()


def _inform(words: Sequence[str]) -> bool:
  """Prints what --help, --version or --list ask for; returns whether one was given."""
  for word in words:
    name, _, topic = word.partition('=')
    if name in ('-h', '-help', '--help', '--helpfull', '--helpshort'):
      from dlsteroids.cli import help as help_lib

      if topic in ('', 'config'):
        rest = [other for other in words if other != word]
        print(help_lib.options(_tree_of(rest)) if topic else help_lib.text())
        return True
      raise errors.UserError(f'--help={topic}: there are --help and --help=config')
    if name in ('--version', '-version'):
      print(f'dlsteroids {dlsteroids.__version__}')
      return True
    if name in ('--list', '-list'):
      from dlsteroids.cli import help as help_lib

      print(help_lib.studies())
      return True
  return False


def _tree_of(words: Sequence[str]) -> dict[str, Any]:
  """The resolved config of a command, of a default one if it names no study."""
  command = parse(['', *words], needs_config=False)
  if command.config:
    return files.read_config(command.config, command.overrides)
  config = config_lib.base(model='mlp', data='digits')
  return config_lib.override_text(config, command.overrides)


def parse(argv: Sequence[str], needs_config: bool = True) -> Command:
  """Parses a command line, without reading the study.

  Raises:
    UserError: for a mistake in the flags.
  """
  words, overrides = split_overrides(argv[1:])
  values = flags.define()
  try:
    rest = values([argv[0], *words])[1:]
  except absl_flags.UnrecognizedFlagError as error:
    raise errors.UserError(_unrecognized(error.flagname)) from error
  except (absl_flags.Error, TypeError, ValueError) as error:
    text = re.sub(r"\('(.*)', '.*'\)$", r'\1', str(error).splitlines()[0])
    raise errors.UserError(f'command line: {text}') from error
  rest = _read_words(values, rest)
  if rest:
    raise errors.UserError(f'unexpected argument {rest[0]!r}; flags begin with --')
  flags.check(values)
  config = os.path.expanduser(values['config'].value or '')
  if values.action == 'judge' and not config:
    raise errors.UserError(
      'which table? dlsteroids judge runs.csv --metric=test_loss --reference=baseline'
    )
  if values.workdir:
    values['workdir'].value = os.path.expanduser(values.workdir)
  without = values.action in BY_FOLDER and values.workdir
  if without and not config and overrides:
    path = next(iter(overrides))
    raise errors.UserError(f'--config.{path} goes with a study, not with its folder')
  if needs_config and not config and not without:
    folder = ' or --workdir=FOLDER' if values.action in BY_FOLDER else ''
    raise errors.UserError(
      f'which study? dlsteroids {values.action} CONFIG{folder}; shipped: '
      f'{", ".join(files.shipped()) or "none here"}, or a file of your own (--help)'
    )
  return Command(values, config, overrides, list(argv[1:]))


def _read_words(values: absl_flags.FlagValues, words: Sequence[str]) -> list[str]:
  """Takes action and study from words without dashes; returns those left over."""
  words = list(words)
  actions = [word for word in words[:2] if word in flags.ACTIONS]
  if actions:
    if values['action'].present:
      raise errors.UserError(f'{actions[0]!r} and --action={values.action}: name one')
    values['action'].value = actions[0]
    words.remove(actions[0])
  if words and not values['config'].present:
    word = words.pop(0)
    guess, file = errors.did_you_mean(word, flags.ACTIONS), word.partition(':')[0]
    is_file = pathlib.Path(file).is_file() or '/' in file or '.' in file
    if word in flags.INFORMATION and not is_file:
      raise errors.UserError(f'unknown action {word!r} (did you mean --{word}?)')
    if guess and file not in files.shipped() and not is_file:
      raise errors.UserError(
        f'unknown action {word!r}{guess}; there are {", ".join(flags.ACTIONS)}'
      )
    values['config'].value = word
  return words


def split_overrides(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
  """Takes `--config.SECTION.OPTION=VALUE` out of the words; the last one counts.

  A value may follow as a word of its own; without any, as `--noconfig…`, it is a bool.
  """
  left, overrides = [], {}
  at = 0
  while at < len(words):
    flag, equals, text = words[at].partition('=')
    at += 1
    name = flag.lstrip('-')
    negative = name.startswith('noconfig.')
    path = name.removeprefix('no' if negative else '').removeprefix('config.')
    if not flag.startswith('-') or path == name:
      left.append(words[at - 1])
    elif equals or negative:
      overrides[path] = text if equals else 'false'
    elif at < len(words) and not words[at].startswith('-'):
      overrides[path] = words[at]
      at += 1
    else:
      overrides[path] = 'true'
  return left, overrides


def _unrecognized(name: str) -> str:
  sections = config_lib.DEFAULTS.items()
  paths = {key: f'config.{section}.{key}' for section, keys in sections for key in keys}
  if name in paths:
    return f'unknown flag --{name}; the option is --{paths[name]}'
  names = (*flags.NAMES, *flags.INFORMATION)
  return (
    f'unknown flag --{name}{errors.did_you_mean(name, names)}; there are '
    f'{", ".join("--" + flag for flag in names)} and --config.SECTION.OPTION'
  )


def _act(command: Command) -> int:
  """Does what the command says; the exit code."""
  values = command.flags
  if values.action == 'status':
    _show_status(command)
    return 0
  if values.action == 'judge':
    return _judge(command)
  if values.action == 'report' and not command.config:  # its folder says which study
    environment.prepare()
    return _report(command, None, pathlib.Path(values.workdir))
  from dlsteroids.plan import manifest

  request = files.read(command.config, command.overrides, command.rerun())
  tree = request.config
  environment.prepare()
  name = tree['study']['name']
  workdir = pathlib.Path(values.workdir or default_workdir(command.config, name))
  manifest.check(workdir, name)
  if values.action == 'work':
    return _work(command, request, workdir)
  if values.action == 'plan':
    _plan(command, request, workdir)
    return 0
  if values.action in flags.ONE_RUN:
    _one_run(command, request, _seed_of(values.seed, tree), workdir)
    return 0
  return _report(command, request, workdir)


def _report(
  command: Command, request: files.Request | None, workdir: pathlib.Path
) -> int:
  """The actions `run` and, with or without a request, `report`; the exit code."""
  from dlsteroids.cli import printout
  from dlsteroids.run import launch

  if request is None or command.flags.action == 'report':
    with lock.hold(workdir) if workdir.exists() else contextlib.nullcontext():
      answer = launch.export(workdir, _say(command))
  else:
    answer = _train(command, request, workdir)
  if not answer.follows:
    if command.flags.latex:
      _say(command)(f'latex: {printout.write_latex(answer)}')
    _print_answer(command, answer)
  return 1 if answer.failed else 0


def _say(command: Command) -> Callable[[str], None]:
  """Prints a line; with --json on stderr, since stdout is for programs."""
  return lambda line: print(line, file=sys.stderr if command.flags.json else sys.stdout)


def _print_json(tree: Mapping[str, Any]) -> None:
  text = json.dumps(tree, ensure_ascii=False, indent=1)
  print(text, file=_ANSWERS.get() or sys.stdout)


def _print_answer(command: Command, answer: Any) -> None:
  """Findings, or with --json the content of answer.json."""
  if command.flags.json:
    _print_json(answer.to_json())
  else:
    print(answer)


def _judge(command: Command) -> int:
  """The action `judge`: the verdicts on a table of runs."""
  from dlsteroids.external import judge

  values = command.flags
  if command.overrides:
    path = next(iter(command.overrides))
    raise errors.UserError(f'--config.{path} goes with a study, not with judge')
  names = (
    *('seed', 'metric', 'reference', 'flops', 'budget', 'status', 'better'),
    *('margin', 'fallback', 'alpha', 'looks', 'pairing'),
  )
  options: dict[str, Any] = {name: values[name].value for name in names}
  answer = judge.judge(
    command.config,
    values.workdir,
    arm=values.arm if values['arm'].present else '',
    command=command.again(),
    **{**options, 'seed': values.seed or ''},
  )
  _print_answer(command, answer)
  return 0


def _seed_of(text: str | None, tree: Mapping[str, Any]) -> int:
  """The seed of --seed, by default the study's first."""
  if text is None:
    return tree['study']['first_seed']
  try:
    return int(text)
  except ValueError as error:
    raise errors.UserError(f'--seed must be a whole number, not {text!r}') from error


def _show_status(command: Command) -> None:
  from dlsteroids.run import status

  workdir = command.flags.workdir
  config = None
  if command.config or not workdir:
    config = files.read_config(command.config, command.overrides)
    workdir = workdir or default_workdir(command.config, config['study']['name'])
  report = status.read(pathlib.Path(workdir), config)
  if command.flags.json:
    _print_json(report.to_json())
  else:
    print('\n'.join(report.lines()))


def _plan(command: Command, request: files.Request, workdir: pathlib.Path) -> None:
  from dlsteroids.cli import printout, progress
  from dlsteroids.run import launch, pilot, until

  values = command.flags
  bound = until.check(
    values.until or '', values.most, values.most_flops, values.most_hours
  )
  plan = launch.plan_of(request, workdir)
  if bound:
    plan = until.begin(plan, workdir, bound)
  lines = []
  if values['pilot'].present:
    wanted = pilot.Wanted(values.effect, values.power)
    with progress.Progress(plan.config['study']['metric']) as shown:
      lines = pilot.run(plan, workdir, values.pilot, wanted, shown.watch, shown.say)
  if values.json:
    tree = printout.describe(plan, workdir)
    _print_json({**tree, 'lines': [*tree['lines'], *lines]})
  else:
    print('\n'.join([*printout.lines(plan, workdir), *lines]))


def _train(command: Command, request: files.Request, workdir: pathlib.Path) -> Any:
  """The action `run`, in this process or by workers of an executor."""
  from dlsteroids.cli import progress
  from dlsteroids.cluster import child, dispatch, executors
  from dlsteroids.run import launch, until

  values = command.flags
  bound = until.check(
    values.until or '', values.most, values.most_flops, values.most_hours
  )
  with progress.Progress(request.config['study']['metric']) as shown:
    if values.executor == 'local' and not values.unit_minutes:
      return launch.train(request, workdir, shown.watch, shown.say, bound)
    # Workers need the accelerator's memory that JAX would reserve here.
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
    options: dict[str, Any] = {
      name: values[name].value for name in executors.Resources._fields
    }
    order = child.order(command.study_words(), workdir, values.unit_minutes)
    executor = executors.make(values.executor, executors.Resources(**options), order)
    return dispatch.train(request, workdir, executor, shown.follow, shown.say)


def _work(command: Command, request: files.Request, workdir: pathlib.Path) -> int:
  """The action `work`; 1 if runs failed."""
  from dlsteroids.cli import progress
  from dlsteroids.cluster import worker

  programs = command.flags.programs
  with progress.Progress(request.config['study']['metric']) as shown:
    return bool(worker.work(request, workdir, programs, shown.watch, shown.say))


def _one_run(
  command: Command, request: files.Request, seed: int, workdir: pathlib.Path
) -> None:
  """The actions `replay`, `sample` and `export`."""
  from dlsteroids.run import launch

  values = command.flags
  plan = launch.plan_of(request, workdir, only=values.arm)
  run = launch.one_run(plan, values.arm, seed)
  if values.action == 'replay':
    from dlsteroids.run import replay

    replay.replay(plan, run, print)
  elif values.action == 'export':
    from dlsteroids.run import export

    target = pathlib.Path(values.target).expanduser() if values.target else None
    export.export(plan, run, workdir, target, print)
  else:
    from dlsteroids.run import sample

    names = (*sample.TEXT, *sample.PICTURES)
    chosen: dict[str, Any] = {name: values[name].value for name in names}
    options = sample.Options(**chosen, seed=values.draw)
    explicit = [name for name in names if values[name].present]
    sample.sample(plan, run, workdir, options, print, explicit)


def default_workdir(config: str, name: str) -> str:
  """studies/NAME, or studies/NAME-MODE for a mode, which is another study.

  Raises:
    UserError: a name that is no folder below studies/.
  """
  parts = pathlib.PurePath(name).parts
  if not parts or '..' in parts or name.startswith('/') or max(map(len, parts)) > 120:
    raise errors.UserError(
      f'study.name {name[:40]!r} cannot name a folder in studies/ (one to 120 '
      'characters, without ..): change it, or set --workdir'
    )
  _, _, mode = config.partition(':')
  return f'studies/{name}-{mode}' if mode else f'studies/{name}'
