"""minGRU and minLSTM: recurrent layers whose gates see the input alone.

Feng et al. 2024 (Were RNNs all we needed?). Without recurrent weights the state is a
linear recurrence, which all steps compute in parallel. The paper's states are positive
and computed in logarithms; here decays in (0, 1) are multiplied as they are, which is
as stable, and `candidate_activation='positive'` is the paper's g.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlsteroids import config as config_lib
from dlsteroids.models.lib import blocks, cells, recurrent_layer
from dlsteroids.models.ops import linear_recurrence

Weights = tuple[Any, Any]  # of the last state, and of the candidate


class MinimalCell(NamedTuple):
  """A cell whose state is h(t) = f h(t-1) + i c(t).

  Attributes:
    gates: names of what has input weights and a bias; the candidate c is the first.
    weigh: `gates before their functions -> (f, i)`.
    activation: of the candidate.
    biases: initial value by gate; 0 where absent.
  """

  gates: tuple[str, ...]
  weigh: Callable[[cells.Gates], Weights]
  activation: Callable
  biases: Mapping[str, float] = {}


def positive(x: Any) -> Any:
  """g(x) = x + 1/2 from 0 on, and the logistic function below it: always positive."""
  return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


def activation(config: Mapping[str, Any]) -> Callable:
  table = {**blocks.ACTIVATIONS, 'positive': positive}
  name = config['candidate_activation']
  return blocks.block('model.candidate_activation', name, table)


def mingru(config: Mapping[str, Any]) -> MinimalCell:
  """z(t) = sigma(Wz x(t) + bz), h(t) = (1 - z(t)) h(t-1) + z(t) c(t).

  Off, `update_gate` is z = 1: nothing of the last state is passed on.
  """
  if not config['update_gate']:
    return MinimalCell(('candidate',), lambda x: (0.0, 1.0), activation(config))

  def weigh(x):
    return jax.nn.sigmoid(-x['update']), jax.nn.sigmoid(x['update'])

  return MinimalCell(('candidate', 'update'), weigh, activation(config))


def minlstm(config: Mapping[str, Any]) -> MinimalCell:
  """f, i = sigma(W x(t) + b) each, h(t) = (f h(t-1) + i c(t)) / (f + i).

  Off, `normalised_gates` is h(t) = f h(t-1) + i c(t), as in an LSTM.
  """

  def weigh(x):
    if not config['normalised_gates']:
      return jax.nn.sigmoid(x['forget']), jax.nn.sigmoid(x['input'])
    # f / (f + i) by the difference of the gates' logarithms
    apart = jax.nn.softplus(-x['input']) - jax.nn.softplus(-x['forget'])
    return jax.nn.sigmoid(apart), jax.nn.sigmoid(-apart)

  biases = {'forget': config['forget_bias']}
  names = ('candidate', 'input', 'forget')
  return MinimalCell(names, weigh, activation(config), biases)


CELLS: Mapping[str, Callable[[Mapping[str, Any]], MinimalCell]] = {
  'mingru': mingru,
  'minlstm': minlstm,
}


def make(config: Mapping[str, Any]) -> MinimalCell:
  """The cell that `config['cell']` names.

  Raises:
    UserError: an unknown activation, or a switch that belongs to another cell.
  """
  cells.check_switches(config)
  return CELLS[config_lib.choose('model.cell', config['cell'], CELLS)](config)


class MinimalLayer(nn.Module):
  """A minimal cell over time, [T, B, F] -> [T, B, H], every gate's weights its own.

  Attributes:
    cell: what a step does.
    units: H.
    reverse: from the last step to the first.
  """

  cell: MinimalCell
  units: int
  reverse: bool = False
  init_fn: Callable = blocks.INITIALIZERS['lecun']
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, sequence: recurrent_layer.Sequence, carry: Any, *, rate: Any, train: bool
  ) -> tuple[Any, Any]:
    """Outputs and the last carry (h,); there is no recurrent dropout."""
    del rate, train
    x = sequence.x.astype(self.dtype)
    cell = self.cell
    steps, batch, _ = x.shape
    shape = (x.shape[-1], self.units)
    kernels = [
      recurrent_layer.Weight(self.init_fn, shape, name=f'{name}_input')()
      for name in cell.gates
    ]
    biases = [
      self.param(
        f'{name}_bias',
        nn.initializers.constant(cell.biases.get(name, 0.0)),
        (self.units,),
      )
      for name in cell.gates
    ]
    joined = x @ recurrent_layer.join(kernels).astype(self.dtype)
    joined = joined + recurrent_layer.join(biases).astype(self.dtype)
    # Products of many decays need more than eight bits.
    joined = joined.astype(jnp.promote_types(self.dtype, jnp.float32))
    gates = dict(zip(cell.gates, jnp.split(joined, len(cell.gates), -1)))
    decay, share = cell.weigh(gates)
    candidate = cell.activation(gates['candidate'])
    decay, update = jnp.broadcast_to(decay, candidate.shape), share * candidate
    if sequence.valid is not None:
      valid = sequence.valid[..., None]
      decay, update = jnp.where(valid, decay, 1), jnp.where(valid, update, 0)
    first = jnp.zeros((batch, self.units)) if carry is None else carry[0]
    first = first.astype(update.dtype)
    states = linear_recurrence.run(decay, update, first, self.reverse)
    states = states.astype(self.dtype)
    if self.is_mutable_collection('intermediates'):
      self.sow('intermediates', 'hidden', states)
      self.sow('intermediates', 'gates/candidate', candidate)
      if len(cell.gates) > 1:
        self.sow('intermediates', f'gates/{cell.gates[-1]}', decay)
    last = states[0 if self.reverse else steps - 1]
    return states, (last,)
