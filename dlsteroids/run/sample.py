"""The action `sample`: text or pictures that a finished run generates."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.data.lib import text
from dlsteroids.plan import runs, study_plan
from dlsteroids.run import trained
from dlsteroids.store import results
from dlsteroids.util import errors

GAP = 2  # pixels between the pictures of a sheet
WHITE = 255


@dataclasses.dataclass(frozen=True)
class Options:
  """How to draw; the first four are for texts, the next three for pictures.

  Attributes:
    prompt: what the text continues; '' takes the beginning of the test split.
    length: symbols to draw.
    temperature: divides the logits; 0 always takes the likeliest symbol.
    top_k: draws from this many of the likeliest symbols; 0 from all.
    count: number of pictures.
    label: the class of all pictures of a conditional model; '' cycles through them.
    target: their folder; '' is one in the study's workdir.
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
  plan: study_plan.Plan,
  run: runs.Run,
  workdir: pathlib.Path,
  options: Options,
  say: Callable[[str], None],
  explicit: Iterable[str] = (),
) -> Any:
  """Prints and returns a text from a run's final variables, or a folder of pictures.

  Args:
    plan: the plan.
    run: whose variables.
    workdir: of the study.
    options: how to draw.
    say: prints the text, or where the pictures are.
    explicit: options that the user set: those of the other kind are a mistake.

  Raises:
    UserError: options out of range or of the other kind, symbols or classes that the
      data set lacks, a run that is not finished or whose checkpoint is gone, or a task
      that generates nothing.
  """
  _check(options)
  task = plan.members[run.program].task
  dataset = plan.dataset(run.config)
  name = run.config['task']['name']
  if task.sample is None:
    raise errors.UserError(
      f'--action=sample: task {name} on {dataset.name} generates nothing'
    )
  is_text = 'symbols' in dataset.facts
  kind, others = ('texts', PICTURES) if is_text else ('pictures', TEXT)
  for option in explicit:
    if option in others:
      raise errors.UserError(
        f'--{option} is not for {kind}, which task {name} generates'
      )
  index = results.read(workdir)
  record = trained.find(index, run.fingerprint, run.arm, run.seed, workdir)
  variables = trained.read_variables(record, workdir)
  hyper = {k: jnp.float32(v) for k, v in config_lib.hyper(run.config).items()}
  draw = functools.partial(
    task.sample, variables, keys=rng.Keys(rng.root(options.seed)), hyper=hyper
  )
  with jax.default_matmul_precision(run.config['train']['matmul']):
    if is_text:
      return _write_text(draw, dataset, run, options, say)
    return draw_pictures(draw, dataset, run, options, workdir, say)


def _check(options: Options) -> None:
  """Raises UserError for options out of range."""
  lowest = {'length': 1, 'temperature': 0, 'top_k': 0, 'count': 1, 'seed': 0}
  for name, low in lowest.items():
    value = getattr(options, name)
    if not low <= value < float('inf'):
      flag = 'draw' if name == 'seed' else name
      end = ' and finite' if name == 'temperature' else ''
      raise errors.UserError(f'--{flag} must be at least {low}{end}, not {value}')


def _write_text(
  draw: Callable[..., Any],
  dataset: types.Dataset,
  run: runs.Run,
  options: Options,
  say: Callable[[str], None],
) -> str:
  """Draws a text; prints it behind its prompt and returns it."""
  if options.prompt:
    prompt = text.encode(options.prompt, dataset.classes)
  else:
    prompt = _first_symbols(dataset, run.seed)
  chosen = {name: getattr(options, name) for name in ('length', 'temperature', 'top_k')}
  symbols = np.asarray(draw(prompt=jnp.asarray(prompt), options=chosen))
  drawn = text.decode(symbols, dataset.classes)
  say(f'{text.decode(prompt, dataset.classes)}|{drawn}')
  return drawn


def _first_symbols(dataset: types.Dataset, seed: int, count: int = 64) -> np.ndarray:
  """The first scored symbols of the test split, [count]."""
  raw = dataset.take(dataset.arrays, dataset.split(seed)['test'][:1], train=False)
  batch = dataset.transform(raw, rng.Keys(rng.root(seed)), train=False)
  target, weight = (np.asarray(batch[name][0]) for name in ('target', 'weight'))
  return target[weight > 0][:count]


def draw_pictures(
  draw: Callable[..., Any],
  dataset: types.Dataset,
  run: runs.Run,
  options: Options,
  workdir: pathlib.Path,
  say: Callable[[str], None],
) -> pathlib.Path:
  """Draws pictures into a folder: each as a PNG, and of each kind a sheet of all.

  Raises:
    UserError: an unknown class, an unconditional model, or a target that is a file.
  """
  name = f'{run.arm}-{run.seed}-{options.seed}'.replace('/', '_')
  target = pathlib.Path(options.target or workdir / 'samples' / name).expanduser()
  if target.exists() and not target.is_dir():
    raise errors.UserError(f'--target={target} is a file, not a folder')
  label = _label_index(dataset, run, options.label)
  indices = np.resize(dataset.split(run.seed)['test'], options.count)
  raw = dataset.take(dataset.arrays, indices, train=False)  # a translator's inputs
  batch = dataset.transform(raw, rng.Keys(rng.root(run.seed)), train=False)
  prompt = {name: jnp.asarray(array) for name, array in batch.items()}
  drawn = draw(prompt=prompt, options={'count': options.count, 'label': label})
  target.mkdir(parents=True, exist_ok=True)
  for kind, images in drawn.items():
    images = np.asarray(images)
    for index, image in enumerate(images):
      _save(image, target / f'{kind}-{index:04d}.png')
    _save(sheet(images), target / f'{kind}.png')
  kinds = ', '.join(f'{kind}.png' for kind in drawn)
  say(f'{options.count} pictures each, and {kinds} of all, in {target}')
  return target


def _label_index(dataset: types.Dataset, run: runs.Run, label: str) -> int:
  """The index of a class; -1 for ''.

  Raises:
    UserError: an unknown class, or a model that is not conditional.
  """
  if not label:
    return -1
  if not run.config['model'].get('conditional'):
    raise errors.UserError(
      f'--label={label}: the model is not conditional (config.model.conditional=False)'
    )
  if label not in dataset.classes:
    raise errors.UserError(
      f'--label={label}: no class of {dataset.name}; there are '
      f'{", ".join(dataset.classes)}'
    )
  return dataset.classes.index(label)


def sheet(images: np.ndarray) -> np.ndarray:
  """uint8 [N, H, W, C] as one nearly square picture [H', W', C], white between."""
  count, height, width, channels = images.shape
  columns = int(np.ceil(np.sqrt(count)))
  rows = -(-count // columns)
  size = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels)
  whole = np.full(size, WHITE, np.uint8)
  for index, image in enumerate(images):
    top = index // columns * (height + GAP)
    left = index % columns * (width + GAP)
    whole[top : top + height, left : left + width] = image
  return whole


def _save(image: np.ndarray, path: pathlib.Path) -> None:
  """uint8 [H, W, 1 or 3] as PNG."""
  shown = image[..., 0] if image.shape[-1] == 1 else image
  PIL.Image.fromarray(shown).save(path)
