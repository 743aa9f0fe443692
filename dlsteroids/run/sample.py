"""The action `sample`: what a finished run generates."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.data.lib import text
from dlsteroids.plan import runs, study_plan
from dlsteroids.run import pictures
from dlsteroids.store import results
from dlsteroids.train import checkpoint
from dlsteroids.util import errors


@dataclasses.dataclass(frozen=True)
class Options:
  """How to draw; the first four are for texts, the next three for pictures.

  Attributes:
    prompt: what the text continues; '' takes the beginning of the test split.
    length: symbols to draw.
    temperature: divides the logits; 0 always takes the likeliest symbol.
    top_k: keeps only so many of the likeliest symbols; 0 keeps all.
    count: of pictures.
    label: the class of all of them, for a model that is told classes; '' takes turns.
    target: the folder they go to; '' is one in the study's.
    seed: of the draw; equal seeds give equal texts and pictures.
  """

  prompt: str = ''
  length: int = 500
  temperature: float = 0.8
  top_k: int = 0
  count: int = 64
  label: str = ''
  target: str = ''
  seed: int = 0


TEXT = ('prompt', 'length', 'temperature', 'top_k')
PICTURES = ('count', 'label', 'target')


def sample(
  made: study_plan.Plan,
  run: runs.Run,
  workdir: pathlib.Path,
  options: Options,
  say: Callable[[str], None],
  asked: Iterable[str] = (),
) -> Any:
  """Lets a run's final variables generate; says and returns a text, or its folder.

  Args:
    made: the plan.
    run: whose variables.
    workdir: of the study.
    options: how to draw.
    say: told the text, or where the pictures are.
    asked: options that the user named: those of the other kind are a mistake.

  Raises:
    UserError: options out of range or of the other kind, symbols or classes the model
      does not know, a run that is not finished or whose checkpoint is gone, or a task
      that generates nothing.
  """
  check(options)
  task = made.members[run.program].task
  dataset = made.dataset(run.config)
  if task.sample is None:
    raise errors.UserError(
      f'--action=sample: task {run.config["task"]["name"]} on {dataset.name} generates '
      'nothing'
    )
  writes = 'symbols' in dataset.facts
  kind, others = ('texts', PICTURES) if writes else ('pictures', TEXT)
  for name in asked:
    if name in others:
      raise errors.UserError(
        f'--{name} is not for {kind}, which task {run.config["task"]["name"]} generates'
      )
  variables = load(run, workdir)
  hyper = {k: jnp.float32(v) for k, v in config_lib.hyper(run.config).items()}
  draw = functools.partial(
    task.sample, variables, keys=rng.Keys(rng.root(options.seed)), hyper=hyper
  )
  if writes:
    return write(draw, dataset, run, options, say)
  name = f'{run.arm}-{run.seed}-{options.seed}'.replace('/', '_')
  target = pathlib.Path(options.target or workdir / 'samples' / name)
  return pictures.paint(draw, dataset, run, options, target, say)


def write(
  draw: Callable[..., Any],
  dataset: types.Dataset,
  run: runs.Run,
  options: Options,
  say: Callable[[str], None],
) -> str:
  """Draws a text, says and returns it."""
  if options.prompt:
    prompt = text.encode(options.prompt, dataset.classes)
  else:
    prompt = first_symbols(dataset, run.seed)
  chosen = {name: getattr(options, name) for name in ('length', 'temperature', 'top_k')}
  drawn = draw(prompt=jnp.asarray(prompt), options=chosen)
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
    raise errors.UserError(f'--length must be at least 1, not {options.length}')
  if not 0 <= options.temperature < float('inf'):
    raise errors.UserError(
      f'--temperature must be at least 0 and finite, not {options.temperature}'
    )
  if options.top_k < 0:
    raise errors.UserError(f'--top_k must be at least 0, not {options.top_k}')
  if options.count < 1:
    raise errors.UserError(f'--count must be at least 1, not {options.count}')
  if options.seed < 0:
    raise errors.UserError(f'--draw must be at least 0, not {options.seed}')


def load(run: runs.Run, workdir: pathlib.Path) -> Any:
  """The final variables by player of a finished run.

  Raises:
    UserError: if it is not stored, diverged, or kept no checkpoint.
  """
  index = results.read(workdir)
  record = index.records.get(run.fingerprint)
  if record is None:
    raise errors.UserError(
      f'arm {run.arm} with seed {run.seed} is not finished in {workdir}: run the study '
      'first (--action=run), or name another --arm and --seed'
    )
  if record.run['status'] != 'ok':
    raise errors.UserError(f'arm {run.arm} with seed {run.seed} diverged')
  name = record.batch.get('checkpoint')
  if not name:
    raise errors.UserError(
      "the study kept no variables (engine.keep='none'): nothing to sample from"
    )
  at = record.batch['positions'][record.batch['members'].index(run.fingerprint)]
  found = checkpoint.load(workdir / 'checkpoints' / name, at)
  return jax.tree.map(jnp.asarray, found)
