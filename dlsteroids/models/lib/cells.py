"""Recurrent cells as pure functions: one step, given the matrix products.

Notation of Greff et al. 2017 (LSTM: A Search Space Odyssey): x(t) input, y(t) output,
W input weights, R recurrent weights, p peepholes, b biases, sigma the logistic
function.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlsteroids import config as config_lib
from dlsteroids.config.options import Option
from dlsteroids.models.lib import blocks
from dlsteroids.util import errors

Gates = Mapping[str, Any]


_FORGET_BIAS = Option(1.0, 'initial bias of the forget gate')
_UPDATE_GATE = Option(True, 'False: nothing of the last state is passed on')
_CANDIDATE = Option(
  'identity', "of minGRU's and minLSTM's candidate; positive: the paper's g"
)
# The options of single cells; set for another cell they would silently do nothing.
SWITCHES: Mapping[str, Mapping[str, Option]] = {
  'rnn': {'activation': Option('tanh', "the Elman cell's")},
  'lstm': {
    'input_gate': Option(True, 'False: always open'),
    'forget_gate': Option(True, 'False: always open'),
    'output_gate': Option(True, 'False: always open'),
    'input_activation': Option('tanh', 'of the candidate values'),
    'output_activation': Option('tanh', 'of the cell state before the output gate'),
    'peepholes': Option(False, 'gates see the cell state'),
    'coupled': Option(False, 'the forget gate is 1 - input gate'),
    'full_gate_recurrence': Option(False, 'gates see the last values of all gates'),
    'forget_bias': _FORGET_BIAS,
  },
  'gru': {
    'reset_gate': Option(True, 'False: always open'),
    'update_gate': _UPDATE_GATE,
  },
  'mingru': {'update_gate': _UPDATE_GATE, 'candidate_activation': _CANDIDATE},
  'minlstm': {
    'normalised_gates': Option(True, "minLSTM's gates are divided by their sum"),
    'forget_bias': _FORGET_BIAS,
    'candidate_activation': _CANDIDATE,
  },
}


class Cell(NamedTuple):
  """A cell of H units.

  Attributes:
    gates: names of what has weights W, R and a bias of its own.
    states: arrays [B, H] that are carried; the first is the output y.
    step: `(vectors, carry, x, u, normalise) -> (carry, gates)`, with x = W x(t) + b and
      u = R y(t-1) by gate, [B, H] each, and `normalise` what a norm does to a cell
      state; the returned gates are for looking at.
    additive: whether the step uses nothing but x + u (then u is None and x their sum).
    activations: by gate of an additive cell, applied to x before the step sees it.
    biases: initial value by gate; 0 where absent.
    vectors: initial value by name of further parameters [H].
    fed: gates whose last values are fed back beside y, each to each of them (full gate
      recurrence); they are carried after the states.
  """

  gates: tuple[str, ...]
  states: int
  step: Callable[..., tuple[tuple[Any, ...], Gates]]
  additive: bool = True
  activations: Mapping[str, Callable] = {}
  biases: Mapping[str, float] = {}
  vectors: Mapping[str, float] = {}
  fed: tuple[str, ...] = ()


# Gains that norms start with. Of batch norm, Cooijmans et al. 2017, section 4: with 1
# the recurrence's tanh saturates and gradients vanish.
GAINS: Mapping[str, float] = {'layer': 1.0, 'batch': 0.1}


def normalise(x: Any) -> Any:
  """Zero mean, unit variance over the units of each example, [B, H]."""
  centred = x - x.mean(-1, keepdims=True)
  return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-6)


def activate(functions: Mapping[str, Callable], names: tuple[str, ...], x: Any) -> Any:
  """The gates of x [B, G H] after their functions, by name.

  Where several are logistic or tanh, one tanh serves them: sigma(x) is half of
  1 + tanh(x / 2). XLA:CPU vectorises a function of all columns, not one of a part.
  """
  scales = [_SCALES.get(functions.get(name)) for name in names]
  if None in scales or len(scales) == 1:
    parts = zip(names, jnp.split(x, len(names), -1))
    return {n: functions[n](part) if n in functions else part for n, part in parts}
  scale = jnp.repeat(jnp.asarray(scales, x.dtype), x.shape[-1] // len(names))
  x = jax.lax.optimization_barrier(jnp.tanh(x * scale) * scale + (1 - scale))
  return dict(zip(names, jnp.split(x, len(names), -1)))


_SCALES: Mapping[Any, float] = {jax.nn.sigmoid: 0.5, jnp.tanh: 1.0}


def rnn(config: Mapping[str, Any]) -> Cell:
  """Elman 1990: y(t) = a(W x(t) + R y(t-1) + b), with a = `activation`."""
  activation = blocks.activation(config['activation'])

  def step(vectors, carry, x, u, normalise):
    del vectors, carry, u, normalise
    return (x['candidate'],), {}

  return Cell(('candidate',), 1, step, activations={'candidate': activation})


def lstm(config: Mapping[str, Any]) -> Cell:
  """Long short-term memory; the vanilla one of Greff et al. 2017 has peepholes.

      z(t) = g(Wz x(t) + Rz y(t-1) + bz)                       block input
      i(t) = sigma(Wi x(t) + Ri y(t-1) + pi * c(t-1) + bi)     input gate
      f(t) = sigma(Wf x(t) + Rf y(t-1) + pf * c(t-1) + bf)     forget gate
      c(t) = z(t) * i(t) + c(t-1) * f(t)                       cell
      o(t) = sigma(Wo x(t) + Ro y(t-1) + po * c(t) + bo)       output gate
      y(t) = h(c(t)) * o(t)                                    block output

  The paper's departures: NIG `input_gate` off, i = 1. NFG `forget_gate` off, f = 1. NOG
  `output_gate` off, o = 1. NIAF `input_activation='identity'`, g(x) = x. NOAF
  `output_activation='identity'`, h(x) = x. NP `peepholes` off, p = 0. CIFG `coupled`,
  f = 1 - i. FGR `full_gate_recurrence`, i, f and o also see i, f and o of t-1.
  `forget_bias`: the initial bf (Gers et al. 2000; Jozefowicz et al. 2015: 1). With a
  norm h sees c(t) normalised (Ba et al. 2016, eq. 22; Cooijmans et al. 2017, eq. 8).

  Raises:
    UserError: switches that contradict each other.
  """
  input_act = blocks.block(
    'model.input_activation', config['input_activation'], blocks.ACTIVATIONS
  )
  output_act = blocks.block(
    'model.output_activation', config['output_activation'], blocks.ACTIVATIONS
  )
  coupled = config['coupled']
  if coupled and not (config['input_gate'] and config['forget_gate']):
    raise errors.UserError(
      'config.model.coupled makes the forget gate 1 - input gate: it needs both '
      'input_gate and forget_gate on'
    )
  own = {
    'input': config['input_gate'],
    'forget': config['forget_gate'] and not coupled,
    'output': config['output_gate'],
  }
  usual = SWITCHES['lstm']['forget_bias'].default
  if not own['forget'] and config['forget_bias'] not in (usual, 0.0):
    raise errors.UserError(
      f'config.model.forget_bias={config["forget_bias"]} needs a forget gate with '
      f'weights of its own; without one it is {usual} or 0'
    )
  present = tuple(name for name, on in own.items() if on)
  peepholes = present if config['peepholes'] else ()
  fed = present if config['full_gate_recurrence'] else ()
  normed = config['norm'] != 'none'

  def gate(name, vectors, x, cell):
    if name in peepholes:
      return jax.nn.sigmoid(x[name] + vectors[f'peephole_{name}'] * cell)
    return x[name] if name in present else None

  def step(vectors, carry, x, u, normalise):
    del u
    before = carry[1]
    z = x['candidate']
    i = gate('input', vectors, x, before)
    f = 1.0 - i if coupled else gate('forget', vectors, x, before)
    cell = (z if i is None else z * i) + (before if f is None else before * f)
    o = gate('output', vectors, x, cell)
    exposed = cell
    if normed:
      exposed = normalise(cell) * vectors['norm_cell'] + vectors['shift_cell']
    y = output_act(exposed) if o is None else output_act(exposed) * o
    gates = {'candidate': z, 'input': i, 'forget': f, 'output': o}
    gates = {name: value for name, value in gates.items() if value is not None}
    return (y, cell, *(gates[name] for name in fed)), gates

  vectors = {f'peephole_{name}': 0.0 for name in peepholes}
  if normed:
    vectors |= {'norm_cell': GAINS[config['norm']], 'shift_cell': 0.0}
  activations = {'candidate': input_act}
  if not peepholes:
    activations |= dict.fromkeys(present, jax.nn.sigmoid)
  return Cell(
    ('candidate', *present),
    2,
    step,
    activations=activations,
    biases={'forget': config['forget_bias']} if own['forget'] else {},
    vectors=vectors,
    fed=fed,
  )


def gru(config: Mapping[str, Any]) -> Cell:
  """Gated recurrent unit (Cho et al. 2014), the reset gate after the product:

      r(t) = sigma(Wr x(t) + Rr y(t-1) + br)                   reset
      u(t) = sigma(Wu x(t) + Ru y(t-1) + bu)                   update
      n(t) = tanh(Wn x(t) + bn + r(t) * (Rn y(t-1) + cn))      candidate
      y(t) = (1 - u(t)) * n(t) + u(t) * y(t-1)

  as cuDNN and torch have it; the paper resets y(t-1) before Rn. Off, `reset_gate` is
  r = 1 and `update_gate` u = 0.
  """
  own = {'reset': config['reset_gate'], 'update': config['update_gate']}
  present = tuple(name for name, on in own.items() if on)

  def step(vectors, carry, x, u, normalise):
    del normalise
    gates = {name: jax.nn.sigmoid(x[name] + u[name]) for name in present}
    back = u['candidate'] + vectors['recurrent_bias']
    if 'reset' in gates:
      back = gates['reset'] * back
    n = jnp.tanh(x['candidate'] + back)
    y = n
    if 'update' in gates:
      y = (1.0 - gates['update']) * n + gates['update'] * carry[0]
    return (y,), {**gates, 'candidate': n}

  return Cell(
    ('candidate', *present), 1, step, additive=False, vectors={'recurrent_bias': 0.0}
  )


CELLS: Mapping[str, Callable[[Mapping[str, Any]], Cell]] = {
  'rnn': rnn,
  'lstm': lstm,
  'gru': gru,
}


def make(config: Mapping[str, Any]) -> Cell:
  """The shipped cell that `config['cell']` names.

  Raises:
    UserError: an unknown name, or a switch set that belongs to another cell.
  """
  name = config_lib.choose('model.cell', config['cell'], CELLS)
  check_switches(config)
  return CELLS[name](config)


def check_switches(config: Mapping[str, Any]) -> None:
  """Raises UserError if a switch is set that does nothing to `config['cell']`."""
  name = config['cell']
  own = SWITCHES.get(name, {})
  for owner, switches in SWITCHES.items():
    for option, declared in switches.items():
      if option not in own and config[option] != declared.default:
        raise errors.UserError(
          f'config.model.{option}={config[option]!r} belongs to cell {owner!r} and '
          f'does nothing to {name!r}'
        )
