"""Convolution against torch and its plain form, and the plain switch."""

import functools

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

from dlsteroids.models.ops import convolution
from tests.fixtures import model_cases as cases

pytestmark = pytest.mark.usefixtures('quick')

# image size, channels in and out, window, strides, padding, groups, dilation
CONVS = [
  ((8, 8), 3, 4, (3, 3), (1, 1), 'SAME', 1, (1, 1)),
  ((7, 6), 4, 6, (3, 2), (2, 2), 'SAME', 1, (1, 1)),
  ((9, 8), 5, 4, (3, 3), (2, 3), 'VALID', 1, (1, 1)),  # strides do not divide
  ((8, 8), 1, 16, (5, 5), (1, 1), 'SAME', 1, (1, 1)),  # planes
  ((9, 8), 1, 16, (3, 3), (2, 1), ((2, 0), (1, 3)), 1, (1, 1)),
  ((9, 7), 3, 4, (3, 3), (2, 2), ((0, 1), (2, 0)), 1, (1, 1)),  # a product per tap
  ((8, 8), 2, 3, (3, 3), (1, 1), 'SAME', 1, (2, 2)),
  ((8, 9), 4, 3, (3, 2), (2, 1), ((1, 2), (0, 3)), 1, (1, 2)),
  ((8, 8), 4, 6, (3, 3), (1, 1), 'SAME', 2, (1, 1)),
  ((8, 8), 4, 8, (3, 3), (2, 2), 'VALID', 4, (1, 1)),
  ((6, 6), 6, 6, (3, 3), (1, 1), 'SAME', 6, (1, 1)),  # depthwise
  ((2, 2), 4, 4, (3, 3), (1, 1), 'SAME', 1, (1, 1)),  # the window exceeds the image
  ((4, 4), 4, 4, (1, 1), (2, 2), 'SAME', 1, (1, 1)),  # strides exceed the window
  ((4, 4), 4, 4, (2, 2), (1, 1), ((3, 2), (2, 3)), 1, (1, 1)),  # padded beyond
  ((24, 25), 16, 4, (3, 3), (1, 1), 'SAME', 1, (1, 1)),  # in pieces of the batch
  ((7, 6), 32, 4, (3, 2), (2, 2), 'VALID', 2, (1, 1)),
]
PIECES = 16  # a batch of two pieces


def _draw(*shapes, dtype=np.float32):
  generator = np.random.default_rng(0)
  return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def _make_conv(case):
  _, _, _, _, strides, padding, groups, dilation = case
  return functools.partial(
    convolution.conv, strides=strides, padding=padding, groups=groups, dilation=dilation
  )


def _draw_conv(case, batch=None, dtype=np.float32):
  size, inputs, units, window, _, _, groups, _ = case
  batch = batch or (PIECES if inputs >= 16 else 2)
  return _draw((batch, *size, inputs), (*window, inputs // groups, units), dtype=dtype)


def _torch_conv(case, x, kernel):
  """Value and gradients of sum(sin(conv)) by torch, in float64."""
  torch = pytest.importorskip('torch')
  _, _, _, window, strides, padding, groups, dilation = case
  size = x.shape[1:3]
  if isinstance(padding, str):
    reach = [(m - 1) * r + 1 for m, r in zip(window, dilation)]
    padding = lax.padtype_to_pads(size, reach, strides, padding)
  image = torch.tensor(x, dtype=torch.float64).requires_grad_()
  weight = torch.tensor(kernel, dtype=torch.float64).requires_grad_()
  (top, bottom), (left, right) = padding
  padded = torch.nn.functional.pad(
    image.permute(0, 3, 1, 2), (left, right, top, bottom)
  )
  out = torch.nn.functional.conv2d(
    padded,
    weight.permute(3, 2, 0, 1),
    stride=strides,
    groups=groups,
    dilation=dilation,
  ).permute(0, 2, 3, 1)
  out.sin().sum().backward()
  return out.detach().numpy(), image.grad.numpy(), weight.grad.numpy()


def _close(found, expected, relative):
  scale = max(np.abs(expected).max(), 1e-300)
  np.testing.assert_allclose(
    np.asarray(found, np.float64), expected, rtol=relative, atol=relative * scale
  )


def test_the_kernel_gradient_of_many_channels_runs_in_pieces():
  """Else the cases above would not test them. Oracle: the lowered program's loops."""
  for case, pieces in ((CONVS[0], False), (CONVS[-2], True)):
    x, kernel = _draw_conv(case)
    gradient = jax.grad(lambda k, x=x, case=case: _make_conv(case)(x, k).sum())
    text = jax.jit(gradient).lower(kernel).as_text()
    assert ('stablehlo.while' in text) == pieces


@pytest.mark.parametrize('case', CONVS, ids=str)
@pytest.mark.parametrize(('x64', 'relative'), [(True, 1e-9), (False, 1e-4)])
def test_conv_is_torchs_in_value_and_gradient(case, x64, relative):
  with jax.enable_x64(x64):
    x, kernel = _draw_conv(case, dtype=np.float64 if x64 else np.float32)
    conv = _make_conv(case)
    loss = lambda x, kernel: jnp.sin(conv(x, kernel)).sum()
    found = cases.jit(lambda *x: (conv(*x), *jax.grad(loss, (0, 1))(*x)))(x, kernel)
  for a, b in zip(found, _torch_conv(case, x, kernel)):
    assert a.dtype == x.dtype
    _close(a, b, relative)


def _penalty(op, x, kernel):
  """A loss of a gradient by the images, over a scan: WGAN-GP's shape."""

  def step(total, image):
    slope = jax.grad(lambda v: jnp.sin(op(v, kernel)).sum())(image)
    return total + (slope**2).sum() + jnp.cos(op(slope, kernel)).sum(), None

  return lax.scan(step, 0.0, x)[0]


@pytest.mark.parametrize('case', CONVS, ids=str)
def test_second_derivatives_in_a_scan_are_the_plain_ones(case):
  second = jax.grad(functools.partial(_penalty, _make_conv(case)), (0, 1))
  _compare_with_plain(second, case)


FEW_PRODUCTS = [  # these go as one product of patches
  ((8, 7), 1, 8, (3, 3), (1, 1), 'SAME', 1, (1, 1)),
  ((7, 8), 3, 16, (3, 2), (1, 1), ((0, 2), (3, 1)), 1, (2, 1)),
  ((6, 6), 4, 16, (2, 2), (1, 1), 'VALID', 2, (1, 1)),
]


@pytest.mark.parametrize('case', FEW_PRODUCTS, ids=str)
def test_a_product_of_patches_is_the_convolution(case):
  """Oracles: torch in value and gradient, autodiff's second derivatives."""
  x, kernel = _draw_conv(case)
  text = jax.jit(_make_conv(case)).lower(x, kernel).as_text()
  assert 'stablehlo.convolution' not in text
  for x64, relative in ((True, 1e-9), (False, 1e-4)):
    test_conv_is_torchs_in_value_and_gradient(case, x64, relative)
  test_second_derivatives_in_a_scan_are_the_plain_ones(case)


@pytest.mark.parametrize('inputs', [1, 3, 16])
def test_every_form_is_autodiffs_in_float64(inputs):
  geometry = convolution.Geometry(
    (9, 7), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1)
  )
  draws = np.random.default_rng(0)
  with jax.enable_x64(True):
    x = jnp.asarray(draws.normal(size=(16, 9, 7, inputs)))
    kernel = jnp.asarray(draws.normal(size=(3, 3, inputs, 8)))
    convolve = functools.partial(
      jax.lax.conv_general_dilated,
      window_strides=(1, 1),
      padding=geometry.padding,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    y, pull = jax.vjp(lambda kernel: convolve(x, kernel), kernel)
    dy = jnp.asarray(draws.normal(size=y.shape))
    for form in convolution.FORMS.values():
      _close(form(x, kernel, geometry), np.asarray(y), 1e-9)
    for name, form in convolution.KERNEL_GRADIENTS.items():
      if name != 'planes' or inputs == 1:
        _close(form(x, dy, geometry), np.asarray(pull(dy)[0]), 1e-9)


@pytest.mark.parametrize('patches', [False, True])
def test_both_forms_of_a_large_kernel_gradient(patches, monkeypatch):
  """Whichever this version of JAX would take. Oracles: torch, and autodiff."""
  monkeypatch.setattr(convolution, '_PATCHES', patches)
  monkeypatch.setattr(convolution, '_ROWS', 240)  # two pieces, as of the other form
  jax.clear_caches()
  case = CONVS[-2]
  test_conv_is_torchs_in_value_and_gradient(case, True, 1e-9)
  test_second_derivatives_in_a_scan_are_the_plain_ones(case)
  jax.clear_caches()


def test_third_derivatives_in_a_scan_are_the_plain_ones():
  case = CONVS[2]
  second = jax.grad(functools.partial(_penalty, _make_conv(case)), (0, 1))
  third = jax.grad(lambda *a: sum((g**2).sum() for g in second(*a)), (0, 1))
  _compare_with_plain(third, case)


def _compare_with_plain(derive, case):
  with jax.enable_x64(True):
    x, kernel = _draw_conv(case, dtype=np.float64)
    x = np.stack([x, 2 * x])
    found = cases.jit(derive)(x, kernel)
    with convolution.plain():
      expected = cases.jit(derive)(x, kernel)
    for a, b in zip(found, expected):
      assert np.abs(b).max() > 0
      _close(a, np.asarray(b), 1e-9)


def test_members_with_their_own_kernels_under_vmap_map_and_remat():
  with jax.enable_x64(True):
    x, kernel = _draw((3, 2, 8, 8, 3), (3, 3, 3, 3, 4), dtype=np.float64)
    grad = jax.grad(lambda x, k: jnp.sin(convolution.conv(x, k)).sum(), (0, 1))
    expected = [grad(a, k) for a, k in zip(x, kernel)]
    remat = jax.grad(
      lambda x, k: jax.checkpoint(lambda *a: jnp.sin(convolution.conv(*a)).sum())(x, k),
      (0, 1),
    )
    for found in (
      jax.vmap(grad)(x, kernel),
      lax.map(lambda pair: grad(*pair), (x, kernel)),
      jax.vmap(remat)(x, kernel),
    ):
      for part in range(2):
        _close(found[part], np.stack([e[part] for e in expected]), 1e-9)
    shared = jax.vmap(grad, (None, 0))(x[0], kernel)
    _close(shared[0][1], np.asarray(grad(x[0], kernel[1])[0]), 1e-9)


def test_a_first_layer_computes_no_gradient_of_the_images():
  x, kernel = _draw((4, 2, 8, 8, 4), (3, 3, 4, 4))

  def train(kernel, x):
    def step(kernel, image):
      slope = jax.grad(lambda k: jnp.sin(convolution.conv(image, k)).sum())(kernel)
      return kernel - slope, None

    return lax.scan(step, kernel, x)[0]

  def count(fn, *args):
    return jax.jit(fn).lower(*args).as_text().count('stablehlo.convolution')

  assert count(train, kernel, x) == 2  # forward and dW
  both = jax.grad(lambda k, x: jnp.sin(convolution.conv(x, k)).sum(), (0, 1))
  assert count(both, kernel, x[0]) == 3


def test_plain_reaches_functions_jitted_before_and_allows_forward_mode():
  x, kernel = _draw((2, 6, 6, 2), (3, 3, 2, 4))
  inner = jax.jit(lambda x, k: convolution.max_pool(convolution.conv(x, k), (2, 2)))
  rewritten = str(jax.make_jaxpr(inner)(x, kernel))
  with convolution.plain():
    plain = str(jax.make_jaxpr(inner)(x, kernel))
    value, _ = jax.jvp(inner, (x, kernel), (x, kernel))
  assert 'custom_vjp' in rewritten
  assert 'custom_vjp' not in plain
  assert 'reduce_window' in plain
  assert str(jax.make_jaxpr(inner)(x, kernel)) == rewritten
  _close(value, np.asarray(inner(x, kernel)), 1e-5)


def test_bfloat16_stays_bfloat16():
  x, kernel, local = _draw((2, 8, 8, 3), (3, 3, 3, 4), (6, 6, 27, 4))
  half = lambda *arrays: [jnp.asarray(a, jnp.bfloat16) for a in arrays]

  def net(x, kernel, local):
    wide = convolution.lrn(convolution.max_pool(convolution.conv(x, kernel), (2, 2)))
    far = convolution.avg_pool(
      convolution.local_conv(x, local, window=(3, 3)), (3, 3), (1, 1)
    )
    return wide, far

  loss = lambda *a: sum((v.astype(jnp.float32) ** 2).sum() for v in net(*a))
  both = cases.jit(lambda *a: (*net(*a), *jax.grad(loss, (0, 1, 2))(*a)))
  found = both(*half(x, kernel, local))
  expected = both(x, kernel, local)
  for a, b in zip(found, expected):
    assert a.dtype == jnp.bfloat16
    assert np.abs(np.asarray(a, np.float32) - b).max() < 0.06 * np.abs(b).max()


@pytest.mark.parametrize(
  ('size', 'strides', 'padding'),
  [
    ((6, 5), (1, 1), 'VALID'),
    ((7, 6), (2, 2), 'SAME'),
    ((6, 6), (2, 1), ((1, 0), (2, 1))),
  ],
  ids=str,
)
def test_local_conv_is_a_convolution_per_place(size, strides, padding):
  """Oracle: a hand loop over places; and `ops.conv` when all places share."""
  with jax.enable_x64(True):
    x, kernel = _draw((2, *size, 3), (3, 2, 3, 4), dtype=np.float64)
    shared = np.asarray(convolution.conv(x, kernel, strides=strides, padding=padding))
    places = shared.shape[1:3]
    (own,) = _draw((*places, 18, 4), dtype=np.float64)
    op = functools.partial(
      convolution.local_conv, window=(3, 2), strides=strides, padding=padding
    )
    tiled = np.broadcast_to(kernel.reshape(18, 4), (*places, 18, 4))
    _close(op(x, tiled), shared, 1e-9)
    pads = padding
    if isinstance(padding, str):
      pads = lax.padtype_to_pads(size, (3, 2), strides, padding)
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    expected = np.zeros((2, *places, 4))
    slope = np.zeros_like(own)
    for i in range(places[0]):
      for j in range(places[1]):
        a, b = i * strides[0], j * strides[1]
        patch = padded[:, a : a + 3, b : b + 2].reshape(2, 18)
        expected[:, i, j] = patch @ own[i, j]
        slope[i, j] = patch.T @ np.cos(expected[:, i, j])
    _close(op(x, own), expected, 1e-9)
    _close(jax.grad(lambda k: jnp.sin(op(x, k)).sum())(own), slope, 1e-9)


@pytest.mark.parametrize(
  ('call', 'words'),
  [
    (lambda x, k: convolution.conv(x[0], k), 'takes x'),
    (lambda x, k: convolution.conv(x, k, groups=2), 'in 2 groups'),
    (lambda x, k: convolution.conv(x, k, padding='FULL'), "'FULL'"),
    (lambda x, k: convolution.conv(x, k, strides=(0, 1)), 'strides'),
    (lambda x, k: convolution.conv(x[:, :2], k, padding='VALID'), 'does not fit'),
    (
      lambda x, k: convolution.local_conv(x, k, window=(3, 3)),
      'takes a kernel of shape',
    ),
    (lambda x, k: convolution.max_pool(x, (9, 9)), 'does not fit'),
    (lambda x, k: convolution.max_pool(x.astype(int), (2, 2)), 'floating'),
    (lambda x, k: convolution.avg_pool(x, (2, 2, 2)), 'window'),
    (lambda x, k: convolution.lrn(x, n=0), 'n >= 1'),
  ],
)
def test_shapes_that_do_not_fit_raise(call, words):
  x, kernel = _draw((2, 6, 6, 2), (3, 3, 2, 4))
  with pytest.raises(ValueError, match=words):
    call(x, kernel)
