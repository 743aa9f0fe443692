"""The action `sample`: what a finished run generates."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.data import text
from dlsteroids.launch import prepare
from dlsteroids.results import store
from dlsteroids.study import plan
from dlsteroids.train import checkpoint


class Options(NamedTuple):
  """How to draw.

  Attributes:
    prompt: what the text continues; '' takes the beginning of the test split.
    length: symbols to draw.
    temperature: divides the logits; 0 always takes the likeliest symbol.
    top_k: keeps only so many of the likeliest symbols; 0 keeps all.
    seed: of the draw; equal seeds give equal texts.
  """

  prompt: str = ''
  length: int = 500
  temperature: float = 0.8
  top_k: int = 0
  seed: int = 0


def sample(
  made: prepare.Plan,
  run: plan.Run,
  workdir: pathlib.Path,
  options: Options,
  say: Callable[[str], None],
) -> str:
  """Draws a text from a run's final variables, says and returns it.

  Raises:
    UserError: options out of range, symbols the model does not know, a run that is not
      finished or whose checkpoint is gone, or a task that generates nothing.
  """
  check(options)
  task = made.members[run.program].task
  dataset = made.dataset(run.config)
  if task.sample is None:
    raise config_lib.UserError(
      f'--action=sample: task {run.config["task"]["name"]} on {dataset.name} generates '
      'nothing'
    )
  if options.prompt:
    prompt = text.encode(options.prompt, dataset.classes)
  else:
    prompt = first_symbols(dataset, run.seed)
  variables = load(run, workdir)
  hyper = {k: jnp.float32(v) for k, v in config_lib.hyper(run.config).items()}
  keys = rng.Keys(rng.root(options.seed))
  drawn = task.sample(
    variables,
    jnp.asarray(prompt),
    keys,
    hyper,
    {
      'length': options.length,
      'temperature': options.temperature,
      'top_k': options.top_k,
    },
  )
  found = text.decode(np.asarray(drawn), dataset.classes)
  say(f'{text.decode(prompt, dataset.classes)}|{found}')
  return found


def first_symbols(dataset: types.Dataset, seed: int, count: int = 64) -> np.ndarray:
  """The first scored symbols of the test split."""
  raw = dataset.take(dataset.arrays, dataset.split(seed)['test'][:1], train=False)
  batch = dataset.transform(raw, rng.Keys(rng.root(seed)), train=False)
  target, weight = (np.asarray(batch[name][0]) for name in ('target', 'weight'))
  return target[weight > 0][:count]


def check(options: Options) -> None:
  """Raises UserError for options out of range."""
  if options.length < 1:
    raise config_lib.UserError(f'--length must be at least 1, not {options.length}')
  if not 0 <= options.temperature < float('inf'):
    raise config_lib.UserError(
      f'--temperature must be at least 0 and finite, not {options.temperature}'
    )
  if options.top_k < 0:
    raise config_lib.UserError(f'--top_k must be at least 0, not {options.top_k}')
  if options.seed < 0:
    raise config_lib.UserError(f'--draw must be at least 0, not {options.seed}')


def load(run: plan.Run, workdir: pathlib.Path) -> Any:
  """The final variables by player of a finished run.

  Raises:
    UserError: if it is not stored, diverged, or kept no checkpoint.
  """
  index = store.read(workdir)
  record = index.records.get(run.fingerprint)
  if record is None:
    raise config_lib.UserError(
      f'arm {run.arm} with seed {run.seed} is not finished in {workdir}: run the study '
      'first (--action=run), or name another --arm and --seed'
    )
  if record.run['status'] != 'ok':
    raise config_lib.UserError(f'arm {run.arm} with seed {run.seed} diverged')
  name = record.batch.get('checkpoint')
  if not name:
    raise config_lib.UserError(
      "the study kept no variables (engine.keep='none'): nothing to sample from"
    )
  at = record.batch['positions'][record.batch['members'].index(run.fingerprint)]
  found = checkpoint.load(workdir / 'checkpoints' / name, at)
  return jax.tree.map(jnp.asarray, found)
