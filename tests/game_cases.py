"""Tiny players of every shipped game, and every value of every option of theirs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.models import layers
from tests import model_cases as cases

PLAYERS = ('generator', 'discriminator')
CLASSES = 3
BATCH = 4
SHAPES = {'dcgan': (8, 8, 2), 'dense_gan': (5, 4, 1), 'cyclegan': (12, 12, 2)}
TINY = {
  'dcgan': {
    'latent': 5,
    'width': 3,
    'discriminator_width': 3,
    'depth': 2,
    'init': 'he',
  },
  'dense_gan': {
    'latent': 5,
    'generator_hidden': (6, 5),
    'discriminator_hidden': (5, 6),
  },
  'cyclegan': {
    'width': 3,
    'discriminator_width': 3,
    'downsamples': 1,
    'blocks': 1,
    'patch_layers': 1,
    'init': 'he',
  },
}
# One of each kind, and the user's own.
ACTIVATIONS = ['relu', 'leaky_relu', 'tanh', 'jax.numpy.sin']
INITS = ['he', 'dcgan', 'orthogonal', 'jax.nn.initializers.ones']
DTYPES = ['float32', 'bfloat16']
NORMS = ['none', 'batch', 'layer', 'instance', 'spectral']
UPSAMPLES = ['transposed', 'resize', 'subpixel']
CHOICES = {
  'dcgan': {
    'latent': [3, 5],
    'width': [3, 4],
    'discriminator_width': [3, 4],
    'depth': [0, 2],
    'kernel': [3, 4, 5],
    'upsample': UPSAMPLES,
    'generator_norm': NORMS,
    'discriminator_norm': NORMS,
    'generator_activation': ACTIVATIONS,
    'discriminator_activation': ACTIVATIONS,
    'slope': [0.2, 0.01],
    'conditional': [False, True],
    'init': INITS,
    'dtype': DTYPES,
  },
  'dense_gan': {
    'latent': [3, 5],
    'generator_hidden': [(), (6, 5)],
    'discriminator_hidden': [(5, 6), (4,)],
    'generator_norm': ['none', 'batch', 'layer', 'spectral'],
    'discriminator_norm': ['none', 'batch', 'layer', 'spectral'],
    'generator_activation': ACTIVATIONS,
    'discriminator_activation': ACTIVATIONS,
    'slope': [0.2, 0.01],
    'conditional': [False, True],
    'init': INITS,
    'dtype': DTYPES,
  },
  'cyclegan': {
    'width': [3, 4],
    'discriminator_width': [3, 4],
    'downsamples': [0, 1],
    'blocks': [1, 2],  # 0 is 6 or 9: test_cyclegan_models
    'residual': [True, False],
    'kernel': [3, 5],
    'stem_kernel': [3, 7],
    'padding': ['reflect', 'zero'],
    'upsample': UPSAMPLES,
    'patch_layers': [0, 1, 2],
    'generator_norm': NORMS,
    'discriminator_norm': NORMS,
    'affine': [False, True],
    'generator_activation': ACTIVATIONS,
    'discriminator_activation': ACTIVATIONS,
    'slope': [0.2, 0.01],
    'init': INITS,
    'dtype': DTYPES,
  },
}


def build(model, player, shape=None, **options):
  """A player for its model's defaults, the tiny sizes and `options`, in that order."""
  plugin = config_lib.find('models', model)
  assert options.keys() <= plugin.DEFAULTS.keys()
  section = {**plugin.DEFAULTS, **TINY[model], **options}
  given = {'player': player, 'shape': shape or SHAPES[model], 'classes': CLASSES}
  if model == 'cyclegan' and player == 'generator':
    given['outputs'] = given['shape'][2]
  return plugin.build({**section, **given})


def draw(model, player, latent=None, shape=None, batch=BATCH, seed=0):
  """What a player reads: noise [B, Z] or images [B, H, W, C] in (-1, 1)."""
  generator = np.random.default_rng(seed)
  if player == 'generator' and model != 'cyclegan':
    size = (batch, latent or TINY[model]['latent'])
    return generator.normal(size=size).astype(np.float32)
  size = (batch, *(shape or SHAPES[model]))
  return np.tanh(generator.normal(size=size)).astype(np.float32)


def extra(model, batch=BATCH):
  """Labels, where a model takes some."""
  return {} if model == 'cyclegan' else {'label': jnp.arange(batch) % CLASSES}


def trace_init(module, model, x, seed=0):
  """Initial variables by flat path, inside a trace."""
  variables = module.init(
    rng.Keys(rng.root(seed))('init'),
    jnp.asarray(x),
    train=False,
    hyper=cases.hyper(model),
    **extra(model, len(x)),
  )
  return traverse_util.flatten_dict(dict(variables))


def init(module, model, x, seed=0):
  return cases.jit(lambda: trace_init(module, model, x, seed))()


def shapes(module, model, x):
  """Shapes of the parameters by flat path, computing nothing."""
  found = jax.eval_shape(lambda: trace_init(module, model, x))
  return {path[1:]: leaf.shape for path, leaf in found.items() if path[0] == 'params'}


def count(module, model, x):
  return sum(int(np.prod(shape)) for shape in shapes(module, model, x).values())


def forward(module, model, variables, x, *, train, mutable=None, slope=0.2):
  """The answer; if collections may change, these beside it. Variables by flat path."""
  return module.apply(
    traverse_util.unflatten_dict(variables),
    x,
    train=train,
    hyper=cases.hyper(model, slope=slope),
    mutable=False if mutable is None else list(mutable),
    **extra(model, len(x)),
  )


def states(variables):
  return sorted({path[0] for path in variables} - {'params'})


def randomise(module, model, x, dtype=np.float64):
  """Variables of a module in numpy, none at a value that hides something."""
  found = jax.eval_shape(lambda: trace_init(module, model, x))
  generator, values = np.random.default_rng(0), {}
  for path in sorted(found):
    value = generator.normal(0, 0.3, found[path].shape)
    if path[-1] == 'u':
      value /= np.linalg.norm(value)
    value = 1 + abs(value) if path[-1] in ('scale', 'var') else value
    values[path] = value.astype(dtype)
  return values


def close(found, expected, relative):
  found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
  scale = max(np.abs(expected).max(), 1e-12)
  np.testing.assert_allclose(found, expected, rtol=relative, atol=relative * scale)


def compare(model, player, changes, x64, relative, monkeypatch):
  """Answer, gradients and kept states in training against torch's in float64."""
  torch_games = pytest.importorskip('tests.torch_games')
  defaults = config_lib.find('models', model).DEFAULTS
  options = {**defaults, **TINY[model], **changes}
  kind = np.float64 if x64 else np.float32
  monkeypatch.setattr(layers, 'dtype', lambda name: jnp.dtype(kind))
  with jax.enable_x64(x64):
    module = build(model, player, **changes)
    x = draw(model, player).astype(kind)
    values = randomise(module, model, x)
    variables = {path: value.astype(kind) for path, value in values.items()}

    def loss(params, x):
      out, new = forward(
        module,
        model,
        {**variables, **params},
        x,
        train=True,
        mutable=states(variables),
        slope=torch_games.SLOPE,
      )
      return jnp.sin(out).sum(), (out, new)

    params = {path: v for path, v in variables.items() if path[0] == 'params'}
    slopes, (out, new) = cases.jit(jax.grad(loss, has_aux=True))(params, x)
  label = np.arange(len(x)) % CLASSES if options.get('conditional') else None
  expected = torch_games.run(model, player, values, options, x, label)
  kept = traverse_util.flatten_dict(dict(new))
  kept = {'/'.join(path[1:]): leaf for path, leaf in kept.items()}
  assert out.dtype == kind
  close(out, expected[0], relative)
  for found, wanted in ((slopes, expected[1]), (kept, expected[2])):
    assert found.keys() == wanted.keys()
    for path, leaf in found.items():
      close(leaf, wanted[path], relative)
