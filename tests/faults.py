"""Kills studies at random moments and holds what is left against undisturbed ones.

    python -m tests.faults --kills=50 --page=experiments/results/faults

A CNN, an LSTM and a GAN study take turns, each launched as a user does. A launch is
killed (SIGKILL) somewhere in one of its phases, the same command goes on, and so forth;
at the end tables, stored runs and files must be those of a study that was never killed.
Then the same with a disk that is really full, and read-only (needs the right to mount),
and signals that ask to stop. Some ten minutes on 2 idle cores.
"""

import argparse
import collections
import contextlib
import pathlib
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dlsteroids.results import store
from tests import studies_on_disk as disk

SETTINGS = """
  config.study.seeds = 4
  config.train.batch_size = 16
  config.train.eval_batch = 200
  config.engine.width = 1
  config.engine.checkpoint_seconds = 0.0
  config.engine.keep = 'last'
"""
FAMILIES: Mapping[str, Mapping[str, str]] = {
  'cnn': {
    'model': 'cnn',
    'settings': SETTINGS
    + """
  config.data.examples = 96
  config.model.widths = (4,)
  config.model.hidden = (8,)
  config.train.steps = 600
  config.train.evaluations = 12
""",
    'factors': "factors.factor('activation', 'model.activation', 'relu', 'tanh'),"
    "factors.factor('decay', 'optimizer.weight_decay', 0.0, 0.01),",
  },
  'lstm': {
    'model': 'recurrent',
    'data': 'adding',
    'task': 'forecast',
    'settings': SETTINGS
    + """
  config.study.metric = 'mse'
  config.data.length = 8
  config.data.train_size = 200
  config.model.hidden = 8
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.01
  config.train.steps = 600
  config.train.evaluations = 12
""",
    'factors': "factors.factor('cell', 'model.cell', config.model.cell, 'gru'),",
  },
  'gan': {
    'model': 'dense_gan',
    'task': 'gan',
    'settings': SETTINGS
    + """
  config.study.metric = 'classifier_fid'
  config.data.range = 'tanh'
  config.data.examples = 200
  config.model.latent = 8
  config.model.generator_hidden = (16,)
  config.model.discriminator_hidden = (16,)
  config.task.ema = 0.9
  config.optimizer.name = 'adam'
  config.optimizer.learning_rate = 0.002
  config.optimizer.beta1 = 0.5
  config.train.steps = 300
  config.train.evaluations = 10
""",
    'factors': "factors.factor('ema', 'task.ema', 0.9, 0.0),",
  },
}
PHASES = ('starting', 'training', 'checkpointing', 'writing results', 'reporting')
SPANS = {  # seconds from the sign of a phase to the kill, at most
  'training': 2.0,
  'checkpointing': 0.15,
  'writing results': 0.3,
  'reporting': 4.0,
}
TEMPORARY = '*.orbax-checkpoint-tmp*'
LIMIT = 300.0  # seconds of a launch


class Kill(NamedTuple):
  """One moment: which study, when, what was going on by the files that were left."""

  family: str
  seconds: float  # from the start of the process
  phase: str  # by `judge`
  left: str  # what lay about
  stored: int  # runs, before and after the next launch nothing less


class Left(NamedTuple):
  """What a workdir holds besides finished things."""

  saving: int  # checkpoints begun, or not yet sealed
  parts: int  # files begun
  finals: int  # final variables begun, or of batches that are not stored
  stored: int  # runs in the store
  reported: bool  # the report is newer than the last batch


def look(work: pathlib.Path) -> Left:
  """Reads a workdir whose process is dead.

  Raises:
    AssertionError: a damaged file, or a run stored twice.
  """
  folder = work / 'checkpoints'
  begun = [*folder.glob(f'*/{TEMPORARY}')]
  begun += [p for p in folder.glob('*/[0-9]*') if not (p / 'sha256.json').exists()]
  parts = [*work.glob('.*.part'), *work.glob('*/.*.part')]
  index = store.read(work)
  assert not index.damaged, index.damaged
  files = sorted((work / store.FOLDER).glob('*.npz'))
  count = sum(len(store.read_batch(path)[1]) for path in files)
  assert count == len(index.records), 'a run is stored twice'
  known = {record.batch['checkpoint'] for record in index.records.values()}
  finals = [path for path in folder.glob('*-final*') if path.name not in known]
  newest = max((path.stat().st_mtime for path in files), default=0.0)
  page = work / 'report.html'
  reported = page.exists() and page.stat().st_mtime > newest
  return Left(len(begun), len(parts), len(finals), len(index.records), reported)


def judge(left: Left, wanted: int, trained: bool) -> str:
  """The phase in which a process was killed, by what it left."""
  if left.stored == wanted:
    return 'reporting' if trained else 'starting'
  if left.finals or left.parts:
    return 'writing results'
  if left.saving:
    return 'checkpointing'
  return 'training' if trained else 'starting'


def sign(work: pathlib.Path, phase: str, born: float, least: int) -> bool:
  """Whether a phase shows in the files of a running launch that has stored so much."""
  if count_stored(work) < least:
    return False
  patterns = {
    'training': ['plan.json'],
    'checkpointing': [f'checkpoints/*/{TEMPORARY}'],
    'writing results': [f'checkpoints/*-final{TEMPORARY}', 'runs/.*.part'],
    'reporting': ['study.json'],
  }
  for pattern in patterns[phase]:
    for path in work.glob(pattern):
      with contextlib.suppress(FileNotFoundError):
        if path.stat().st_mtime > born:
          return True
  return False


def count_stored(work: pathlib.Path) -> int:
  """Batch files: cheaper to count than runs."""
  return len(list((work / store.FOLDER).glob('*.npz')))


def wait(process: subprocess.Popen, ready: object) -> bool:
  """Waits for `ready()`; False if the process ends before."""
  end = time.monotonic() + LIMIT
  while process.poll() is None and time.monotonic() < end:
    if ready():  # type: ignore[operator]
      return True
    time.sleep(0.001)
  return False


class Study:
  """A tiny study of one family: what it gives undisturbed, and how it is disturbed."""

  def __init__(self, family: str, folder: pathlib.Path):
    self.family = family
    self.config = disk.write(folder, **FAMILIES[family], name=f'{family}.py')
    self.calm = folder / f'{family}-calm'
    self.launch(self.calm)  # compiles
    self.runs = disk.trained(self.calm)
    self.batches = count_stored(self.calm)
    self.tables = disk.read(self.calm)

  def launch(self, work: pathlib.Path) -> str:
    """A launch to the end.

    Raises:
      AssertionError: it does not end well.
    """
    done = disk.launch(self.config, work)
    assert done.returncode == 0, done.stderr
    return done.stderr

  def kill(self, work: pathlib.Path, draw: random.Random, phase: str) -> Kill | None:
    """Launches, kills in a phase, and says what was left; None if it ended before."""
    before = look(work) if work.exists() else Left(0, 0, 0, 0, False)
    least = self.batches  # stored by then
    if phase != 'reporting':
      least = draw.randint(count_stored(work), self.batches - 1)
    born, begin = time.time(), time.monotonic()
    process = disk.start(self.config, work)
    if phase == 'starting':
      time.sleep(draw.uniform(0, 6))
    elif wait(process, lambda: sign(work, phase, born, least)):
      time.sleep(draw.uniform(0, SPANS[phase]))
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    spent = time.monotonic() - begin
    process.communicate()
    if not alive:
      assert process.returncode == 0
      return None
    left = look(work)
    assert left.stored >= before.stored, 'a finished run is lost'
    plan = work / 'plan.json'
    trained = plan.exists() and plan.stat().st_mtime > born
    found = judge(left, self.runs, trained)
    said = [f'{n} {what}' for what, n in left._asdict().items()
            if n and what in ('saving', 'parts', 'finals')]  # fmt: skip
    return Kill(self.family, spent, found, ', '.join(said), left.stored)

  def compare(self, work: pathlib.Path) -> None:
    """Finishes a study that was disturbed, and holds it against the calm one.

    Raises:
      AssertionError: a table differs, a run is lost or stored twice, or litter stays.
    """
    self.launch(work)
    assert disk.read(work) == self.tables
    left = look(work)
    assert left == Left(0, 0, 0, self.runs, True), left
    shapes = [sorted(shape(folder)) for folder in (work, self.calm)]
    assert shapes[0] == shapes[1], set(shapes[0]) ^ set(shapes[1])


def shape(work: pathlib.Path) -> Iterator[str]:
  """The names in a workdir, but for what is called by a digest of times and bytes."""
  for path in work.rglob('*'):
    name = str(path.relative_to(work))
    if name.startswith(('runs/', 'checkpoints/')):
      name = f'{name.partition("/")[0]}, {name.count("/")} deep'
      if 'deep' in name and not name.startswith('runs'):
        continue  # orbax names its files by their bytes
    yield name


ROUND = (1, 2, 2, 2, 2)  # kills in each of `PHASES` before a study is let finish


def kills(studies: Sequence[Study], count: int, folder: pathlib.Path) -> list[Kill]:
  """Kills studies in turn until `count` kills are done; reporting comes last."""
  draw = random.Random(0)
  found: list[Kill] = []
  number = 0
  while len(found) < count:
    study = studies[number % len(studies)]
    work = folder / f'{study.family}-{number}'
    phases = [phase for phase, times in zip(PHASES, ROUND) for _ in range(times)]
    early, late = phases[: -ROUND[-1]], phases[-ROUND[-1] :]
    draw.shuffle(early)
    for phase in [*early, *late][: count - len(found)]:
      done = count_stored(work) == study.batches
      kill = study.kill(work, draw, 'reporting' if done else phase)
      if kill is None:
        break
      found.append(kill)
      print(f'{len(found)}: {kill}', file=sys.stderr, flush=True)
    study.compare(work)
    number += 1
  return found


# A disk that is full, and one that is read-only


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, size: str) -> Iterator[bool]:
  """A file system of so many bytes in memory; whether it could be mounted."""
  folder.mkdir()
  command = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)]
  mounted = not subprocess.run(command, capture_output=True, check=False).returncode
  try:
    yield mounted
  finally:
    if mounted:
      subprocess.run(['umount', '--lazy', str(folder)], check=True)


def said(err: str) -> list[str]:
  """Lines that a launch said, but for those on its progress."""
  return [line for line in err.splitlines() if not re.match(r' *\d+ %', line)]


def remount(folder: pathlib.Path, option: str) -> None:
  subprocess.run(['mount', '-o', f'remount,{option}', str(folder)], check=True)


def disks(study: Study, folder: pathlib.Path) -> list[tuple[str, str]]:
  """What a study says on disks of many sizes, each grown until the study is done."""
  rows = []
  for size in (16, 200, 800, 1600, 2400):
    place = folder / f'disk-{size}'
    with small_disk(place, f'{size}k') as mounted:
      if not mounted:
        return [('a full disk', 'not tried: mounting is not allowed here')]
      work = place / 'work'
      done = disk.launch(study.config, work)
      lines = said(done.stderr)
      if done.returncode == 0 and rows:  # as little as this study needs
        rows.append((f'{size} kB', 'room enough'))
        continue
      assert done.returncode == 2, done.stderr
      assert len(lines) <= 2, done.stderr
      assert all('No space left on device' in line for line in lines), done.stderr
      rows.append((f'{size} kB', '; '.join(lines)))
      remount(place, 'size=200m')
      remount(place, 'ro')
      done = disk.launch(study.config, work)
      (line,) = said(done.stderr)
      assert done.returncode == 2
      assert 'Read-only file system' in line
      remount(place, 'rw')
      study.compare(work)
  rows.append(('read-only', line))
  return [(what, words.replace(str(folder), '…')) for what, words in rows]


def stops(study: Study, folder: pathlib.Path) -> list[tuple[str, float]]:
  """Seconds from a signal in mid-training to the end of the process, five each."""
  rows = []
  for number in (signal.SIGINT, signal.SIGTERM):
    work = folder / f'stop-{number.name}'
    for _ in range(5):
      born = time.time()
      process = disk.start(study.config, work)
      wait(process, lambda: sign(work, 'checkpointing', born, 0))  # noqa: B023
      begin = time.monotonic()
      process.send_signal(number)
      _, err = process.communicate(timeout=LIMIT)
      if process.returncode == 0:  # it was done before
        break
      rows.append((number.name, time.monotonic() - begin))
      assert process.returncode == 128 + number, err
      assert ' is saved; to continue: python -m experiments.launch' in err, err
    study.compare(work)
  return rows


# The page


def page(
  found: Sequence[Kill],
  disked: Sequence[tuple[str, str]],
  stopped: Sequence[tuple[str, float]],
  seconds: float,
) -> str:
  """The results page."""
  from dlsteroids.launch import machine

  provenance = machine.provenance()
  versions = ', '.join(f'{k} {provenance[k]}' for k in (*machine.LIBRARIES, 'python'))
  counts = collections.Counter(kill.phase for kill in found)
  lines = [
    '# Faults',
    '',
    f'{len(found)} kills (SIGKILL) at random moments, in studies of '
    f'{", ".join(dict.fromkeys(k.family for k in found))} whose checkpoints follow one '
    'another without a pause. After each the same command went on. In the end '
    '`runs.csv`, `curves.csv` and `effects.csv` were those of studies never killed, to '
    'the last digit (wall times apart); no run was lost or stored twice; nothing lay '
    'about.',
    '',
    f'- command: python -m tests.faults {" ".join(sys.argv[1:])}',
    f'- commit: {machine.git_commit() or "none"}',
    f'- hardware: {machine.processor()}, {machine.cores()} cores; '
    f'{platform.system()} {platform.release()}',
    f'- versions: {versions}',
    '- seeds: 4 a study; moments drawn with seed 0 (when a phase comes is up to the '
    'machine)',
    f'- took {seconds / 60:.0f} minutes',
    '',
    '| killed while | times |',
    '|---|---:|',
    *(f'| {phase} | {counts[phase]} |' for phase in PHASES),
    '',
    '## A full disk, and a read-only one',
    '',
    'The LSTM study on a disk of this size, then made read-only, then given room: the '
    'same command went on to the same tables.',
    '',
    '| disk | what was said |',
    '|---|---|',
    *(f'| {size} | {words} |' for size, words in disked),
    '',
    '## Asked to stop',
    '',
    'Seconds from the signal, in mid-training, until a checkpoint was saved and the '
    'process gone: '
    + '; '.join(
      f'{name} ' + ', '.join(f'{s:.1f}' for n, s in stopped if n == name)
      for name in dict.fromkeys(name for name, _ in stopped)
    )
    + '.',
    '',
    '## Every kill',
    '',
    'By what it left: checkpoints begun (saving), files begun (parts), final variables '
    'of batches not stored yet (finals).',
    '',
    '| | study | after | while | left | runs stored |',
    '|---:|---|---:|---|---|---:|',
    *(
      f'| {i} | {k.family} | {k.seconds:.1f} s | {k.phase} | {k.left} | {k.stored} |'
      for i, k in enumerate(found, 1)
    ),
  ]
  return '\n'.join(lines) + '\n'


def run(count: int, families: Sequence[str], folder: pathlib.Path) -> str:
  """All of it; the page's text.

  Raises:
    AssertionError: if anything is lost, differs, or is left.
  """
  begin = time.monotonic()
  studies = [Study(family, folder) for family in families]
  found = kills(studies, count, folder)
  second = studies[min(1, len(studies) - 1)]
  disked, stopped = disks(second, folder), stops(second, folder)
  return page(found, disked, stopped, time.monotonic() - begin)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--kills', type=int, default=50)
  parser.add_argument('--families', default=','.join(FAMILIES))
  parser.add_argument('--page', type=pathlib.Path, help='folder to write README.md to')
  asked = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    text = run(asked.kills, asked.families.split(','), pathlib.Path(folder))
  print(text)
  if asked.page:
    asked.page.mkdir(parents=True, exist_ok=True)
    (asked.page / 'README.md').write_text(text)


if __name__ == '__main__':
  main()
