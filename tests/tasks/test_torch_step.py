"""Whole train steps against torch with copied weights: loss, gradients, parameters.

In float64 to 1e-9, in float32 to 1e-4, relative to each array's largest entry.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.models.lib import blocks
from dlsteroids.train import step as step_lib
from tests.fixtures import model_cases as cases

torch = pytest.importorskip('torch')
functional = torch.nn.functional

BATCH, CLASSES, STEPS = 4, 5, 3
SGD = {'name': 'sgd', 'momentum': 0.9, 'nesterov': True, 'weight_decay': 0.05}
ADAM = {'name': 'adam', 'weight_decay': 0.05, 'beta1': 0.8, 'beta2': 0.95}
ADAMW = {'name': 'adamw', 'weight_decay': 0.3, 'epsilon': 1e-3}
RMSPROP = {'name': 'rmsprop', 'weight_decay': 0.05, 'beta2': 0.9, 'epsilon': 1e-4}
LENET = {'widths': (3, 4), 'kernel': 5, 'activation': 'tanh', 'hidden': (6,)}


@dataclasses.dataclass(frozen=True)
class Case:
  """A model with options, its images, and how it is taught."""

  model: str
  options: dict
  shape: tuple
  optimizer: dict
  clip: float = float('inf')
  smoothing: float = 0.0


CASES = {
  'lenet-sgd': Case('cnn', LENET, (12, 11, 2), SGD, smoothing=0.1),
  'lenet-clip': Case('cnn', LENET, (12, 11, 2), {'name': 'sgd'}, clip=0.3),
  'mlp-adam': Case('mlp', {'hidden': (7, 6), 'norm': 'batch'}, (3, 3, 2), ADAM),
  'mlp-adamw': Case(
    'mlp', {'hidden': (7, 6), 'activation': 'elu'}, (3, 3, 2), ADAMW, 0.5, 0.2
  ),
  'mlp-norm-after': Case(
    'mlp',
    {
      'hidden': (7, 6),
      'activation': 'leaky_relu',
      'slope': 0.3,
      'norm': 'batch',
      'norm_after': True,
    },
    (3, 3, 2),
    SGD,
  ),
  'mlp-rmsprop': Case(
    'mlp', {'hidden': (7, 6), 'activation': 'elu'}, (3, 3, 2), RMSPROP
  ),
  'alexnet-sgd': Case(
    'alexnet',
    {'width': 0.05, 'stem_kernel': 11, 'stem_stride': 4, 'bias': 0.1},
    (67, 67, 3),
    SGD,
  ),
}


class Torch:
  """The same networks on torch's own functions; parameters by our flat paths."""

  def __init__(self, case, params):
    self.case = case
    self.params = {}
    for path, leaf in params.items():
      order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(leaf.ndim, tuple(range(leaf.ndim)))
      leaf = torch.tensor(np.asarray(leaf)).permute(order).contiguous()
      self.params[path] = leaf.requires_grad_()

  def arrays(self, values):
    """Torch's tensors by path in our layout (HWIO, [in, out])."""
    found = {}
    for path, leaf in values.items():
      order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(leaf.ndim, tuple(range(leaf.ndim)))
      found[path] = leaf.detach().permute(order).numpy().copy()
    return found

  def dense(self, x, *name):
    bias = self.params.get((*name, 'bias'))
    return functional.linear(x, self.params[(*name, 'kernel')], bias)

  def conv(self, x, *name, **options):
    weight, bias = (self.params[(*name, part)] for part in ('kernel', 'bias'))
    return functional.conv2d(x, weight, bias, **options)

  def flat(self, x):
    return x.permute(0, 2, 3, 1).reshape(len(x), -1)  # as NHWC images flatten

  def cnn(self, x):
    for stage in ('stage0', 'stage1'):
      x = torch.tanh(self.conv(x, stage, 'conv0', padding=2))
      x = functional.max_pool2d(x, 2)
    return self.dense(torch.tanh(self.dense(self.flat(x), 'dense0')), 'output')

  def mlp(self, x):
    x = self.flat(x)
    for index in range(2):
      x = self.dense(x, f'dense{index}')
      if self.case.options.get('norm_after'):
        x = self.norm(functional.leaky_relu(x, self.case.options['slope']), index)
      elif self.case.options.get('norm') == 'batch':
        x = functional.relu(self.norm(x, index))
      else:
        x = functional.elu(x)
    return self.dense(x, 'output')

  def norm(self, x, index):
    scale, bias = (
      self.params[f'norm{index}', 'batch', name] for name in ('scale', 'bias')
    )
    return functional.batch_norm(x, None, None, scale, bias, training=True, eps=1e-5)

  def alexnet(self, x):
    for index in range(1, 6):
      options = {'stride': 4} if index == 1 else {'padding': 2 if index == 2 else 1}
      groups = 2 if index in (2, 4, 5) else 1
      x = functional.relu(self.conv(x, f'conv{index}', groups=groups, **options))
      if index < 3:  # torch divides alpha by the size
        x = functional.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)
      if index in (1, 2, 5):
        x = functional.max_pool2d(x, 3, 2)
    x = self.flat(x)
    for index in range(2):
      x = functional.relu(self.dense(x, f'dense{index}'))
    return self.dense(x, 'output')

  def optimizer(self, rate):
    """torch's; weight decay on kernels only, as a parameter group."""
    given = self.case.optimizer
    is_kernel = {path: path[-1] == 'kernel' for path in self.params}
    groups = [
      {
        'params': [p for path, p in self.params.items() if is_kernel[path] == decayed],
        'weight_decay': given.get('weight_decay', 0.0) if decayed else 0.0,
      }
      for decayed in (True, False)
    ]
    if given['name'] == 'sgd':
      momentum, nesterov = given.get('momentum', 0.9), given.get('nesterov', False)
      return torch.optim.SGD(groups, rate, momentum=momentum, nesterov=nesterov)
    if given['name'] == 'rmsprop':
      return torch.optim.RMSprop(groups, rate, given['beta2'], given['epsilon'])
    make = {'adam': torch.optim.Adam, 'adamw': torch.optim.AdamW}[given['name']]
    betas = (given.get('beta1', 0.9), given.get('beta2', 0.999))
    return make(groups, rate, betas=betas, eps=given.get('epsilon', 1e-8))

  def train(self, batches, rate):
    """Per step: loss, gradients, parameters."""
    optimizer, history = self.optimizer(rate), []
    for batch in batches:
      image = torch.tensor(batch['image']).permute(0, 3, 1, 2)
      label = torch.tensor(batch['label'], dtype=torch.int64)
      logits = getattr(self, self.case.model)(image)
      smoothing = self.case.smoothing
      loss = functional.cross_entropy(logits, label, label_smoothing=smoothing)
      optimizer.zero_grad()
      loss.backward()
      gradients = {path: p.grad for path, p in self.params.items()}
      gradients = self.arrays(gradients)
      # By hand: torch's clip_grad_norm_ adds 1e-6 to the norm.
      norm = sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values())
      scale = min(1.0, self.case.clip / norm**0.5)
      for parameter in self.params.values():
        parameter.grad *= scale
      optimizer.step()
      history.append((loss.item(), gradients, self.arrays(self.params), scale))
    return history


def make_task(case):
  """The shipped task on a data set of noise, with the case's config."""
  images = np.zeros((20, *case.shape), np.uint8)
  labels = np.arange(20, dtype=np.int32) % CLASSES
  dataset = types.Dataset(
    'noise',
    {'image': images, 'label': labels},
    split=lambda seed: {},
    transform=lambda batch, keys, *, train: batch,
    digest='',
    classes=tuple('abcde'),
  )
  config = config_lib.resolve(config_lib.base(case.model, 'digits'))
  pairs = {f'model.{key}': value for key, value in case.options.items()}
  pairs |= {f'optimizer.{key}': value for key, value in case.optimizer.items()}
  pairs |= {'model.init': 'he', 'model.dropout': 0.0, 'optimizer.schedule': 'constant'}
  pairs |= {'optimizer.clip': case.clip, 'task.label_smoothing': case.smoothing}
  config = config_lib.override(config, pairs.items())
  return config, config_lib.find('tasks', 'classify').build(config, dataset)


def train(case, dtype, batches, rate):
  """Ours: initial parameters, then per step loss, gradients, parameters."""
  config, task = make_task(case)
  hyper = {path: dtype(value) for path, value in config_lib.hyper(config).items()}
  hyper['optimizer.learning_rate'] = dtype(rate)
  key = rng.root(0)
  start = cases.jit(lambda batch: step_lib.init(task, key, batch, hyper))(batches[0])
  cast = lambda leaf: leaf.astype(dtype) if leaf.dtype.kind == 'f' else leaf
  state = jax.tree.map(cast, start)
  initial = state['variables']['model']['params']

  def gradient(state, batch, keys):
    def loss(params):
      mine = {**state['variables']['model'], 'params': params}
      return task.turns[0].loss({'model': mine}, batch, keys, hyper)[0]

    return jax.grad(loss)(state['variables']['model']['params'])

  def both(state, batch, keys):
    new, scalars, finite = step_lib.make(task)(state, batch, keys, hyper)
    return gradient(state, batch, keys), new, scalars['loss'], finite

  run, history = cases.jit(both), []
  flat = traverse_util.flatten_dict
  for index, batch in enumerate(batches):
    grads, state, loss, finite = run(state, batch, rng.Keys(key, index))
    assert finite
    params = state['variables']['model']['params']
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves([grads, params, loss]))
    history.append((float(loss), flat(grads), flat(params)))
  return flat(initial), history


def compare(case, dtype, tolerance):
  generator = np.random.default_rng(0)
  batches = [
    {
      'image': generator.normal(size=(BATCH, *case.shape)).astype(dtype),
      'label': generator.integers(0, CLASSES, BATCH).astype(np.int32),
    }
    for _ in range(STEPS)
  ]
  rate = 0.02 if case.optimizer['name'] == 'sgd' else 0.003
  initial, ours = train(case, dtype, batches, rate)
  theirs = Torch(case, initial).train(batches, rate)
  close = functools.partial(np.testing.assert_allclose, rtol=tolerance)
  for step, (mine, other) in enumerate(zip(ours, theirs)):
    close(mine[0], other[0], err_msg=f'loss of step {step}')
    for which, name in ((1, 'gradient'), (2, 'parameter')):
      assert mine[which].keys() == other[which].keys()
      for path, leaf in other[which].items():
        # A parameter that starts at 0 is as exact as the steps that moved it.
        scale = np.abs(leaf).max()
        text = f'{name} {path} of step {step}'
        close(mine[which][path], leaf, atol=tolerance * scale, err_msg=text)
  moved = [np.abs(theirs[-1][2][path] - initial[path]).max() for path in initial]
  assert min(moved) > 1e-4
  clipped = [scale < 1 for *_, scale in theirs]
  assert all(clipped) if case.clip < 1 else not any(clipped)


@pytest.mark.parametrize('name', CASES)
def test_steps_in_float64(name, monkeypatch):
  # Models compute in float32 or bfloat16 by config; here the one place that says so.
  monkeypatch.setattr(blocks, 'dtype', lambda name: jnp.dtype('float64'))
  with jax.enable_x64(True):
    compare(CASES[name], np.float64, 1e-9)


@pytest.mark.parametrize('name', ['lenet-sgd', 'mlp-adam'])
def test_steps_in_float32(name):
  compare(CASES[name], np.float32, 1e-4)
