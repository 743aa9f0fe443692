"""cuDNN's LSTM as far as a machine without a GPU can tell: its weights, its refusals.

Oracle: `jax.experimental.rnn`'s own unpacking and reference implementation.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

from dlsteroids.config import options as options_lib
from dlsteroids.models import recurrent
from dlsteroids.models.lib import cells, cudnn, recurrent_layer
from dlsteroids.models.ops import convolution
from dlsteroids.train import step
from dlsteroids.util import errors

STEPS, BATCH, FEATURES, UNITS = 5, 3, 4, 6
OPTIONS = {**options_lib.defaults(recurrent), 'outputs': 2, 'kernel': 'cudnn'}


def test_packed_weights_are_the_layer_s_own():
  x = jax.random.normal(jax.random.key(0), (STEPS, BATCH, FEATURES))
  module = recurrent_layer.Layer(
    cell=cells.make(options_lib.defaults(recurrent)), units=UNITS
  )
  call = {'carry': None, 'rate': None, 'train': False}
  variables = module.init(jax.random.key(1), recurrent_layer.Sequence(x), **call)
  bias = jax.random.normal(jax.random.key(2), (UNITS,))
  params = {**variables['params'], 'input_bias': bias}
  outputs, (y, c) = module.apply(
    {'params': params}, recurrent_layer.Sequence(x), **call
  )
  packed = cudnn.pack(
    {
      name: (
        params[f'{name}_input']['kernel'],
        params[f'{name}_recurrent']['kernel'],
        params[f'{name}_bias'],
      )
      for name in cudnn.ORDER
    }
  )
  assert len(packed) == rnn.get_num_params_in_lstm(FEATURES, UNITS, 1, False)
  weights = rnn.unpack_lstm_weights(packed, FEATURES, UNITS, 1, False)
  zeros, lengths = jnp.zeros((1, BATCH, UNITS)), jnp.full(BATCH, STEPS, jnp.int32)
  found = rnn.lstm_ref(
    x.swapaxes(0, 1), zeros, zeros, *weights, lengths, FEATURES, UNITS, 1, 0.0, False
  )
  for mine, theirs in zip((outputs.swapaxes(0, 1), y[None], c[None]), found):
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ('changes', 'wanted'),
  [
    ({}, 'needs an NVIDIA GPU'),
    ({'cell': 'gru'}, "cell='lstm' only, not 'gru'"),
    ({'peepholes': True}, 'peepholes=False only'),
    ({'bidirectional': True}, 'bidirectional=False only'),
    ({'dtype': 'bfloat16'}, "dtype='float32' only"),
  ],
)
def test_what_cudnn_cannot_run_is_refused_in_one_line(changes, wanted):
  if not changes and jax.default_backend() == 'gpu':
    pytest.skip('there is a GPU')
  with pytest.raises(errors.UserError, match=wanted):
    recurrent.build({**OPTIONS, **changes})


def test_off_the_cpu_images_are_native_and_recurrences_are_not(monkeypatch):
  """What a GPU is given: lax's pooling, our recurrence or, where asked, cuDNN's."""
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  asked = []
  monkeypatch.setattr(cudnn, 'run', lambda weights, x, carry, valid: asked.append(x))
  sequence = recurrent_layer.Sequence(jnp.ones((STEPS, BATCH, FEATURES)))
  call = {'carry': None, 'rate': None, 'train': True}
  make = functools.partial(
    recurrent_layer.Layer, cell=cells.make(options_lib.defaults(recurrent))
  )
  variables = make(units=UNITS).init(jax.random.key(0), sequence, **call)
  outputs = lambda v: make(units=UNITS).apply(v, sequence, **call)[0]
  with step.formulation():
    pool = str(
      jax.make_jaxpr(lambda x: convolution.max_pool(x, (2, 2)))(jnp.ones((1, 4, 4, 1)))
    )
    assert 'reduce_window' in pool
    assert 'custom_vjp' in str(jax.make_jaxpr(outputs)(variables))
    make(units=UNITS, cudnn=True).apply(variables, sequence, **call)
    assert len(asked) == 1
