"""Transformers against torch, closed forms, one another, and what they must not see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids.config import options as options_lib
from dlsteroids.models import attention as family
from dlsteroids.models.lib import blocks, transformer
from dlsteroids.models.ops import attention, convolution
from dlsteroids.train import cost
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')

B, T, V, W, HEADS, LAYERS = 2, 7, 5, 8, 2, 2
SIZES = {'layers': LAYERS, 'width': W, 'heads': HEADS, 'mlp_ratio': 1.5}


@pytest.fixture
def double(monkeypatch):
  """Computes in float64, which no config can ask for."""
  monkeypatch.setattr(blocks, 'dtype', lambda name: jnp.dtype('float64'))
  with jax.enable_x64(True):
    yield


def make(task=None, **options):
  """A decoder of `V` symbols, or what the task's inputs say instead."""
  task = task or {'symbols': V, 'outputs': V, 'every': True}
  return family.build({**options_lib.defaults(family), **SIZES, **options, **task})


ENCODER = {'shape': (T, 3), 'outputs': 4, 'every': False}


def symbols(steps=T, seed=0):
  return jnp.asarray(np.random.default_rng(seed).integers(0, V, (B, steps)))


def features(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=(B, *shape))


def hyper(**rates):
  return cases.hyper('attention', **rates)


def parameters(module, x, seed=1):
  """Random parameters, that no symmetry hides a mistake."""
  init = lambda: module.init(jax.random.key(0), x, train=False, hyper=hyper())
  leaves, tree = jax.tree.flatten(jax.eval_shape(init)['params'])
  generator = np.random.default_rng(seed)
  values = [0.5 * generator.normal(size=leaf.shape) for leaf in leaves]
  return jax.tree.unflatten(tree, values)


@functools.cache
def compiled(module, train):
  """A module's call; operations one by one would each be compiled."""

  def run(params, x, numbers, key, inputs):
    rngs = {'dropout': jax.random.key(key)}
    return module.apply(
      {'params': params}, x, train=train, hyper=numbers, rngs=rngs, **inputs
    )

  return jax.jit(run)  # may be nested, so without options of its own


def answer(module, params, x, train=False, key=0, numbers=None, **inputs):
  return compiled(module, train)(params, x, numbers or hyper(), key, inputs)


def close(one, other, tolerance=1e-9):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(b).max(initial=0)))
    ),
    one,
    other,
  )


# Against torch


def norm_of(torch, kind, x, weights):
  if kind == 'none':
    return x
  if kind == 'rms':
    return torch.nn.functional.rms_norm(x, x.shape[-1:], weights['scale'], 1e-5)
  return torch.nn.functional.layer_norm(
    x, x.shape[-1:], weights['scale'], weights['bias'], 1e-5
  )


def turn(torch, x):
  """Rotary positions as complex factors; units i and i + D/2 are a number."""
  half = x.shape[-1] // 2
  number = torch.complex(x[..., :half].contiguous(), x[..., half:].contiguous())
  rates = 10_000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
  angles = torch.outer(torch.arange(x.shape[1], dtype=x.dtype), rates)
  number = number * torch.polar(torch.ones_like(angles), angles)[:, None]
  return torch.cat([number.real, number.imag], -1)


def attend_torch(torch, o, p, x, causal):
  """One layer's attention by torch's own, or by a plain mean of what is seen."""
  batch, steps, width = x.shape
  split = lambda y: y.reshape(batch, steps, o['heads'], -1)
  away = torch.arange(steps)[:, None] - torch.arange(steps)[None]
  mask = away >= 0 if causal else torch.ones(steps, steps, dtype=torch.bool)
  if o['span']:
    mask = mask & (away.abs() < o['span'])
  value = split(x @ p['value']['kernel'])
  if o['mixer'] == 'average':
    weights = mask.to(x.dtype) / mask.sum(1, keepdim=True)
    y = torch.einsum('ts,bshd->bthd', weights, value)
  else:
    query, key = (split(x @ p[name]['kernel']) for name in ('query', 'key'))
    if o['qk_norm']:
      query = norm_of(torch, 'rms', query, p['query_norm'])
      key = norm_of(torch, 'rms', key, p['key_norm'])
    if o['positions'] == 'rotary':
      query, key = turn(torch, query), turn(torch, key)
    y = torch.nn.functional.scaled_dot_product_attention(
      *(part.transpose(1, 2) for part in (query, key, value)), attn_mask=mask
    ).transpose(1, 2)
  return y.reshape(batch, steps, width) @ p['output']['kernel'] + p['output']['bias']


def recur_torch(torch, o, p, x):
  """minGRU or minLSTM, step by step, as Feng et al. 2024 write them."""
  cell = p['cell']
  gate = lambda name: x @ cell[f'{name}_input']['kernel'] + cell[f'{name}_bias']
  raw = gate('candidate')
  candidate = torch.where(raw >= 0, raw + 0.5, torch.sigmoid(raw))
  if o['mixer'] == 'mingru':
    take = torch.sigmoid(gate('update'))
    keep = 1 - take
  else:
    keep, take = torch.sigmoid(gate('forget')), torch.sigmoid(gate('input'))
    keep, take = keep / (keep + take), take / (keep + take)
  state, states = torch.zeros_like(x[:, 0]), []
  for at in range(x.shape[1]):
    state = keep[:, at] * state + take[:, at] * candidate[:, at]
    states.append(state)
  return torch.stack(states, 1) @ p['output']['kernel'] + p['output']['bias']


def think_torch(torch, o, p, x):
  dense = lambda name, x: x @ p[name]['kernel'] + p[name]['bias']
  function = {
    'gelu': functools.partial(torch.nn.functional.gelu, approximate='tanh'),
    'relu': torch.relu,
    'silu': torch.nn.functional.silu,
  }[o['activation']]
  up = dense('up', x)
  return dense('down', function(dense('gate', x)) * up if 'gate' in p else function(up))


def run_torch(torch, o, p, x, causal=True):
  """The answers of a decoder [B, T, V], or of an encoder the mean's [B, K]."""
  width = o['width']
  if causal:
    x = p['embedding']['kernel'][x] * width**0.5
  else:
    x = x @ p['embedding']['kernel'] + p['embedding']['bias']
  places = torch.arange(x.shape[1], dtype=x.dtype)
  if o['positions'] == 'learned':
    x = x + p['positions']['kernel'][: x.shape[1]] * width**0.5
  if o['positions'] == 'sinusoidal':
    for unit in range(width):
      rate = 10_000.0 ** (-2 * (unit // 2) / width)
      wave = torch.sin(places * rate) if unit % 2 == 0 else torch.cos(places * rate)
      x = x + wave[:, None] * (torch.arange(width) == unit)
  for index in range(o['layers']):
    layer = p[f'layer{index}']
    functions = {'attention': None, 'mlp': think_torch}
    functions = {**dict.fromkeys(('mingru', 'minlstm'), recur_torch), **functions}
    for name, function in functions.items():
      if name not in layer:
        continue
      norm = functools.partial(norm_of, torch, o['norm'])
      own = layer.get('mlp_norm' if name == 'mlp' else 'attention_norm')
      y = norm(x, own) if o['norm_place'] == 'pre' else x
      if function is None:
        y = attend_torch(torch, o, layer[name], y, causal)
      else:
        y = function(torch, o, layer[name], y)
      x = x + y if o['residual'] else y
      x = norm(x, own) if o['norm_place'] == 'post' else x
  if o['norm_place'] == 'pre':
    x = norm_of(torch, o['norm'], x, p.get('final_norm'))
  x = x if causal else x.mean(1)
  if o['tied']:
    return x @ p['embedding']['kernel'].T + p['output_bias']
  return x @ p['output']['kernel'] + p['output']['bias']


SWIGLU = {'mlp': 'gated', 'activation': 'silu'}
VARIANTS = [
  {'norm': 'rms', 'qk_norm': True, **SWIGLU},
  {'positions': 'learned', 'tied': True, 'activation': 'relu', 'chunk': 3},
  {'positions': 'sinusoidal', 'mixer': 'average', 'norm_place': 'post'},
  {'span': 3, 'norm': 'none', 'residual': False},
  {'span': 2, 'mlp': 'none', 'norm_place': 'post', 'norm': 'rms', 'chunk': 2},
  {'mixer': 'none', 'heads': 4},
  {'mixer': 'mingru', 'norm': 'rms'},
  {'mixer': 'minlstm', 'norm_place': 'post', **SWIGLU},
]


def to_torch(torch, params):
  leaf = lambda a: torch.tensor(np.asarray(a), requires_grad=True)
  return jax.tree.map(leaf, params)


def compare(torch, module, o, params, x, causal):
  """Values and gradients of a network and of its copy in torch."""

  def loss(params):
    y = answer(module, params, x)
    return jnp.sin(y).sum(), y

  grads, y = cases.jit(jax.grad(loss, has_aux=True))(params)
  copies = to_torch(torch, params)
  expected = run_torch(torch, o, copies, torch.tensor(np.asarray(x)), causal)
  expected.sin().sum().backward()
  close(y, expected.detach().numpy())
  close(grads, jax.tree.map(lambda leaf: leaf.grad.numpy(), copies))


@pytest.mark.parametrize('options', VARIANTS, ids=str)
def test_decoders_are_torchs(double, options):
  torch = pytest.importorskip('torch')
  module, x = make(**options), symbols()
  o = {**options_lib.defaults(family), **SIZES, **options}
  compare(torch, module, o, parameters(module, x), x, causal=True)


@pytest.mark.parametrize(
  'options', [{'qk_norm': True}, {'span': 2, 'chunk': 2, 'positions': 'learned'}]
)
def test_encoders_are_torchs(double, options):
  torch = pytest.importorskip('torch')
  module, x = make(ENCODER, **options), features(T, 3)
  o = {**options_lib.defaults(family), **SIZES, **options}
  compare(torch, module, o, parameters(module, x), x, causal=False)


@pytest.mark.parametrize('place', ['pre', 'post'])
def test_layers_are_torchs_own_module(double, place):
  """`torch.nn.TransformerEncoderLayer`, its query, key and value without bias."""
  torch = pytest.importorskip('torch')
  module = make(positions='none', norm_place=place, activation='relu', layers=1)
  x = symbols()
  params = parameters(module, x)
  theirs = torch.nn.TransformerEncoderLayer(
    W, HEADS, int(1.5 * W), 0.0, batch_first=True, norm_first=place == 'pre',
    dtype=torch.float64,
  )  # fmt: skip
  own = params['layer0']
  joined = np.concatenate(
    [own['attention'][name]['kernel'] for name in ('query', 'key', 'value')], 1
  )
  state = {
    'self_attn.in_proj_weight': joined.T,
    'self_attn.in_proj_bias': np.zeros(3 * W),
    'self_attn.out_proj.weight': own['attention']['output']['kernel'].T,
    'self_attn.out_proj.bias': own['attention']['output']['bias'],
  }
  for name, part in (('linear1', 'up'), ('linear2', 'down')):
    state |= {f'{name}.weight': own['mlp'][part]['kernel'].T}
    state |= {f'{name}.bias': own['mlp'][part]['bias']}
  for name, part in (('norm1', 'attention_norm'), ('norm2', 'mlp_norm')):
    state |= {f'{name}.weight': own[part]['scale'], f'{name}.bias': own[part]['bias']}
  theirs.load_state_dict({k: torch.tensor(np.asarray(v)) for k, v in state.items()})
  copies = to_torch(torch, params)
  y = copies['embedding']['kernel'][torch.tensor(np.asarray(x))] * W**0.5
  y = theirs(y, torch.nn.Transformer.generate_square_subsequent_mask(
    T, dtype=torch.float64
  ))  # fmt: skip
  y = norm_of(torch, 'layer', y, copies['final_norm']) if place == 'pre' else y
  expected = y @ copies['output']['kernel'] + copies['output']['bias']
  close(answer(module, params, x), expected.detach().numpy())


# Formulations of attention against one another


FORMS = [
  attention.Form(causal, span, chunk)
  for causal, span, chunk in [
    (True, 0, 4), (True, 3, 2), (False, 0, 5), (False, 2, 3), (True, 0, 1),
  ]
]  # fmt: skip


@pytest.mark.parametrize('form', FORMS, ids=str)
@pytest.mark.parametrize('uniform', [False, True])
def test_chunks_are_the_whole(form, uniform):
  """With keys before the queries, keys that are not there, and dropped weights."""
  keys, steps = 11, 9
  query, key, value = (
    jnp.asarray(features(length, 2, 4, seed=i), jnp.float32)
    for i, length in enumerate((steps, keys, keys))
  )
  valid = jnp.asarray(np.arange(keys) != np.array([[3], [keys]]))
  drop = lambda weights, index: weights * 0.5

  def loss(form, query, key, value):
    inputs = attention.Inputs(query, key, value, valid)
    inputs = inputs._replace(query=None, key=None) if uniform else inputs
    y = attention.attend(form, inputs, steps, drop)
    return jnp.sin(y).sum(), y

  run = lambda form: cases.jit(
    jax.value_and_grad(functools.partial(loss, form), (0, 1, 2), has_aux=True)
  )(query, key, value)
  found = run(form)
  with convolution.plain():
    close(found, run(form), 1e-5)


@pytest.mark.parametrize('form', FORMS[:4], ids=str)
def test_the_fused_kernel_is_asked_for_the_same(form):
  """Oracle: `jax.nn.dot_product_attention` as XLA runs it."""
  inputs = attention.Inputs(
    *(jnp.asarray(features(T, 2, 4, seed=i), jnp.float32) for i in range(3))
  )
  found = attention.fused(form, inputs, 'xla')
  close(attention.attend(form, inputs, T), found, 1e-5)
  valid = jnp.arange(T)[None] < jnp.asarray([[T], [4]])
  inputs = inputs._replace(valid=valid)
  found = attention.fused(form, inputs, 'xla')
  rows = np.asarray(valid)  # a query behind the end may see nothing at all
  close(attention.attend(form, inputs, T)[rows], found[rows], 1e-5)


def test_each_chunk_drops_by_itself():
  drop = lambda weights, index: weights * (index + 1.0)
  inputs = attention.Inputs(None, None, jnp.ones((1, 6, 1, 1)))
  found = attention.attend(attention.Form(chunk=2), inputs, 6, drop)
  np.testing.assert_allclose(found.ravel(), [1, 1, 2, 2, 3, 3], rtol=1e-6)


def test_memory_grows_with_the_window_and_not_with_its_square():
  """Oracle: `cost.peak` of a training step, of both forms; nothing is computed."""
  module = make(chunk=64, layers=1)
  params = jax.eval_shape(lambda: parameters(module, symbols()))

  def most(steps):
    x = jax.ShapeDtypeStruct((B, steps), jnp.int32)
    loss = lambda params, x: answer(module, params, x, train=True).sum()
    return cost.peak(jax.make_jaxpr(jax.grad(loss))(params, x))

  whole = lambda steps: B * HEADS * steps**2 * 4  # bytes of the weights
  assert most(4096) < 2.2 * most(2048)
  assert most(4096) < whole(4096) / 4
  with convolution.plain():
    assert most(4096) > whole(4096)


# What is seen


SEEN = [
  {},
  {'mixer': 'average', 'positions': 'sinusoidal'},
  {'span': 3, 'chunk': 2, 'qk_norm': True},
  {'mixer': 'minlstm'},
  {'positions': 'learned', 'norm_place': 'post', 'chunk': 3},
]


@pytest.mark.parametrize('options', SEEN, ids=str)
def test_the_future_is_not_seen(options):
  """Every later symbol is changed: no bit of what was answered before moves."""
  module, x = make(**options), symbols()
  params = parameters(module, x)
  run = cases.jit(lambda x: answer(module, params, x))
  whole = run(x)
  for at in range(1, T):
    other = run(x.at[:, at:].set((x[:, at:] + 1) % V))
    np.testing.assert_array_equal(whole[:, :at], other[:, :at])
    assert (np.abs(whole - other)[:, at].max(-1) > 0).all()


def test_a_span_sees_so_many_positions():
  """One layer: the answer depends on the last three; with two layers on five."""
  for layers, reach in ((1, 3), (2, 5)):
    module = make(span=3, layers=layers)
    x = symbols(9)
    params = parameters(module, x)
    moved = (jnp.asarray(symbols(9)) + 1) % V  # each position in its own copy
    copies = jnp.where(jnp.eye(9, dtype=bool), moved[:1], x[:1])
    found = answer(module, params, jnp.concatenate([x[:1], copies]))[:, -1]
    seen = (found[1:] != found[0]).any(-1)
    np.testing.assert_array_equal(seen, np.arange(9) >= 9 - reach)


CARRIED = [
  {'memory': 12},
  {'memory': 3, 'span': 4, 'chunk': 2, 'qk_norm': True},
  {'memory': 12, 'mixer': 'average', 'positions': 'none'},
  {'memory': 12, 'positions': 'none', 'norm_place': 'post'},
]


@pytest.mark.parametrize('options', CARRIED, ids=str)
def test_pieces_with_a_carry_are_the_whole_window(double, options):
  module, x = make(**options), symbols(11)
  params = parameters(module, x)
  whole = answer(module, params, x)
  carry, parts = (), []
  for piece in (x[:, :5], x[:, 5:6], x[:, 6:]):
    y, carry = answer(module, params, piece, carry=carry)
    parts.append(y)
  close(jnp.concatenate(parts, 1), whole)
  assert carry[0].valid.shape == (B, options['memory'])
  empty = jax.tree.map(jnp.zeros_like, carry)  # as a task begins an epoch
  first, _ = answer(module, params, x, carry=empty)
  close(first, whole)


def test_a_window_that_is_evaluated_reaches_no_farther_than_one_that_trained():
  task = {'symbols': V, 'outputs': V, 'every': True, 'length': 4, 'history': 100}
  for memory in (0, 2):
    module = make(task, memory=memory, layers=1)
    x = symbols(12)
    params = parameters(module, x)
    whole = answer(module, params, x)[:, -1]
    most = memory + 4
    alone = answer(module, params, x[:, -most:])[:, -1]
    close(whole, alone, 1e-5)
    assert np.abs(whole - answer(module, params, x[:, 1 - most :])[:, -1]).max() > 1e-4


def test_numbered_positions_end_with_a_training_window():
  task = {'symbols': V, 'outputs': V, 'every': True, 'length': T, 'history': 0}
  for positions in ('learned', 'sinusoidal'):
    module = make(task, positions=positions)
    params = parameters(module, symbols())
    with pytest.raises(errors.UserError, match=f'positions={positions} numbers the 7'):
      answer(module, params, symbols(T + 1))


# Lengths, patches, readouts


@pytest.mark.parametrize(
  'options',
  [{'readout': 'mean', 'chunk': 3}, {'readout': 'last', 'span': 3},
   {'readout': 'token', 'positions': 'learned'},
   {'readout': 'last', 'mixer': 'mingru'}],
  ids=str,
)  # fmt: skip
def test_padding_changes_nothing(double, options):
  """Oracle: the sequences alone, one by one, without padding; gradients of one case."""
  module, x, lengths = make(ENCODER, **options), features(T, 3), (4, T)
  params = parameters(module, x)

  def both(params, x):
    y = answer(module, params, x, lengths=jnp.asarray(lengths))
    return jnp.sin(y).sum(), y

  def single(params):
    parts = [answer(module, params, x[b : b + 1, :n]) for b, n in enumerate(lengths)]
    return jnp.sin(jnp.concatenate(parts)).sum(), jnp.concatenate(parts)

  def derive(loss):
    whole = options['readout'] == 'mean'
    return cases.jit(jax.value_and_grad(loss, has_aux=True) if whole else loss)

  expected, run = derive(single)(params), derive(both)
  padding = np.arange(T)[:, None] >= np.array(lengths)[:, None, None]
  for garbage in (0.0, 1e30):
    close(run(params, np.where(padding, garbage, x)), expected)


def test_patches_are_squares_row_by_row():
  images = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
  patches, columns = transformer.cut(images, 2)
  assert (patches.shape, columns) == ((2, 6, 2, 2, 3), 3)
  for index in range(6):
    row, column = divmod(index, 3)
    expected = images[:, 2 * row :][:, :2, 2 * column :][:, :, :2]
    np.testing.assert_array_equal(patches[:, index], expected)


def test_patches_behind_the_end_of_a_recording_change_nothing(double):
  """Oracle: the same image, cut where it ends."""
  task = {'shape': (6, 4, 1), 'outputs': 3, 'every': False}
  module, x = make(task, patch=2), features(6, 4, 1)
  params = parameters(module, x)
  fouled = np.where(np.arange(6)[:, None, None] >= 4, 1e30, x)
  found = answer(module, params, fouled, lengths=jnp.asarray([4, 4]))
  close(found, answer(module, params, x[:, :4]))


def test_an_encoder_without_positions_knows_no_order(double):
  """Until positions are added: then it does."""
  order = np.random.default_rng(3).permutation(T)
  x = features(T, 3)
  for positions in ('none', 'learned', 'sinusoidal', 'rotary'):
    module = make(ENCODER, positions=positions, layers=1)
    params = parameters(module, x)
    one, two = answer(module, params, x), answer(module, params, x[:, order])
    apart = np.abs(one - two).max()
    assert apart < 1e-9 if positions == 'none' else apart > 1e-3, positions


# Initial values, dropout, cost


def test_initial_values():
  module = make(tied=True, positions='learned', width=64, heads=4, layers=4)
  x = symbols()
  init = lambda: module.init(jax.random.key(0), x, train=False, hyper=hyper())
  params = cases.jit(init)()['params']
  for name, fan, layers in (
    ('output', 64, 8), ('value', 64, 1), ('query', 64, 1), ('key', 64, 1),
  ):  # fmt: skip
    kernel = params['layer3']['attention'][name]['kernel']
    assert float(jnp.var(kernel)) == pytest.approx(1 / fan / layers, rel=0.1), name
  assert float(jnp.var(params['layer3']['mlp']['down']['kernel'])) == pytest.approx(
    1 / 96 / 8, rel=0.1
  )
  for name in ('embedding', 'positions'):
    assert float(jnp.var(params[name]['kernel'])) == pytest.approx(1 / 64, rel=0.2)
  assert not params['output_bias'].any()
  assert 'output' not in params


def test_dropout_is_at_each_of_its_places(monkeypatch):
  """What each rate reaches, by the shapes of what it drops."""
  dropped = {}

  def drop(x, rate, key):
    dropped.setdefault(rate, []).append(x.shape)
    return x

  def trace(train):
    rngs = {'dropout': jax.random.key(0)}
    numbers = hyper() | {f'model.{name}': rate for name, rate in rates.items()}
    jax.eval_shape(
      lambda x: module.apply(
        {'params': params}, x, train=train, hyper=numbers, rngs=rngs
      ),
      x,
    )

  monkeypatch.setattr(blocks, 'dropout', drop)
  module, x = make(layers=1), symbols()
  params = parameters(module, x)
  rates = {
    'dropout': 0.1, 'dropout_input': 0.2, 'dropout_attention': 0.3, 'dropout_mlp': 0.4,
  }  # fmt: skip
  trace(train=True)
  assert dropped == {
    0.1: [(B, T, W), (B, T, W)],
    0.2: [(B, T, W)],
    0.3: [(B, HEADS, T, T)],
    0.4: [(B, T, int(1.5 * W))],
  }
  dropped.clear()
  trace(train=False)
  assert not dropped


def test_attentions_dropout_draws_for_every_layer_and_chunk():
  module, x = make(chunk=2, mixer='average', positions='none', layers=2), symbols(8)
  params = parameters(module, x)
  numbers = hyper(dropout_attention=0.5)
  one, same, other = (
    answer(module, params, x, train=True, key=key, numbers=numbers) for key in (0, 0, 1)
  )
  np.testing.assert_array_equal(one, same)
  assert (np.abs(one - other).max(-1) > 0).mean() > 0.9


def closed_form(o, steps, outputs):
  """FLOPs of a decoder's forward pass."""
  width, hidden = o['width'], round(o['mlp_ratio'] * o['width'])
  kernels = {'attention': 4, 'average': 2, 'mingru': 3, 'minlstm': 4, 'none': 0}
  products = {'attention': 2, 'average': 1}.get(o['mixer'], 0) * steps * width
  mlp = {'dense': 2, 'gated': 3, 'none': 0}[o['mlp']] * width * hidden
  layers = o['layers'] * (kernels[o['mixer']] * width**2 + products + mlp)
  return 2 * B * steps * (layers + width * outputs)


@pytest.mark.parametrize(
  'options',
  [{}, {'mixer': 'average'}, {'mixer': 'none', 'mlp': 'gated'}, {'mixer': 'minlstm'},
   {'span': 3, 'chunk': 2, 'tied': True}, {'heads': 4, 'mlp': 'none'}],
  ids=str,
)  # fmt: skip
def test_flops_are_the_closed_form(options):
  """All pairs are counted, whatever a mask hides; backward is twice forward."""
  module, x = make(**options), symbols(8)
  params = parameters(module, x)
  o = {**options_lib.defaults(family), **SIZES, **options}
  forward = lambda params: answer(module, params, x)
  step = jax.grad(lambda params: jnp.sin(forward(params)).sum())
  expected = closed_form(o, 8, V)
  assert cost.nominal(forward, params) == (expected, False)
  twice = 3 * expected
  if o['mixer'] == 'average':  # whose weights have no gradient
    twice -= 2 * B * 8 * LAYERS * 8 * W
  assert cost.nominal(step, params) == (twice, False)
  if 'chunk' not in options:
    assert cost.executed(step, params) == (twice, False)


def test_flops_are_torchs():
  torch = pytest.importorskip('torch')
  counter = pytest.importorskip('torch.utils.flop_counter')
  module, x = make(**SWIGLU), symbols(8)
  params = jax.tree.map(np.float32, parameters(module, x))
  o = {**options_lib.defaults(family), **SIZES, **SWIGLU}
  copies, places = to_torch(torch, params), torch.tensor(np.asarray(x))
  backend = torch.nn.attention.SDPBackend.MATH
  with (
    torch.nn.attention.sdpa_kernel(backend),
    counter.FlopCounterMode(display=False) as count,
  ):
    run_torch(torch, o, copies, places).sin().sum().backward()
  loss = lambda params: jnp.sin(answer(module, params, x)).sum()
  assert cost.nominal(jax.grad(loss), params).flops == count.get_total_flops()


# Mistakes that need a text


@pytest.mark.parametrize(
  ('options', 'task', 'words'),
  [
    ({'memory': 200}, {}, 'memory=200 is longer than the 100 symbols of the text'),
    ({'memory': 2}, {'history': 0}, 'needs a state that is carried: task.carry and'),
    ({'span': 9}, {}, 'span=9 is more than there is to see: 7 positions; use 0'),
    ({'span': 12, 'memory': 4}, {}, '7 positions and a memory of 4; use 0 for all'),
    ({'memory': 4, 'positions': 'learned'}, {}, 'positions=learned counts from the'),
    ({'memory': 4, 'mixer': 'none'}, {}, 'with mixer=none nothing is remembered'),
    ({'memory': 4, 'mixer': 'mingru'}, {}, 'memory=4 is for mixer=attention or aver'),
    ({'qk_norm': True, 'mixer': 'minlstm'}, {}, 'does nothing to minlstm; use False'),
    ({'tied': True}, {'outputs': 4}, 'as many outputs as symbols; there are 4 and 5'),
  ],
  ids=str,
)
def test_mistakes_about_windows_are_one_line(options, task, words):
  task = {
    'symbols': V, 'outputs': V, 'every': True, 'length': T, 'history': 100, **task,
  }  # fmt: skip
  with pytest.raises(errors.UserError) as caught:
    make(task, **options)
  assert words in str(caught.value)
  assert '\n' not in str(caught.value)
