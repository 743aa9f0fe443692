"""The functions of the public API that are more than a name of one room."""

import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dlsteroids.cli import printout, progress
from dlsteroids.report import answer
from dlsteroids.run import handed_data, launch, local
from dlsteroids.run import status as status_lib
from dlsteroids.run import until as until_lib
from dlsteroids.util import environment, lock


def run(
  config: Any,
  workdir: str | pathlib.Path,
  factors: Sequence[Any] | None = None,
  arms: Sequence[Any] = (),
  watch: local.Watch | None = None,
  say: Callable[[str], None] | None = None,
  until: str = '',
  most: int = 0,
  most_flops: float = 0.0,
  most_hours: float = 0.0,
  data: Any = None,
) -> answer.Answer:
  """Plans a study, trains what is missing, reports; repeated, it continues.

  Args:
    config: path of a config file or name of a shipped study, with ':MODE' if wanted; or
      a ConfigDict or dict.
    workdir: folder for everything the study writes.
    factors: needed unless `config` is a file, which has its own `get_factors`.
    arms: explicit arms for the design 'arms'.
    watch: called with the progress of the training; None shows a bar.
    say: prints a line for the user; None prints it above the bar.
    until: 'decided' adds seeds by the looks that `study.looks` declares, arm by arm,
      until verdicts are reached; '' trains `study.seeds`.
    most: seeds an arm may get at most; needed with `until`.
    most_flops, most_hours: nominal FLOPs and hours of training that the whole study may
      take, searches included; a look that would take more is left out, arm by arm.
    data: arrays to train on, for a config of data 'arrays': columns by name, a pandas
      frame, `(x, y)`, or these by split. They are stored in the workdir.

  Raises:
    UserError: for a mistake in any of it, in one line.
    KeyboardInterrupt: after Ctrl-C, once a checkpoint is saved; a second one ends the
      process. Signal handlers of the caller are left alone.

  Example:
    >>> import dlsteroids
    >>> config = dlsteroids.base(model='mlp', data='digits')
    >>> config.train.steps = 20
    >>> config.study.seeds = 6
    >>> config.model.hidden = (8,)
    >>> relu = dlsteroids.factor('activation', 'model.activation', 'relu', 'tanh')
    >>> answer = dlsteroids.run(config, workdir, [relu], say=print)
    >>> answer.per_seed().shape  # seeds, arms
    (6, 2)
    >>> 'verdict' in answer.effects
    True
  """
  bound = until_lib.check(until, most, most_flops, most_hours)
  with (
    _shown(config, watch, say) as (show, tell),
    handed_data.stored(config, data, pathlib.Path(workdir), tell) as complete,
  ):
    return launch.run(complete, workdir, factors, arms, show, tell, bound)


def plan(
  config: Any,
  workdir: str | pathlib.Path = 'studies/none',
  factors: Sequence[Any] | None = None,
  arms: Sequence[Any] = (),
  until: str = '',
  most: int = 0,
  most_flops: float = 0.0,
  most_hours: float = 0.0,
  data: Any = None,
) -> str:
  """What a study will train, how long that takes and what it can show; trains nothing.

  Args:
    config, factors, arms, data: as `run` takes them; data are not stored.
    workdir: of the study; runs that it holds are not planned again.
    until, most, most_flops, most_hours: as `run` takes them.

  Raises:
    UserError: for a mistake in any of it, in one line.

  Example:
    >>> import dlsteroids
    >>> text = dlsteroids.plan('digits_cnn:smoke', workdir)
    >>> text.partition(',')[0]
    'study digits_cnn_smoke: digits'
  """
  environment.prepare()
  folder = pathlib.Path(workdir).expanduser()
  bound = until_lib.check(until, most, most_flops, most_hours)
  with (
    tempfile.TemporaryDirectory() as place,
    handed_data.stored(config, data, pathlib.Path(place), lambda line: None) as full,
  ):
    plan = launch.plan_of(launch.request_of(full, factors, arms), folder)
    plan = until_lib.begin(plan, folder, bound) if bound else plan
    return '\n'.join(printout.lines(plan, folder))


def status(workdir: str | pathlib.Path) -> str:
  """The progress of a study, from its files alone, also while it runs elsewhere.

  Raises:
    UserError: if the workdir holds no study.

  Example:
    >>> import dlsteroids
    >>> 'runs done' in dlsteroids.status(workdir)
    True
  """
  return '\n'.join(status_lib.read(pathlib.Path(workdir).expanduser()).lines())


def report(
  workdir: str | pathlib.Path, say: Callable[[str], None] = print
) -> answer.Answer:
  """Tables, figures and report of a study from what is stored; trains nothing.

  Args:
    workdir: of the study.
    say: prints a line for the user.

  Raises:
    UserError: if no run of the study has finished.

  Example:
    >>> import dlsteroids
    >>> answer = dlsteroids.report(workdir)
    >>> answer.report.name
    'report.html'
  """
  folder = pathlib.Path(workdir).expanduser()
  with lock.hold(folder) if folder.exists() else contextlib.nullcontext():
    return launch.export(folder, say)


@contextlib.contextmanager
def _shown(
  config: Any, watch: local.Watch | None, say: Callable[[str], None] | None
) -> Iterator[tuple[local.Watch, Callable[[str], None]]]:
  """The caller's display, or a bar."""
  if watch is not None:
    yield watch, say or print
    return
  metric = getattr(getattr(config, 'study', None), 'metric', '')
  with progress.Progress(metric) as shown:
    yield shown.watch, say or shown.say
