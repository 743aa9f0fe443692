"""A tiny study in a folder of its own, and launches of it in subprocesses."""

import collections
import os
import pathlib
import subprocess
import sys

import pandas as pd

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLES = ('runs.csv', 'curves.csv', 'effects.csv')

CONFIG = '''
"""A tiny study for tests."""
from dlsteroids import config as config_lib
from dlsteroids.study import factors


def get_config(mode=''):
  config = config_lib.base(model='{model}', data='{data}', task='{task}')
  config.study.name = 'tiny'
  config.study.seeds = 2
  config.train.steps = 12
  config.train.batch_size = 16
  config.train.evaluations = 3
  config.train.eval_batch = 400
  config.engine.keep = 'none'
{settings}
  return config


def get_factors(config):
  return ({factors})
'''
FACTORS = "factors.factor('dropout', 'model.dropout', 0.2, 0.0),"
SETTINGS = """
  config.data.examples = 96
  config.model.hidden = (8,)
  config.model.dropout = 0.2
"""


def write(
  folder: pathlib.Path,
  model: str = 'mlp',
  data: str = 'digits',
  task: str = 'classify',
  settings: str = SETTINGS,
  factors: str = FACTORS,
  name: str = 'tiny.py',
) -> pathlib.Path:
  """The config file of a tiny study."""
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / name
  path.write_text(
    CONFIG.format(model=model, data=data, task=task, settings=settings, factors=factors)
  )
  return path


def start(
  config: pathlib.Path, workdir: pathlib.Path, *words: str, cwd: pathlib.Path = ROOT
) -> subprocess.Popen:
  """Launches a study as a user does, in a process group of its own."""
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  return subprocess.Popen(
    [
      sys.executable, '-m', 'experiments.launch', f'--config={config}',
      f'--workdir={workdir}', *words,
    ],
    cwd=cwd,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )  # fmt: skip


def launch(
  config: pathlib.Path, workdir: pathlib.Path, *words: str, cwd: pathlib.Path = ROOT
) -> subprocess.CompletedProcess:
  """Launches a study and waits for its end."""
  process = start(config, workdir, *words, cwd=cwd)
  out, err = process.communicate(timeout=300)
  return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def read(workdir: pathlib.Path) -> dict[str, str]:
  """The study's tables as text, without wall times."""
  found = {}
  for name in TABLES:
    frame = pd.read_csv(workdir / name, dtype=str, keep_default_na=False)
    found[name] = frame.drop(columns=['wall_s', 'stall_s'], errors='ignore').to_csv(
      index=False
    )
  return found


def trained(workdir: pathlib.Path) -> int:
  """How many runs the store's batches hold."""
  from dlsteroids.results import store

  return len(store.read(workdir).records)


def counts(workdir: pathlib.Path) -> set[int]:
  """How often each run is stored."""
  from dlsteroids.results import store

  found = collections.Counter(
    name
    for path in (workdir / 'runs').glob('*.npz')
    for name in store.read_batch(path)[0]['members']
  )
  return set(found.values())
