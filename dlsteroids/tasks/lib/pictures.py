"""What a trained generator draws: samples, a film of its training, ways between two."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dlsteroids import types
from dlsteroids.tasks.lib import adversarial as game_lib

SHOWN, FILMED, STEPS = 64, 8, 8  # images of a grid, of a film, between two images


def average(
  variables: Mapping[str, types.Variables], keys: Any, hyper: types.Hyper
) -> Mapping[str, types.Variables]:
  """Moves G's averages; early they follow faster, by min(ema, (1 + t) / (10 + t))."""
  own, step = variables['generator'], jnp.asarray(keys.step, jnp.float32)
  keep = jnp.minimum(hyper['task.ema'], (1 + step) / (10 + step))
  now = {name: own[name] for name in own['ema']}
  moved = jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, own['ema'], now)
  return {**variables, 'generator': {**own, 'ema': moved}}


def averaged(variables: Mapping[str, types.Variables]) -> types.Variables:
  """G as it counts: with its averaged parameters."""
  own = dict(variables['generator'])
  return {**own, **own.pop('ema')}


def as_bytes(images: Any) -> Any:
  """[-1, 1] as uint8 0..255; what is not finite is black."""
  levels = jnp.round((jnp.nan_to_num(images, nan=-1.0) + 1) * 127.5)
  return jnp.clip(levels, 0, 255).astype(jnp.uint8)


def make_sample(game: game_lib.Game) -> Callable[..., Any]:
  """`count` images as 'image', uint8 [count, H, W, C]; classes in turn, or of one."""

  def sample(variables, prompt, keys, hyper, options):
    del prompt
    count, asked = options['count'], options['label']
    label = game.cycle(count)
    if asked >= 0:
      label = jnp.full(count, asked)
    z = game.noise(count, keys)
    own = averaged(variables)
    images, _ = game.generate(own, z, label, keys, hyper, train=False)
    return {'image': as_bytes(images)}

  return sample


def make_film(game: game_lib.Game) -> Callable[..., Any]:
  """The first images of the grid, as they are now."""

  def film(variables, keys, hyper):
    z, label = game.noise(SHOWN, keys)[:FILMED], game.cycle(FILMED)
    own = averaged(variables)
    return as_bytes(game.generate(own, z, label, keys, hyper, train=False)[0])

  return film


def make_show(game: game_lib.Game) -> Callable[..., Any]:
  """A grid of images, the same noise in every arm; and ways from one to another."""

  def show(variables, batch, keys, hyper):
    del batch
    own = averaged(variables)

    def draw(z, label):
      return as_bytes(game.generate(own, z, label, keys, hyper, train=False)[0])

    z, label = game.noise(SHOWN, keys), game.cycle(SHOWN)
    # On a quarter circle z keeps its variance: a straight way's middle is too short.
    angles = jnp.linspace(0, jnp.pi / 2, STEPS)[None, :, None]
    way = jnp.cos(angles) * z[:4, None] + jnp.sin(angles) * z[4:8, None]  # [4, 8, Z]
    ends = None if label is None else jnp.repeat(label[:4], STEPS)
    return {
      'sample/images': draw(z, label),
      'sample/interpolation': draw(way.reshape(-1, game.latent), ends),
    }

  return show
