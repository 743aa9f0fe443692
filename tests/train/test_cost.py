"""FLOP counts against closed forms and torch's FlopCounterMode."""

import functools
import itertools

import flax.linen as nn
import jax
import pytest
from jax import lax
from jax import numpy as jnp

from dlsteroids.models.ops import attention, convolution, recurrence
from dlsteroids.train import cost


def _shape(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _both(fn, *args):
  """Nominal FLOPs, after checking that the executed ones are equal and known."""
  nominal, executed = cost.nominal(fn, *args), cost.executed(fn, *args)
  assert nominal == executed
  assert not nominal.unknown_loops
  return nominal.flops


def test_dense_is_two_products_per_weight_and_example():
  dense = lambda x, w: x @ w
  assert _both(dense, _shape(32, 64), _shape(64, 10)) == 2 * 32 * 64 * 10
  backward = jax.grad(lambda x, w: jnp.sin(x @ w).sum(), (0, 1))
  assert _both(backward, _shape(32, 64), _shape(64, 10)) == 6 * 32 * 64 * 10
  batched = lambda x, w: jnp.einsum('shf,sfk->shk', x, w)
  assert _both(batched, _shape(3, 5, 7), _shape(3, 7, 11)) == 2 * 3 * 5 * 7 * 11


def test_the_examples_of_the_definitions():
  same = functools.partial(convolution.conv, padding='SAME')
  assert _both(same, _shape(1, 8, 8, 4), _shape(3, 3, 4, 4)) == 18_432
  wide = functools.partial(
    lax.conv_transpose, strides=(2, 2), padding='SAME'
  )  # 8 x 8 to 16 x 16, 4 x 4 taps
  assert _both(wide, _shape(1, 8, 8, 4), _shape(4, 4, 4, 4)) == 32_768


def test_loops_count_their_length():
  step = lambda w: lambda c, x: (jnp.tanh(x @ w + c), None)
  scan = lambda xs, w: lax.scan(step(w), jnp.zeros((2, 4)), xs)[0]
  assert _both(scan, _shape(7, 2, 3), _shape(3, 4)) == 7 * 2 * 2 * 3 * 4
  nested = lambda xs, w: lax.map(lambda x: scan(x, w), xs)
  assert _both(nested, _shape(5, 7, 2, 3), _shape(3, 4)) == 5 * 7 * 2 * 2 * 3 * 4
  mapped = lambda xs, k: lax.map(lambda x: convolution.conv(x, k), xs)
  one = _both(convolution.conv, _shape(2, 8, 8, 3), _shape(3, 3, 3, 5))
  assert _both(mapped, _shape(6, 2, 8, 8, 3), _shape(3, 3, 3, 5)) == 6 * one
  fixed = lambda x, w: lax.fori_loop(0, 9, lambda i, x: x @ w, x)
  assert _both(fixed, _shape(2, 4), _shape(4, 4)) == 9 * 2 * 2 * 4 * 4


def test_a_loop_of_unknown_length_is_told():
  def search(x, w):
    return lax.while_loop(lambda x: x.sum() < 1, lambda x: x @ w, x)

  assert cost.nominal(search, _shape(2, 4), _shape(4, 4)) == (2 * 2 * 4 * 4, True)
  idle = lambda x: lax.while_loop(lambda x: x.sum() < 1, lambda x: x * 2, x)
  assert cost.nominal(idle, _shape(2, 4)) == (0, False)
  within = lambda xs, w: lax.map(lambda x: search(x, w), xs)
  assert cost.nominal(within, _shape(3, 2, 4), _shape(4, 4)) == (3 * 64, True)


def test_a_conditional_counts_its_costliest_branch():
  pick = lambda i, x, w: lax.switch(i, [lambda x: x, lambda x: x @ w @ w, jnp.sin], x)
  index = jax.ShapeDtypeStruct((), jnp.int32)
  assert _both(pick, index, _shape(2, 4), _shape(4, 4)) == 2 * 2 * 2 * 4 * 4


def test_calls_are_looked_into():
  relu = jax.nn.relu  # a custom_jvp inside a jit
  net = jax.jit(lambda x, w: relu(jax.checkpoint(lambda x: relu(x @ w))(x) @ w))
  assert _both(net, _shape(2, 4), _shape(4, 4)) == 2 * 64
  mesh = jax.make_mesh((1,), ('member',), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec('member')
  shard = jax.shard_map(
    lambda x: jnp.einsum('sij,sjk->sik', x, x), mesh=mesh, in_specs=spec, out_specs=spec
  )
  assert _both(shard, _shape(3, 4, 4)) == 3 * 128


def test_an_lstm_is_eight_products_per_step():
  batch, steps, inputs, units = 3, 7, 5, 4
  cell = nn.RNN(nn.LSTMCell(units))
  variables = cell.init(jax.random.key(0), jnp.zeros((batch, steps, inputs)))
  expected = steps * batch * 2 * 4 * units * (inputs + units)
  assert _both(cell.apply, variables, _shape(batch, steps, inputs)) == expected


@pytest.mark.parametrize('groups', [1, 2])
def test_vmap_changes_no_count(groups):
  def slopes(x, kernel):
    loss = lambda x, k: jnp.sin(
      convolution.conv(x, k, strides=(2, 1), groups=groups)
    ).sum()
    return jax.grad(loss, (0, 1))(x, kernel)

  one = _both(slopes, _shape(2, 8, 8, 4), _shape(3, 3, 4 // groups, 6))
  own = jax.vmap(slopes), _shape(3, 2, 8, 8, 4), _shape(3, 3, 3, 4 // groups, 6)
  shared = jax.vmap(slopes, (None, 0)), _shape(2, 8, 8, 4), own[2]
  assert _both(*own) == 3 * one
  assert _both(*shared) == 3 * one


def test_unshared_weights_count_as_the_convolution_of_their_size():
  local = functools.partial(convolution.local_conv, window=(3, 3))
  conv = functools.partial(convolution.conv, padding='VALID')
  unshared = _both(local, _shape(2, 8, 8, 3), _shape(6, 6, 27, 5))
  assert unshared == _both(conv, _shape(2, 8, 8, 3), _shape(3, 3, 3, 5))


def _torch_counts(forward, *shapes):
  """FLOPs of forward, and of forward with the backward by every tensor."""
  torch = pytest.importorskip('torch')
  counter = pytest.importorskip('torch.utils.flop_counter')
  tensors = [torch.zeros(shape).requires_grad_() for shape in shapes]
  with counter.FlopCounterMode(display=False) as only:
    out = forward(*tensors)
  with counter.FlopCounterMode(display=False) as both:
    (forward(*tensors) ** 2).sum().backward()
  assert out.numel() > 0
  return only.get_total_flops(), both.get_total_flops()


def _counts(forward, *shapes):
  args = [_shape(*shape) for shape in shapes]
  loss = lambda *args: (forward(*args) ** 2).sum()
  backward = jax.grad(loss, tuple(range(len(args))))
  return _both(forward, *args), _both(backward, *args)


CONVOLUTIONS = list(
  itertools.product(
    [(8, 8), (9, 7), (2, 2), (1, 5)],
    [1, 2, 3, 5],
    [1, 2, 3],
    [(1, 4), (2, 4), (6, 12)],
    ['SAME', 'VALID'],
  )
)[::5]  # 5 divides no number of values: every pair of values occurs


@pytest.mark.parametrize(
  ('size', 'window', 'stride', 'channels', 'padding'), CONVOLUTIONS, ids=str
)
def test_convolutions_count_as_torchs(size, window, stride, channels, padding):
  torch = pytest.importorskip('torch')
  groups, units = channels
  if padding == 'VALID' and min(size) < window:
    pytest.skip('the window does not fit')
  pads = lax.padtype_to_pads(size, (window,) * 2, (stride,) * 2, padding)
  (top, bottom), (left, right) = pads

  def forward(x, kernel):
    # Padding the images first would make dX larger; symmetric padding is torch's own,
    # and for the count only the size of the output matters.
    convolve = functools.partial(
      torch.nn.functional.conv2d, stride=stride, groups=groups
    )
    if (top, left) == (bottom, right):
      return convolve(x, kernel, padding=(top, left))
    return convolve(torch.nn.functional.pad(x, (left, right, top, bottom)), kernel)

  ours = functools.partial(
    convolution.conv, strides=(stride, stride), padding=padding, groups=groups
  )
  expected = _torch_counts(forward, (2, 6, *size), (units, 6 // groups, window, window))
  found = _counts(ours, (2, *size, 6), (window, window, 6 // groups, units))
  # Forward, dX and dW are equal; torch's dW forgets that groups divide the channels.
  assert expected[1] == (2 + groups) * expected[0]
  assert found == (expected[0], 3 * expected[0])


@pytest.mark.parametrize(
  ('size', 'window', 'stride', 'pad'),
  [((8, 8), 4, 2, 1), ((1, 1), 4, 1, 0), ((5, 6), 3, 2, 1), ((7, 7), 3, 1, 1)],
)
def test_transposed_convolutions_count_as_torchs(size, window, stride, pad):
  torch = pytest.importorskip('torch')
  theirs = functools.partial(
    torch.nn.functional.conv_transpose2d, stride=stride, padding=pad
  )
  expected = _torch_counts(theirs, (2, 6, *size), (6, 4, window, window))
  side = (window - 1 - pad, window - 1 - pad)
  ours = functools.partial(
    lax.conv_transpose, strides=(stride, stride), padding=(side, side)
  )
  assert _counts(ours, (2, *size, 6), (window, window, 6, 4)) == expected


class _Net(nn.Module):
  """A small CNN, or an MLP if it has no kernels."""

  kernels: tuple[int, ...]

  @nn.compact
  def __call__(self, x):
    for index, units in enumerate(self.kernels):
      kernel = self.param(
        f'kernel_{index}', nn.initializers.zeros, (3, 3, x.shape[3], units)
      )
      x = convolution.max_pool(nn.relu(convolution.conv(x, kernel)), (2, 2))
    x = nn.relu(nn.Dense(32, name='hidden')(x.reshape(x.shape[0], -1)))
    return nn.Dense(10, name='head')(x)


@pytest.mark.parametrize('kernels', [(), (8,), (8, 16)])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_a_train_step_counts_as_torchs(kernels, channels):
  torch = pytest.importorskip('torch')
  counter = pytest.importorskip('torch.utils.flop_counter')
  side, layers, inputs = 12, [], channels
  for units in kernels:
    layers += [torch.nn.Conv2d(inputs, units, 3, padding=1), torch.nn.ReLU()]
    layers += [torch.nn.MaxPool2d(2)]
    side, inputs = side // 2, units
  layers += [torch.nn.Flatten(), torch.nn.Linear(side * side * inputs, 32)]
  net = torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Linear(32, 10))
  with counter.FlopCounterMode(display=False) as expected:
    (net(torch.zeros(5, channels, 12, 12)) ** 2).sum().backward()

  module = _Net(kernels)
  images = _shape(5, 12, 12, channels)
  variables = jax.eval_shape(module.init, jax.random.key(0), images)
  step = jax.grad(lambda v, x: (module.apply(v, x) ** 2).sum())
  assert _both(step, variables, images) == expected.get_total_flops()
  epoch = lambda v, xs: lax.scan(lambda v, x: (step(v, x), None), v, xs)[0]
  many = _shape(9, 5, 12, 12, channels)
  assert _both(epoch, variables, many) == 9 * expected.get_total_flops()


def test_a_gradient_penalty_counts_alike_in_both_formulations():
  def penalty(kernel, x):
    slope = jax.grad(
      lambda x: jnp.sin(convolution.conv(x, kernel, strides=(2, 2))).sum()
    )(x)
    return (slope**2).sum()

  found = _both(jax.grad(penalty), _shape(4, 4, 5, 6), _shape(2, 9, 9, 5))
  one = 2 * 2 * 5 * 5 * 16 * 5 * 6  # a convolution to 5 x 5
  assert found == 5 * one  # y and its dX; of dX the kernel and dy; of y the kernel


@pytest.mark.parametrize('inputs', [1, 3, 4])
@pytest.mark.parametrize('stride', [1, 2])
def test_products_that_the_plain_form_lacks_are_marked(inputs, stride):
  """Full padding: patches are multiplied at more places than there are pixels."""

  def slopes(x, kernel, pad):
    loss = lambda x, k: jnp.sin(
      convolution.conv(x, k, strides=(stride, stride), padding=((pad, pad),) * 2)
    ).sum()
    return jax.grad(loss, (0, 1))(x, kernel)

  marks = []
  for pad, window in itertools.product(range(3), (3, 5)):
    args = _shape(2, 6, 6, inputs), _shape(window, window, inputs, 8)
    fn = functools.partial(slopes, pad=pad)
    marks.append(not cost.runs_plainly(jax.make_jaxpr(fn)(*args)))
    assert marks[-1] == (cost.nominal(fn, *args) != cost.executed(fn, *args))
  assert any(marks) == (stride == 1)
  assert not all(marks)


def test_recurrences_and_attention_in_pieces_are_marked():
  def recur(kernel, x):
    form = recurrence.Form(lambda _, carry, x: (jnp.tanh(x),))
    inputs = recurrence.Inputs(x, None, None)
    return recurrence.recur(form, {}, kernel, inputs, (jnp.zeros((2, 4)),))[0].sum()

  def attend(x, chunk):
    form = attention.Form(causal=True, chunk=chunk)
    return attention.attend(form, attention.Inputs(x, x, x), 6).sum()

  marked = lambda fn, *args: not cost.runs_plainly(jax.make_jaxpr(jax.grad(fn))(*args))
  assert marked(recur, _shape(4, 4), _shape(5, 2, 4))
  assert marked(functools.partial(attend, chunk=2), _shape(2, 6, 1, 4))
  assert not marked(functools.partial(attend, chunk=6), _shape(2, 6, 1, 4))


def test_nothing_is_computed():
  huge = _shape(10**6, 10**6)
  assert _both(jnp.matmul, huge, huge) == 2e18


def test_ragged_products_count_each_row_with_one_group():
  rows, groups, sizes = jnp.ones((8, 4)), jnp.ones((3, 4, 5)), jnp.array([2, 3, 3])
  dot = lambda x, g: jax.lax.ragged_dot(x, g, sizes)
  once = 2.0 * 8 * 4 * 5
  assert cost.executed(dot, rows, groups) == cost.Flops(once, False)
  slopes = jax.grad(lambda x, g: dot(x, g).sum(), (0, 1))
  assert cost.executed(slopes, rows, groups).flops == 3 * once


def test_callbacks_are_flagged_and_solves_count_what_runs():
  x, shape = jnp.ones(3), jax.ShapeDtypeStruct((3,), jnp.float32)
  call = lambda x: jax.pure_callback(lambda y: y, shape, x)
  assert cost.executed(call, x).unknown_loops
  # A factorisation and two triangular solves, which are excluded; nothing else runs.
  assert cost.executed(jnp.linalg.solve, jnp.eye(6), jnp.ones((6, 2))).flops == 0
  assert cost.executed(jnp.fft.fft, jnp.ones(8)).flops == 0
