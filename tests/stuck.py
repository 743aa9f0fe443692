"""A model that dawdles, hangs or dies inside compiled code if asked to."""

import os
import signal
import time

import jax
from flax import linen as nn

DEFAULTS = {'units': 8, 'way': 'well'}  # well, dawdles, hangs, dies


class Net(nn.Module):
  outputs: int
  units: int
  way: str

  @nn.compact
  def __call__(self, x, *, train, hyper):
    x = nn.relu(nn.Dense(self.units, name='hidden')(x.reshape(x.shape[0], -1)))
    if train and self.way != 'well':
      zero = jax.ShapeDtypeStruct((), x.dtype)
      args = (0 * jax.lax.stop_gradient(x).sum(),)
      x += jax.pure_callback(WAYS[self.way], zero, *args, vmap_method='sequential')
    return nn.Dense(self.outputs, name='output')(x)


def dawdle(x):
  time.sleep(0.02)
  return x


def hang(x):
  time.sleep(3600)
  return x


def die(x):
  os.kill(os.getpid(), signal.SIGKILL)
  return x


WAYS = {'dawdles': dawdle, 'hangs': hang, 'dies': die}


def build(config):
  return Net(config['outputs'], config['units'], config['way'])
