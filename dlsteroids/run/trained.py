"""Trained runs read back: `dlsteroids.load`, and what sampling and exporting share."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.plan import manifest, tuning
from dlsteroids.store import results
from dlsteroids.train import checkpoint
from dlsteroids.util import errors


@dataclasses.dataclass(frozen=True)
class Trained:
  """One trained run.

  Attributes:
    arm, seed: which run.
    config: resolved, with the tuned numbers if the study tuned.
    players: module and final variables {'params': …, …} of each player, by name;
      supervised tasks have one, 'model'.
    task: how the run was trained: losses, outputs, metrics.
    dataset: what it was trained on; its `transform` is the preprocessing.
    scores: final metrics by column, such as 'final/test/accuracy'.

  Example:
    >>> [field.name for field in dataclasses.fields(Trained)][:2]
    ['arm', 'seed']
  """

  arm: str
  seed: int
  config: Mapping[str, Any]
  players: Mapping[str, tuple[Any, types.Variables]]
  task: types.Task
  dataset: types.Dataset
  scores: Mapping[str, float]

  @property
  def module(self) -> Any:
    """The module of the first player; of nnx, Equinox and pairs their `Functional`."""
    return next(iter(self.players.values()))[0]

  @property
  def variables(self) -> types.Variables:
    """The final variables of the first player: `module.apply(variables, …)`."""
    return next(iter(self.players.values()))[1]

  @property
  def hyper(self) -> dict[str, jax.Array]:
    """The traced numbers that the module takes as `hyper`, by config path."""
    return {k: jnp.float32(v) for k, v in config_lib.hyper(self.config).items()}

  def preprocess(self, inputs: Any) -> dict[str, jax.Array]:
    """Raw examples as the model sees them in evaluation.

    Args:
      inputs: arrays by name as the data set stores them, or the first of them alone:
        images uint8 [B, H, W, C]. What is missing, such as labels, is filled with
        zeros.

    Raises:
      UserError: an unknown name, or examples of another shape.
    """
    split = self.dataset.split(self.seed)
    example = self.dataset.take(self.dataset.arrays, split['test'][:1], train=False)
    if not isinstance(inputs, Mapping):
      inputs = {next(iter(example)): inputs}
    for name, array in inputs.items():
      if name not in example:
        raise errors.UserError(
          f'unknown input {name!r}{errors.did_you_mean(name, example)}; data set '
          f'{self.dataset.name} has {", ".join(example)}'
        )
      if np.shape(array)[1:] != np.shape(example[name])[1:]:
        wanted = ', '.join(map(str, np.shape(example[name])[1:]))
        raise errors.UserError(
          f'input {name!r} must have shape [B, {wanted}], not {list(np.shape(array))}'
        )
    count = len(next(iter(inputs.values())))
    raw = {
      name: jnp.asarray(inputs[name], np.asarray(array).dtype)
      if name in inputs
      else jnp.zeros((count, *np.shape(array)[1:]), np.asarray(array).dtype)
      for name, array in example.items()
    }
    return dict(self.dataset.transform(raw, rng.Keys(rng.root(self.seed)), train=False))

  def apply(self, inputs: Any) -> Any:
    """The output for raw examples, such as the logits [B, K] of a classifier.

    By name where the task has several outputs.

    Args:
      inputs: as `preprocess` takes them.
    """
    batch = self.preprocess(inputs)
    count = len(next(iter(batch.values())))
    keys = rng.Keys(rng.root(self.seed))
    with jax.default_matmul_precision(self.config['train']['matmul']):
      outputs = self.task.outputs(
        {name: variables for name, (_, variables) in self.players.items()},
        {**batch, 'mask': jnp.ones(count)},
        keys,
        self.hyper,
      )
    outputs = {k: x for k, x in outputs.items() if k not in ('mask', 'label')}
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def load(
  workdir: str | pathlib.Path, arm: str = 'baseline', seed: int | None = None
) -> Trained:
  """A trained run: its modules, variables, preprocessing and config.

  Args:
    workdir: of the study.
    arm: its name, as in runs.csv.
    seed: of the run; None takes the study's first.

  Raises:
    UserError: if there is no such run, or it is not finished, diverged, or kept no
      variables.

  Example:
    >>> import dlsteroids
    >>> trained = dlsteroids.load(workdir, arm='activation=tanh')
    >>> images = trained.dataset.arrays['image'][:5]  # uint8 [5, 8, 8, 1]
    >>> trained.apply(images).shape
    (5, 10)
    >>> x = trained.preprocess(images)['image']  # to fine-tune on, float32
    >>> logits = trained.module.apply(
    ...   trained.variables, x, train=False, hyper=trained.hyper
    ... )
    >>> logits.shape
    (5, 10)
  """
  workdir = pathlib.Path(workdir).expanduser()
  index = results.read(workdir)
  study = manifest.read_study(workdir)
  if study is None:
    raise errors.UserError(f'{workdir} holds no study')
  study = tuning.with_choices(study, index)
  arms = [each.name for each in study.arms]
  if arm not in arms:
    raise errors.UserError(
      f'no arm {arm!r}{errors.did_you_mean(arm, arms)}; there are {", ".join(arms)}'
    )
  seed = study.seeds[0] if seed is None else seed
  names = [
    run.fingerprint
    for run in study.runs
    if (run.arm, run.seed) == (arm, seed) and study.is_declared(run)
    if run.tuned == study.tuned
  ]
  if not names:
    raise errors.UserError(
      f'no run of arm {arm} with seed {seed}; the seeds are '
      f'{", ".join(map(str, study.seeds))}'
    )
  record = find(index, names[0], arm, seed, workdir)
  variables = read_variables(record, workdir)
  config = config_of(record)
  dataset = config_lib.find('data', config['data']['name']).load(config['data'])
  task = config_lib.find('tasks', config['task']['name']).build(config, dataset)
  players = {
    name: (player.module, variables[name]) for name, player in task.players.items()
  }
  scores = dict(record.run['values'])
  return Trained(arm, seed, config, players, task, dataset, scores)


def config_of(record: results.Record) -> dict[str, Any]:
  """The resolved config that a stored run was trained with."""
  # How it was executed does not matter, and options of `engine` may be gone since.
  stored = {k: v for k, v in record.batch['config'].items() if k != 'engine'}
  config = config_lib.resolve(stored)
  at = record.batch['members'].index(record.run['fingerprint'])
  numbers = {
    path: type(config_lib.get(config, path))(value)
    for path, value in record.batch['numbers'][at].items()
  }
  return config_lib.override(config, numbers.items())


def find(
  index: results.Index, fingerprint: str, arm: str, seed: int, workdir: pathlib.Path
) -> results.Record:
  """The record of a run that ended well.

  Raises:
    UserError: if it is not stored, or diverged.
  """
  record = index.records.get(fingerprint)
  if record is None:
    raise errors.UserError(
      f'arm {arm} with seed {seed} is not finished in {workdir}: run the study first '
      '(--action=run), or name another --arm and --seed'
    )
  if record.run['status'] != 'ok':
    raise errors.UserError(f'arm {arm} with seed {seed} diverged')
  return record


def read_variables(record: results.Record, workdir: pathlib.Path) -> Any:
  """The final variables of a stored run, by player.

  Raises:
    UserError: if the study kept none, or its checkpoint is gone.
  """
  name = record.batch.get('checkpoint')
  if not name:
    raise errors.UserError(
      "the study kept no variables (engine.keep='none'), so there is no model to load"
    )
  at = record.batch['positions'][
    record.batch['members'].index(record.run['fingerprint'])
  ]
  variables = checkpoint.load(workdir / 'checkpoints' / name, at)
  return jax.tree.map(jnp.asarray, variables)
