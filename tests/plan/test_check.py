"""`dlsteroids.check` on models: a line a problem, none for what is right."""

import pytest

from dlsteroids.plan import plugin_check

HEAD = """
import jax.numpy as jnp
from flax import linen as nn
DEFAULTS = {'units': 8}
class Net(nn.Module):
  outputs: int
  units: int
  @nn.compact
  def __call__(self, x, *, train, hyper):
"""
TAIL = """
def build(config):
  return Net(config['outputs'], config['units'])
"""
IMAGES = """
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(self.units)(x))
    return nn.Dense(self.outputs)(x)
"""
SYMBOLS = """
    x = nn.Embed(self.outputs, self.units, name='embedding')(x)
    x = jnp.cumsum(x, 1)
    return nn.Dense(self.outputs, name='output')(x)
"""
AHEAD = SYMBOLS.replace('jnp.cumsum(x, 1)', 'x + x.mean(1, keepdims=True)')
NUMPY = """
    import numpy as np
    draw = lambda key, shape, dtype: np.random.default_rng(SEED).normal(size=shape)
    kernel = self.param('kernel', lambda *a: draw(*a).astype('float32'), (64, 10), 'f')
    return x.reshape(x.shape[0], -1) @ kernel
"""
ONCE = SYMBOLS.replace('jnp.cumsum(x, 1)', 'x.mean(1)')


@pytest.fixture
def problems(tmp_path, monkeypatch, request):
  monkeypatch.syspath_prepend(tmp_path)
  name = f'net_{request.node.callspec.id}'
  body, tail = (
    request.param if isinstance(request.param, tuple) else (request.param, TAIL)
  )
  (tmp_path / f'{name}.py').write_text(HEAD + body + tail)
  return plugin_check.check(name)


@pytest.mark.parametrize('problems', [IMAGES], indirect=True, ids=['images'])
def test_automatic_names_are_one_warning_a_layer(problems):
  assert len(problems) == 2
  assert all(line.startswith('warning: ') for line in problems)
  assert 'Dense_0' in problems[0]
  assert 'Dense_1' in problems[1]


@pytest.mark.parametrize('problems', [SYMBOLS], indirect=True, ids=['symbols'])
def test_a_causal_model_of_symbols_is_right(problems):
  assert problems == []


@pytest.mark.parametrize(
  ('problems', 'expected'),
  [
    pytest.param(AHEAD, 'depends on later symbols', id='ahead'),
    pytest.param(ONCE, 'expected logits [3, 6, 10]', id='once'),
    pytest.param(
      (IMAGES, TAIL.replace('outputs', 'classes')), 'KeyError: classes', id='config'
    ),
    pytest.param(NUMPY.replace('SEED', '0'), 'same for every seed', id='fixed'),
    pytest.param(NUMPY.replace('SEED', ''), 'differ from one construct', id='numpy'),
  ],
  indirect=['problems'],
)
def test_a_mistake_is_a_line_and_the_contract(problems, expected):
  assert expected in problems[0]
  assert problems[-1] == plugin_check.CONTRACT
  for part in ('outputs', 'float32 [B, H, W, C]', 'hyper', 'train', 'logits float32'):
    assert part in plugin_check.CONTRACT
