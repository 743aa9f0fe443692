"""Transposed convolution against torch, lax and flax, in value and every derivative."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

from dlsteroids.models.ops import convolution, transposed_convolution
from dlsteroids.train import cost
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')
# image size, channels in and out, window, strides, padding
CASES = [
  ((4, 4), 3, 5, (4, 4), (2, 2), 'SAME'),  # DCGAN's
  ((4, 3), 3, 2, (5, 5), (2, 2), 'SAME'),
  ((3, 4), 4, 6, (5, 5), (2, 2), ((2, 3), (2, 3))),  # torch's (5, 2, 2, 1)
  ((3, 3), 2, 5, (3, 3), (2, 2), ((1, 2), (1, 2))),  # CycleGAN's
  ((3, 4), 2, 3, (3, 2), (2, 3), 'SAME'),  # a kernel smaller than one stride
  ((3, 3), 2, 5, (1, 1), (2, 2), 'SAME'),  # phases without taps
  ((2, 3), 2, 3, (1, 2), (3, 3), 'VALID'),
  ((3, 2), 3, 5, (5, 3), (2, 2), 'VALID'),
  ((4, 3), 3, 3, (3, 5), (3, 2), 'VALID'),
  ((4, 4), 2, 5, (4, 4), (1, 1), 'SAME'),  # even, without strides
  ((4, 5), 2, 5, (3, 3), (2, 3), ((-1, 1), (0, -2))),  # cropped
  ((4, 3), 2, 1, (3, 3), (2, 2), ((-2, 4), (0, 3))),
  ((1, 1), 4, 5, (4, 4), (2, 2), 'SAME'),
]
# kernel, stride, padding and output_padding of torch.nn.ConvTranspose2d
TORCH = [(4, 2, 1, 0), (5, 2, 2, 1), (3, 2, 1, 1), (2, 3, 0, 1), (6, 3, 2, 1)]


def draw(*shapes, dtype=np.float64):
  generator = np.random.default_rng(0)
  return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def draw_case(case, dtype=np.float64):
  size, inputs, units, window, _, _ = case
  return draw((2, *size, inputs), (*window, inputs, units), dtype=dtype)


def make(case):
  *_, strides, padding = case
  return functools.partial(
    transposed_convolution.conv_transpose, strides=strides, padding=padding
  )


def close(found, expected, relative):
  scale = np.abs(expected).max()
  np.testing.assert_allclose(found, expected, rtol=relative, atol=relative * scale)


@pytest.mark.parametrize(
  ('case', 'x64', 'relative'),
  [*((case, True, 1e-12) for case in CASES), *((c, False, 1e-5) for c in CASES[:3])],
  ids=str,
)
def test_values_are_laxs(case, x64, relative):
  with jax.enable_x64(x64):
    x, kernel = draw_case(case, np.float64 if x64 else np.float32)
    found = cases.jit(make(case))(x, kernel)
    assert found.dtype == x.dtype
    close(found, np.asarray(lax.conv_transpose(x, kernel, *case[4:])), relative)


@pytest.mark.parametrize(('size', 'stride'), [(4, 2), (5, 2), (3, 2), (2, 3), (4, 1)])
def test_same_is_flaxs(size, stride):
  x, kernel = draw((2, 4, 5, 3), (size, size, 3, 6), dtype=np.float32)
  layer = nn.ConvTranspose(6, (size, size), (stride, stride), use_bias=False)
  expected = layer.apply({'params': {'kernel': kernel}}, x)
  found = transposed_convolution.conv_transpose(x, kernel, strides=(stride, stride))
  assert found.shape == (2, 4 * stride, 5 * stride, 6)
  close(found, np.asarray(expected), 1e-5)


def value_and_slopes(x, kernel, options):
  """Of sum(sin(y)): y, both gradients, and both of the sum of those squared."""
  torch = pytest.importorskip('torch')
  _, stride, edge, more = options
  image = torch.tensor(x).requires_grad_()
  weight = torch.tensor(kernel).requires_grad_()
  out = torch.nn.functional.conv_transpose2d(
    image.permute(0, 3, 1, 2),
    weight.flip(0, 1).permute(2, 3, 0, 1),
    stride=stride,
    padding=edge,
    output_padding=more,
  ).permute(0, 2, 3, 1)
  first = torch.autograd.grad(out.sin().sum(), (image, weight), create_graph=True)
  total = sum((slope**2).sum() for slope in first)
  second = torch.autograd.grad(total, (image, weight))
  return [item.detach().numpy() for item in (out, *first, *second)]


@pytest.mark.parametrize(
  ('options', 'units'), [*zip(TORCH, (6, 3, 6, 3, 6)), (TORCH[0], 1)]
)
def test_torchs_with_the_kernel_turned(options, units):
  """Values, first and second derivatives, the derivatives inside a scan."""
  size, stride, edge, more = options
  low = size - 1 - edge
  padding = ((low, low + more),) * 2
  x, kernel = draw((2, 3, 4, 2), (size, size, 2, units))
  grow = functools.partial(
    transposed_convolution.conv_transpose, strides=(stride, stride), padding=padding
  )
  slopes = jax.grad(lambda x, k: jnp.sin(grow(x, k)).sum(), (0, 1))
  bends = jax.grad(lambda *a: sum((s**2).sum() for s in slopes(*a)), (0, 1))

  @cases.jit
  def run(x, kernel):
    def body(carry, _):
      return carry, (grow(*carry), *slopes(*carry), *bends(*carry))

    return lax.scan(body, (x, kernel), None, 2)[1]

  with jax.enable_x64(True):
    found = run(x, kernel)
  for a, b in zip(found, value_and_slopes(x, kernel, options)):
    close(a[1], b, 1e-9)


def bend(op, x, kernel):
  """A loss of a gradient by the images, over a scan: a gradient penalty's shape."""

  def step(total, image):
    slope = jax.grad(lambda v: jnp.sin(op(v, kernel)).sum())(image)
    return total + (slope**2).sum() + jnp.cos(op(slope, kernel)).sum(), None

  return lax.scan(step, 0.0, x)[0]


# Others are torch's, above.
@pytest.mark.parametrize('case', [CASES[i] for i in (4, 7, 10)], ids=str)
def test_second_derivatives_in_a_scan_are_the_plain_ones(case):
  derive = jax.grad(functools.partial(bend, make(case)), (0, 1))
  with jax.enable_x64(True):
    x, kernel = draw_case(case)
    x = np.stack([x, 2 * x])
    found = cases.jit(derive)(x, kernel)
    with convolution.plain():
      expected = cases.jit(derive)(x, kernel)
  for a, b in zip(found, expected):
    assert np.abs(b).max() > 0
    close(a, np.asarray(b), 1e-9)


@pytest.mark.parametrize('units', [3, 6])
def test_no_order_of_derivative_spreads_an_image(units):
  """Spread images are what XLA:CPU is slow at. Oracle: the jaxpr."""
  case = ((4, 4), 3, units, (4, 4), (2, 2), 'SAME')
  x, kernel = draw_case(case, np.float32)
  derive = jax.grad(functools.partial(bend, make(case)), (0, 1))
  third = jax.grad(lambda *a: sum((g**2).sum() for g in derive(*a)), (0, 1))
  for order in (derive, third):
    text = str(jax.make_jaxpr(order)(x[None], kernel))
    assert 'hs_dilation=(2, 2)' not in text
    assert ('conv_general_dilated' in text) == (units > 4)
  for form in (convolution.plain, convolution.native):
    with form():
      text = str(jax.make_jaxpr(make(case))(x, kernel))
    assert text.count('conv_general_dilated') == 1
    assert 'lhs_dilation=(2, 2)' in text


@pytest.mark.parametrize('units', [3, 6])
@pytest.mark.parametrize('options', TORCH, ids=str)
def test_flops_are_torchs_in_either_form(options, units):
  torch = pytest.importorskip('torch')
  counter = pytest.importorskip('torch.utils.flop_counter')
  size, stride, edge, more = options
  low = size - 1 - edge
  grow = functools.partial(
    transposed_convolution.conv_transpose,
    strides=(stride, stride),
    padding=((low, low + more),) * 2,
  )
  arrays = [
    jax.ShapeDtypeStruct(shape, jnp.float32)
    for shape in ((2, 8, 8, 3), (size, size, 3, units))
  ]
  tensors = torch.zeros(2, 3, 8, 8), torch.zeros(3, units, size, size)
  tensors = [tensor.requires_grad_() for tensor in tensors]
  both = jax.grad(lambda *a: (grow(*a) ** 2).sum(), (0, 1))
  for function in (grow, both):
    with counter.FlopCounterMode(display=False) as seen:
      out = torch.nn.functional.conv_transpose2d(
        *tensors, stride=stride, padding=edge, output_padding=more
      )
      if function is both:
        (out**2).sum().backward()
    assert cost.nominal(function, *arrays).flops == seen.get_total_flops()
  if size % stride == 0:  # else the phases are not alike
    assert cost.executed(grow, *arrays) == cost.nominal(grow, *arrays)


def test_members_with_their_own_kernels_under_vmap():
  case = CASES[0]
  x, kernel = draw_case(case, np.float32)
  kernels = np.stack([kernel, 2 * kernel, kernel - 1])
  slope = jax.grad(lambda x, k: jnp.sin(make(case)(x, k)).sum(), (0, 1))
  found = cases.jit(jax.vmap(slope, (None, 0)))(x, kernels)
  alone = cases.jit(slope)
  for at, own in enumerate(kernels):
    for a, b in zip(found, alone(x, own)):
      close(a[at], np.asarray(b), 1e-4)


@pytest.mark.parametrize('units', [3, 6])
def test_bfloat16_stays_bfloat16(units):
  case = ((4, 4), 3, units, (5, 5), (2, 2), 'SAME')
  x, kernel = draw_case(case, np.float32)
  loss = lambda x, k: (make(case)(x, k).astype(jnp.float32) ** 2).sum()
  run = cases.jit(lambda x, k: (make(case)(x, k), *jax.grad(loss, (0, 1))(x, k)))
  half = jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16)
  for a, b in zip(run(*half), run(x, kernel)):
    assert a.dtype == jnp.bfloat16
    assert np.abs(np.asarray(a, np.float32) - b).max() < 0.06 * np.abs(b).max()


@pytest.mark.parametrize(
  ('call', 'words'),
  [
    (lambda grow, x, k: grow(x[0], k), 'takes x'),
    (lambda grow, x, k: grow(x[..., :1], k), 'takes x'),
    (lambda grow, x, k: grow(x, k, strides=(0, 2)), 'strides'),
    (lambda grow, x, k: grow(x, k, padding='FULL'), "'FULL'"),
    (lambda grow, x, k: grow(x, k, padding=((1, 1),)), 'a pair for H and one for W'),
    (lambda grow, x, k: grow(x, k, padding=((-9, 0), (0, 0))), 'does not fit'),
  ],
)
def test_what_does_not_fit_raises(call, words):
  x, kernel = draw((2, 3, 3, 2), (3, 3, 2, 4), dtype=np.float32)
  grow = functools.partial(transposed_convolution.conv_transpose, strides=(2, 2))
  with pytest.raises(ValueError, match=words):
    call(lambda *a, **k: grow(*a, **k), x, kernel)
