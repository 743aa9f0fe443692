"""AlexNet against the paper: parameters, maps, initial values, the least image.

Krizhevsky, Sutskever and Hinton 2012; the totals are those commonly published, and the
closed form of the paper's table of layers.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids.train import cost
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases

# Krizhevsky et al. 2012: kernels as in §3.5 and figure 2; counts are their products.
ALEXNET = {
  ('conv1', 'kernel'): 11 * 11 * 3 * 96,
  ('conv1', 'bias'): 96,
  ('conv2', 'kernel'): 5 * 5 * 48 * 256,
  ('conv2', 'bias'): 256,
  ('conv3', 'kernel'): 3 * 3 * 256 * 384,
  ('conv3', 'bias'): 384,
  ('conv4', 'kernel'): 3 * 3 * 192 * 384,
  ('conv4', 'bias'): 384,
  ('conv5', 'kernel'): 3 * 3 * 192 * 256,
  ('conv5', 'bias'): 256,
  ('dense0', 'kernel'): 6 * 6 * 256 * 4096,
  ('dense0', 'bias'): 4096,
  ('dense1', 'kernel'): 4096 * 4096,
  ('dense1', 'bias'): 4096,
  ('output', 'kernel'): 4096 * 1000,
  ('output', 'bias'): 1000,
}
FULL = {'width': 1.0, 'stem_kernel': 11, 'stem_stride': 4}
SIDE = (227, 227, 3)


def full_alexnet(**options):
  return cases.build('alexnet', SIDE, 1000, **FULL, **options)


def test_alexnet_has_the_papers_parameters():
  found = cases.sizes(full_alexnet(), 'alexnet', SIDE)
  assert found == ALEXNET
  assert sum(found.values()) == 60_965_224
  found = cases.sizes(full_alexnet(groups=1), 'alexnet', SIDE)
  assert sum(found.values()) == 62_378_344


def test_alexnets_maps_are_the_papers():
  """Figure 2: 55, 27, 13, 13, 13; the 224 printed there must be 227 for 55."""
  module = full_alexnet()

  def layers(x):
    hyper = cases.hyper('alexnet')
    variables = module.init(jax.random.key(0), x, train=False, hyper=hyper)
    out, state = module.apply(
      variables, x, train=False, hyper=hyper, mutable=['intermediates']
    )
    return out, {name: value[0] for name, value in state['intermediates'].items()}

  out, found = jax.eval_shape(layers, jax.ShapeDtypeStruct((2, *SIDE), jnp.float32))
  assert {name: value.shape for name, value in found.items()} == {
    'conv1_out': (2, 55, 55, 96),
    'conv2_out': (2, 27, 27, 256),
    'conv3_out': (2, 13, 13, 384),
    'conv4_out': (2, 13, 13, 384),
    'conv5_out': (2, 13, 13, 256),
  }
  assert (out.shape, out.dtype) == ((2, 1000), jnp.float32)


def test_alexnet_starts_as_the_paper():
  """§5: weights of sd .01; biases 1 in conv 2, 4, 5 and the hidden dense layers."""
  variables = cases.init(cases.build('alexnet', init='normal', width=0.1), 'alexnet')
  ones = {
    path[1] for path, v in variables.items() if path[2] == 'bias' and (v == 1).all()
  }
  zero = {
    path[1] for path, v in variables.items() if path[2] == 'bias' and (v == 0).all()
  }
  assert ones == {'conv2', 'conv4', 'conv5', 'dense0', 'dense1'}
  assert zero == {'conv1', 'conv3', 'output'}
  kernel = variables['params', 'dense0', 'kernel']
  assert abs(float(kernel.std()) / 0.01 - 1) < 5 / np.sqrt(2 * kernel.size)


@pytest.mark.parametrize(
  ('options', 'least'),
  # By hand: 67 -11/4-> 15 -3/2-> 7 -3/2-> 3 -3/2-> 1; 39: 8, 4, 2, 1 with windows of 2.
  [
    ({'stem_kernel': 11, 'stem_stride': 4}, 67),
    ({'stem_kernel': 11, 'stem_stride': 4, 'pool_window': 2}, 39),
    ({'stem_kernel': 3, 'stem_stride': 1}, 17),
  ],
)
def test_alexnet_refuses_images_that_are_too_small(options, least):
  few = (least + 9, least - 1, 3)
  with pytest.raises(errors.UserError, match=f'at least {least} pixels') as caught:
    cases.build('alexnet', few, **options)
  assert f'these have {least - 1}' in str(caught.value)
  shape = (least, least, 3)
  found = cases.sizes(cases.build('alexnet', shape, **options), 'alexnet', shape)
  assert found['dense0', 'kernel'] == 8 * 122  # one position of conv5's channels


def test_alexnet_counts_as_the_closed_form():
  """Forward, one image of 227: products a position times positions, layer by layer."""
  positions = [55**2, 27**2, 13**2, 13**2, 13**2]
  products = [96 * 363, 256 * 1200, 384 * 2304, 384 * 1728, 256 * 1728]
  dense = 9216 * 4096 + 4096**2 + 4096 * 1000
  expected = 2 * (sum(p * n for p, n in zip(positions, products)) + dense)
  net, x = full_alexnet(), jax.ShapeDtypeStruct((1, 227, 227, 3), jnp.float32)
  hyper = {'model.dropout': 0.0, 'model.slope': 0.01}
  run = functools.partial(net.apply, train=False, hyper=hyper)
  variables = jax.eval_shape(
    lambda x: net.init(jax.random.key(0), x, train=False, hyper=hyper), x
  )
  assert cost.nominal(run, variables, x).flops == expected
