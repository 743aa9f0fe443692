"""Optimizers: what decays, whose numbers count, schedules in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.tasks import classify
from dlsteroids.tasks.lib import network, optimizer
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases

STEPS, PEAK = 40, 0.3


def hyper(**numbers):
  tree = config_lib.resolve(config_lib.base('mlp', 'digits'))
  given = {'learning_rate': PEAK, **numbers}
  steps = {'train.steps': float(STEPS)}
  return {
    **{k: v for k, v in config_lib.hyper(tree).items() if k.startswith('optimizer.')},
    **{f'optimizer.{key}': value for key, value in given.items()},
    **steps,
  }


@pytest.mark.parametrize(
  ('model', 'options'),
  [
    ('mlp', {'norm': 'layer'}),
    ('cnn', {'norm': 'batch', 'residual': True}),
    ('cnn', {'mixer': 'local', 'norm': 'group'}),  # whose biases are maps
    ('cnn', {'mixer': 'dense'}),
    ('alexnet', {}),
  ],
  ids=str,
)
def test_kernels_decay_and_nothing_else(model, options):
  shapes = cases.shapes(cases.build(model, **options), model)
  params = {path: jax.ShapeDtypeStruct(shape, float) for path, shape in shapes.items()}
  mask = optimizer.is_weight(traverse_util.unflatten_dict(params))
  found = {path for path, decays in traverse_util.flatten_dict(mask).items() if decays}
  assert found == {path for path in shapes if path[-1] == 'kernel'}


def test_a_plug_ins_number_of_the_same_name_is_not_the_optimizers():
  section = config_lib.DEFAULTS['optimizer'] | {'schedule': 'constant'}
  for other in ('model.learning_rate', 'task.momentum', 'task.weight_decay'):
    made = optimizer.make(section, hyper(weight_decay=0.1) | {other: 9.0})
    plain = optimizer.make(section, hyper(weight_decay=0.1))
    params, grads = {'w': jnp.ones((2, 2))}, {'w': jnp.full((2, 2), 0.5)}
    found, expected = (
      m.update(grads, m.init(params), params)[0] for m in (made, plain)
    )
    np.testing.assert_array_equal(found['w'], expected['w'])
    np.testing.assert_allclose(expected['w'], -PEAK * (0.5 + 0.1), rtol=1e-6)


def expected_rate(name, step, warmup, final):
  """The schedules in words, as numbers: warm-up, then the shape over what is left."""
  warm = warmup * STEPS
  share = min(max((step - warm) / (STEPS - warm), 0), 1)
  shape = {
    'constant': 1.0,
    'hold': 1 - (1 - final) * max(0.0, 2 * share - 1),
    'cosine': final + (1 - final) * (1 + math.cos(math.pi * share)) / 2,
    'linear': 1 + (final - 1) * share,
    'step': 1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01,
  }[name]
  return PEAK * shape * min(1.0, (step + 1) / warm if warm else 1.0)


@pytest.mark.parametrize('name', ['constant', 'cosine', 'linear', 'hold', 'step'])
@pytest.mark.parametrize(('warmup', 'final'), [(0.0, 0.0), (0.25, 0.1)])
def test_schedules(name, warmup, final):
  schedule = optimizer.make_schedule(name, hyper(warmup=warmup, final=final))
  found = [float(schedule(step)) for step in range(STEPS + 1)]
  expected = [expected_rate(name, step, warmup, final) for step in range(STEPS + 1)]
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_cosine_is_optaxs():
  ours = optimizer.make_schedule('cosine', hyper())
  theirs = optax.cosine_decay_schedule(PEAK, STEPS)
  for step in (0, 7, STEPS):
    np.testing.assert_allclose(ours(step), theirs(step), rtol=1e-5, atol=1e-7)


def test_clipping_is_optaxs_and_may_be_infinite():
  grads = {'a': jnp.array([3.0, 0.0]), 'b': jnp.array([[4.0]])}
  for largest in (0.5, 5.0, 6.0):
    ours = optimizer.clip_by_global_norm(jnp.float32(largest))
    theirs = optax.clip_by_global_norm(largest)
    for a, b in zip(*(jax.tree.leaves(c.update(grads, ())[0]) for c in (ours, theirs))):
      np.testing.assert_allclose(a, b, rtol=1e-6)
  free = optimizer.clip_by_global_norm(jnp.float32(jnp.inf)).update(grads, ())[0]
  assert all((free[name] == grads[name]).all() for name in grads)


def walk(name, grads, start, **numbers):
  """Parameters after steps of an optimizer along given gradients."""
  section = config_lib.DEFAULTS['optimizer'] | {'schedule': 'constant', 'name': name}
  rule = optimizer.make(section, hyper(**numbers))
  params, state = start, rule.init(start)
  for grad in grads:
    updates, state = rule.update(grad, state, params)
    params = optax.apply_updates(params, updates)
  return params


def draw_params(seed, **shapes):
  generator = np.random.default_rng(seed)
  draw = lambda shape: generator.normal(size=shape).astype(np.float32)
  return {
    name: {'kernel': draw(shape), 'bias': draw(3)} for name, shape in shapes.items()
  }


def test_lion_is_its_paper_by_hand():
  """Chen et al. 2023, algorithm 2, in numpy."""
  start, *grads = (draw_params(seed, dense0=(4, 3)) for seed in range(4))
  found = walk('lion', grads, start, beta1=0.8, beta2=0.95, weight_decay=0.1)
  for part, decay in (('kernel', 0.1), ('bias', 0.0)):
    value, moment = start['dense0'][part], 0.0
    for grad in (grad['dense0'][part] for grad in grads):
      sign = np.sign(0.8 * moment + 0.2 * grad)
      value = value - PEAK * (sign + decay * value)
      moment = 0.95 * moment + 0.05 * grad
    np.testing.assert_allclose(found['dense0'][part], value, rtol=1e-5)


def orthogonalise(matrix):
  """Five Newton-Schulz steps with the coefficients of Jordan et al. 2024."""
  x = matrix / np.linalg.norm(matrix)
  for _ in range(5):
    square = x @ x.T
    x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
  return x


def test_muon_is_newton_schulz_by_hand_and_adam_elsewhere():
  shapes = {
    'embedding': (5, 4),
    'dense0': (4, 3),
    'conv0': (2, 2, 3, 5),
    'local0': (2, 1, 6, 4),
    'output': (4, 3),
  }
  start, *grads = (draw_params(seed, **shapes) for seed in range(4))
  numbers = {'momentum': 0.9, 'weight_decay': 0.1}
  found = walk('muon', grads, start, **numbers)
  adam = walk('adamw', grads, start, **numbers)
  for name in shapes:
    np.testing.assert_allclose(found[name]['bias'], adam[name]['bias'], rtol=1e-6)
    if name in ('embedding', 'output'):
      np.testing.assert_allclose(found[name]['kernel'], adam[name]['kernel'], rtol=1e-6)
      continue
    value, moment = start[name]['kernel'], 0.0
    for step, grad in enumerate(grad[name]['kernel'] for grad in grads):
      moment = 0.9 * moment + 0.1 * grad
      way = 0.9 * moment / (1 - 0.9 ** (step + 2)) + 0.1 * grad / (
        1 - 0.9 ** (step + 1)
      )
      stack = (
        way.reshape(-1, 6, 4) if name == 'local0' else way.reshape(1, -1, way.shape[-1])
      )
      size = 0.2 * np.sqrt(max(stack.shape[1:]))
      way = np.stack([orthogonalise(matrix) for matrix in stack]).reshape(value.shape)
      value = value - PEAK * (size * way + 0.1 * value)
    np.testing.assert_allclose(found[name]['kernel'], value, rtol=1e-4, atol=1e-4)


def test_muons_update_is_nearly_orthogonal_and_as_large_as_adams():
  """Singular values of about 1 whatever the gradient's; the root mean square is 0.2."""
  start, grad = (draw_params(seed, dense0=(30, 20)) for seed in range(2))
  moved = walk('muon', [grad], start)['dense0']['kernel'] - start['dense0']['kernel']
  values = np.linalg.svd(np.asarray(moved) / PEAK, compute_uv=False)
  assert (values / (0.2 * np.sqrt(30))).min() > 0.6
  assert (values / (0.2 * np.sqrt(30))).max() < 1.3
  assert abs(np.sqrt(np.mean((moved / PEAK) ** 2)) / 0.2 - 1) < 0.25


def test_cross_entropy_by_hand():
  """Szegedy et al. 2016: targets 1 - s + s/K and s/K."""
  logits, labels, smoothing = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]]), [0, 1], 0.3
  logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  expected = [-(0.7 * logs[i, k] + 0.1 * logs[i].sum()) for i, k in enumerate(labels)]
  found = classify.cross_entropy(jnp.array(logits), jnp.array(labels), smoothing)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_mixups_weight_is_betas_and_the_other_example_the_one_before():
  """Beta(a, a) has mean 1/2 and variance 1 / (8a + 4)."""
  image, label = jnp.arange(8.0).reshape(4, 2), jnp.arange(4)
  keys = jax.random.split(jax.random.key(0), 4000)
  many = jax.vmap(lambda key: classify.mix(image, label, key, 0.4))
  mixed, other, weight = cases.jit(many)(keys)
  assert abs(weight.mean() - 0.5) < 0.03  # 5 standard errors
  assert abs(weight.var() * (8 * 0.4 + 4) - 1) < 0.1
  w = np.asarray(weight)[0]
  expected = w * np.asarray(image) + (1 - w) * np.asarray(image)[[3, 0, 1, 2]]
  np.testing.assert_allclose(mixed[0], expected, rtol=1e-6)
  np.testing.assert_array_equal(other[0], [3, 0, 1, 2])


def test_mixup_is_the_loss_of_soft_labels():
  """A linear model's, in numpy."""
  config = config_lib.resolve(config_lib.base('mlp', 'digits'))
  changes = {'model.hidden': (), 'task.mixup': 0.5, 'task.label_smoothing': 0.2}
  config = config_lib.override(config, changes.items())
  dataset = config_lib.find('data', 'digits').load(config['data'])
  task = classify.build(config, dataset)
  x, label = np.random.default_rng(0).normal(size=(6, 8, 8, 1)), np.arange(6) % 3
  batch = {'image': jnp.asarray(x, jnp.float32), 'label': jnp.asarray(label)}
  keys = rng.Keys(rng.root(0), 5)
  variables = {'model': task.players['model'].init(keys, batch)}
  numbers = {k: jnp.float32(v) for k, v in config_lib.hyper(config).items()}
  found, (_, scalars) = task.turns[0].loss(variables, batch, keys, numbers)
  w = float(jax.random.beta(keys('mixup'), 0.5, 0.5))
  before = [5, 0, 1, 2, 3, 4]
  mixed = (w * x + (1 - w) * x[before]).reshape(6, -1)
  layer = variables['model']['params']['output']
  logits = mixed @ np.asarray(layer['kernel'], np.float64)
  logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  soft = w * np.eye(10)[label] + (1 - w) * np.eye(10)[label[before]]
  expected = -((0.8 * soft + 0.02) * logs).sum(1).mean()
  assert float(found) == pytest.approx(expected, rel=1e-5)
  right = [logits.argmax(1) == label, logits.argmax(1) == label[before]]
  expected = w * right[0].mean() + (1 - w) * right[1].mean()
  assert float(scalars['accuracy']) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
  ('alpha', 'arrays', 'expected'),
  [
    (math.inf, {}, 'config.task.mixup must be finite'),
    (0.2, {'length': np.ones(3)}, "mixes examples of one size; those of 'digits' have"),
  ],
)
def test_what_cannot_be_mixed_is_one_line(alpha, arrays, expected):
  config = config_lib.resolve(config_lib.base('mlp', 'digits'))
  config = config_lib.override(config, {'task.mixup': alpha}.items())
  dataset = config_lib.find('data', 'digits').load(config['data'])
  with pytest.raises(errors.UserError) as caught:
    classify.build(config, dataset._replace(arrays={**dataset.arrays, **arrays}))
  assert expected in str(caught.value)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    (
      'def make(config):\n  return {"loss": None}',
      "makes 'loss', which exists already",
    ),
    ('def make(config):\n  raise KeyError("x")', 'KeyError'),
    ('', "has no attribute 'make'"),
    ('import no_such_thing', "No module named 'no_such_thing'"),
  ],
)
def test_mistakes_in_a_users_metrics_are_one_line(
  monkeypatch, tmp_path, text, expected
):
  name = f'mymetrics_{tmp_path.name}'
  (tmp_path / f'{name}.py').write_text(text)
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(errors.UserError) as caught:
    network.extra_metrics({'task': {'metrics': f' {name}, '}}, classify.make_metrics(3))
  assert expected in str(caught.value)
  assert len(str(caught.value).splitlines()) == 1
