"""Recurrent networks as plain loops over layers, examples and steps, in numpy float64.

Written from the equations in the docstrings of models/cells.py, models/layer.py and
models/recurrent.py: one example, one step and one gate at a time. The reverse passes
are by hand: of the vanilla LSTM as in the appendix of Greff et al. 2017, of Elman's
network and the GRU by the chain rule.
"""

import functools

import numpy as np


def sigma(x):
  return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
  'tanh': np.tanh,
  'relu': lambda x: np.maximum(x, 0),
  'identity': lambda x: x,
  'sigmoid': sigma,
}


def standardise(v):
  """Layer normalisation of one vector, without its gain."""
  return (v - v.mean()) / np.sqrt(v.var() + 1e-6)


class Net:
  """What reaches the gates of one example at one step.

  Args:
    o: options of the model.
    p: the layer's parameters by name.
    x: input [F].
    fed: what is fed back, by source ('y', or the gate), [H] each.
  """

  def __init__(self, o, p, x, fed):
    self.normed, self.p, self.x, self.fed = o['norm'] == 'layer', p, x, fed

  def of_input(self, gate):
    """W x + b."""
    found = self.x @ self.p[f'{gate}_input']
    if self.normed:
      found = standardise(found) * self.p[f'{gate}_input_norm']
    return found + self.p[f'{gate}_bias']

  def of_past(self, gate):
    """R y, and R of each gate fed back, to each gate but the block input."""
    found = self.fed['y'] @ self.p[f'{gate}_recurrent']
    for other, value in self.fed.items():
      if other != 'y' and gate != 'candidate':
        found = found + value @ self.p[f'{gate}_from_{other}']
    if self.normed:
      found = standardise(found) * self.p[f'{gate}_recurrent_norm']
    return found

  def of_both(self, gate):
    return self.of_input(gate) + self.of_past(gate)


def rnn(o, p, net, state):
  return {'y': ACTIVATIONS[o['activation']](net.of_both('candidate'))}


def lstm(o, p, net, state):
  before = state['cell']

  def gate(name, cell):
    peep = p[f'peephole_{name}'] * cell if o['peepholes'] else 0.0
    return sigma(net.of_both(name) + peep)

  z = ACTIVATIONS[o['input_activation']](net.of_both('candidate'))
  i = gate('input', before) if o['input_gate'] else np.ones_like(z)
  if o['coupled']:
    f = 1 - i
  else:
    f = gate('forget', before) if o['forget_gate'] else np.ones_like(z)
  c = z * i + before * f
  out = gate('output', c) if o['output_gate'] else np.ones_like(z)
  h = c
  if o['norm'] == 'layer':
    h = standardise(c) * p['norm_cell'] + p['shift_cell']
  y = ACTIVATIONS[o['output_activation']](h) * out
  new = {'y': y, 'cell': c, 'input': i, 'forget': f, 'output': out}
  return {name: new[name] for name in state}


def gru(o, p, net, state):
  one = np.ones_like(state['y'])
  r = sigma(net.of_both('reset')) if o['reset_gate'] else one
  u = sigma(net.of_both('update')) if o['update_gate'] else 0 * one
  past = net.of_past('candidate') + p['recurrent_bias']
  n = np.tanh(net.of_input('candidate') + r * past)
  return {'y': (1 - u) * n + u * state['y']}


CELLS = {'rnn': rnn, 'lstm': lstm, 'gru': gru}


def flatten(layer):
  """A layer's parameters by name; matrices lie one level deeper."""
  return {
    name: value['kernel'] if isinstance(value, dict) else value
    for name, value in layer.items()
  }


def states(o):
  """Names of what is carried, in the order of the module's carry."""
  if o['cell'] != 'lstm':
    return ('y',)
  gates = [name for name in ('input', 'forget', 'output') if o[f'{name}_gate']]
  if o['coupled']:
    gates.remove('forget')
  return ('y', 'cell', *(gates if o['full_gate_recurrence'] else ()))


def run_layer(o, p, x, carry=None, mask=None, reverse=False):
  """One direction of one layer over one example [T, F]: outputs [T, H], carry.

  Args:
    mask: of what is fed back, one for each step [T, R]; R = H times what is fed back.
  """
  p = flatten(p)
  names, units = states(o), p['candidate_bias'].size
  state = dict(zip(names, carry or [np.zeros(units)] * len(names)))
  outputs = [None] * len(x)
  for t in reversed(range(len(x))) if reverse else range(len(x)):
    sources = [name for name in names if name != 'cell']
    fed = np.concatenate([state[name] for name in sources])
    fed = fed if mask is None else fed * mask[t]
    net = Net(o, p, x[t], dict(zip(sources, np.split(fed, len(sources)))))
    state = CELLS[o['cell']](o, p, net, state)
    outputs[t] = state['y']
  return np.array(outputs), tuple(state[name] for name in names)


def run(o, params, x, *, every, lengths=None, carry=None, masks=()):
  """A whole network.

  Args:
    o: options of the model.
    params: {'layer0': {name: array}, 'output': {'kernel', 'bias'}, …}.
    x: features [B, T, F].
    every: answer at every step.
    lengths: real steps of each example.
    carry: per layer and direction a tuple of [B, H].
    masks: of all dropouts in the order in which they are drawn: per layer the recurrent
      ones of each direction [T or 1, B, R], then that of its output.

  Returns:
    Answers [B, T, K], nan behind the end of an example, or [B, K]; and the carry.
  """
  answers, carries = [], []
  for b in range(len(x)):
    real = len(x[b]) if lengths is None else lengths[b]
    drawn = iter(masks)
    h, last = x[b, :real], []
    for index in range(o['layers']):
      sides = []
      for name in (f'layer{index}', f'layer{index}_back')[: 1 + o['bidirectional']]:
        mask = next(drawn, None)
        if mask is not None:
          mask = np.broadcast_to(mask[:, b], (len(x[b]), mask.shape[-1]))
        before = carry and tuple(part[b] for part in carry[len(last)])
        y, end = run_layer(o, params[name], h, before, mask, name.endswith('back'))
        sides.append(y)
        last.append(end)
      y = np.concatenate(sides, 1)
      h = h + y if o['residual'] and index else y
      mask = next(drawn, None)
      if every or index < o['layers'] - 1:
        h = h if mask is None else h * mask[:real, b]
      else:
        # Each direction's last step: the backward one ends at the first.
        units = y.shape[1] // len(sides)
        ends = [h[-1, :units], h[0, units:]][: len(sides)]
        h = np.concatenate(ends) * (1 if mask is None else mask[b])
    answer = h @ params['output']['kernel'] + params['output']['bias']
    if every:
      answer = np.pad(answer, ((0, len(x[b]) - real), (0, 0)), constant_values=np.nan)
    answers.append(answer)
    carries.append(last)
  joined = tuple(
    tuple(np.stack(parts) for parts in zip(*(carries[b][i] for b in range(len(x)))))
    for i in range(len(carries[0]))
  )
  return np.array(answers), joined


# Reverse passes by hand. Each takes parameters, inputs [T, F] of one example and the
# gradient by its outputs [T, H]; it returns the gradients by parameters and inputs.


def reverse_rnn(p, x, slope):
  """Elman's network with tanh."""
  p, o = flatten(p), {'cell': 'rnn', 'activation': 'tanh', 'norm': 'none'}
  y, _ = run_layer(o, p, x)
  d, delta = _zeros(p, x), np.zeros(len(p['candidate_bias']))
  for t in reversed(range(len(x))):
    dy = slope[t] + p['candidate_recurrent'] @ delta
    delta = dy * (1 - y[t] ** 2)
    _add(d, p, 'candidate', x, t, _at(y, t - 1), delta)
  return d


def reverse_lstm(p, x, slope):
  """Vanilla, with peepholes: Greff et al. 2017, appendix A.2."""
  p, steps, units = flatten(p), len(x), len(p['candidate_bias'])
  names = ('candidate', 'input', 'forget', 'output')
  y, c = np.zeros((steps, units)), np.zeros((steps, units))
  z, i, f, out = np.zeros((4, steps, units))
  for t in range(steps):
    at = functools.partial(_net, p, x[t], _at(y, t - 1))
    z[t] = np.tanh(at('candidate'))
    i[t] = sigma(at('input') + p['peephole_input'] * _at(c, t - 1))
    f[t] = sigma(at('forget') + p['peephole_forget'] * _at(c, t - 1))
    c[t] = z[t] * i[t] + _at(c, t - 1) * f[t]
    out[t] = sigma(at('output') + p['peephole_output'] * c[t])
    y[t] = np.tanh(c[t]) * out[t]
  d = _zeros(p, x)
  delta = {name: np.zeros(units) for name in names}
  dc, f_next = np.zeros(units), np.zeros(units)
  for t in reversed(range(steps)):
    dy = slope[t] + sum(p[f'{name}_recurrent'] @ delta[name] for name in names)
    d_out = dy * np.tanh(c[t]) * out[t] * (1 - out[t])
    dc = (
      dy * out[t] * (1 - np.tanh(c[t]) ** 2)
      + p['peephole_output'] * d_out
      + p['peephole_input'] * delta['input']
      + p['peephole_forget'] * delta['forget']
      + dc * f_next
    )
    d_f = dc * _at(c, t - 1) * f[t] * (1 - f[t])
    d_i = dc * z[t] * i[t] * (1 - i[t])
    d_z = dc * i[t] * (1 - z[t] ** 2)
    delta, f_next = dict(zip(names, (d_z, d_i, d_f, d_out))), f[t]
    for name in names:
      _add(d, p, name, x, t, _at(y, t - 1), delta[name])
    d['peephole_input'] += d_i * _at(c, t - 1)
    d['peephole_forget'] += d_f * _at(c, t - 1)
    d['peephole_output'] += d_out * c[t]
  return d


def reverse_gru(p, x, slope):
  """The reset gate after the product."""
  p, steps, units = flatten(p), len(x), len(p['candidate_bias'])
  y, back = np.zeros((2, steps, units))
  r, u, n = np.zeros((3, steps, units))
  for t in range(steps):
    before = _at(y, t - 1)
    r[t] = sigma(_net(p, x[t], before, 'reset'))
    u[t] = sigma(_net(p, x[t], before, 'update'))
    back[t] = before @ p['candidate_recurrent'] + p['recurrent_bias']
    n[t] = np.tanh(x[t] @ p['candidate_input'] + p['candidate_bias'] + r[t] * back[t])
    y[t] = (1 - u[t]) * n[t] + u[t] * before
  d, carried = _zeros(p, x), np.zeros(units)
  for t in reversed(range(steps)):
    dy, before = slope[t] + carried, _at(y, t - 1)
    d_n = dy * (1 - u[t]) * (1 - n[t] ** 2)
    d_u = dy * (before - n[t]) * u[t] * (1 - u[t])
    d_r = d_n * back[t] * r[t] * (1 - r[t])
    d_back = d_n * r[t]
    _add(d, p, 'reset', x, t, before, d_r)
    _add(d, p, 'update', x, t, before, d_u)
    _add(d, p, 'candidate', x, t, before, d_n, d_back)
    d['recurrent_bias'] += d_back
    carried = (
      dy * u[t]
      + p['reset_recurrent'] @ d_r
      + p['update_recurrent'] @ d_u
      + p['candidate_recurrent'] @ d_back
    )
  return d


def _zeros(p, x):
  return {**{name: np.zeros_like(value) for name, value in p.items()}, 'x': 0.0 * x}


def _net(p, x, y, gate):
  return x @ p[f'{gate}_input'] + y @ p[f'{gate}_recurrent'] + p[f'{gate}_bias']


def _at(rows, t):
  return rows[t] if t >= 0 else np.zeros(rows.shape[1])


def _add(d, p, gate, x, t, before, delta, past=None):
  """One step's share of a gate: by W, b and x with `delta`, by R with `past`."""
  d[f'{gate}_input'] += np.outer(x[t], delta)
  d[f'{gate}_bias'] += delta
  d[f'{gate}_recurrent'] += np.outer(before, delta if past is None else past)
  d['x'][t] += p[f'{gate}_input'] @ delta
