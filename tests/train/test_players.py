"""A toy two-player game with a repeated turn, through the engine and as a hand loop."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlsteroids import rng, types
from dlsteroids.train import member as member_lib
from dlsteroids.train import step as step_lib
from tests.fixtures import tiny

DECAY = 0.9
NAMES = ('critic', 'maker')


def make_game() -> types.Task:
  """A critic tells batch means from a maker's guess: min over the maker, max over it.

  The critic moves twice a step, each time on a batch of its own and with its own noise;
  `after_step` keeps a moving average of the maker.
  """

  def score(variables, batch, keys):
    noise = 0.1 * jax.random.normal(keys('noise'), (3,))
    real = batch['x'].mean(0) + noise
    fake = variables['maker']['params']['w']
    w = variables['critic']['params']['w']
    return jnp.dot(w, real - fake) - 0.5 * jnp.sum(w * w)

  def critic_loss(variables, batch, keys, hyper):
    value = -score(variables, batch, keys)
    return value, ({}, {'gap': -value})

  def maker_loss(variables, batch, keys, hyper):
    return score(variables, batch, keys), ({}, {})

  def start(value, **more):
    return lambda keys, batch: {'params': {'w': jnp.full(3, value)}, **more}

  def outputs(variables, batch, keys, hyper):
    error = ((batch['x'] - variables['maker']['ema']['w']) ** 2).sum(-1)
    return {'error': error, 'mask': batch['mask']}

  def after(variables, keys, hyper):
    old, now = variables['maker']['ema'], variables['maker']['params']
    new = jax.tree.map(lambda a, b: DECAY * a + (1 - DECAY) * b, old, now)
    return {**variables, 'maker': {**variables['maker'], 'ema': new}}

  def measure(out):
    return {'sum': (out['error'] * out['mask']).sum(), 'count': out['mask'].sum()}

  def finish(merged):
    return {'': merged['sum'] / merged['count']}

  rate = lambda hyper: optax.sgd(hyper['optimizer.learning_rate'])
  ema = {'ema': {'w': jnp.zeros(3)}}
  return types.Task(
    players={
      'critic': types.Player(start(0.5), rate),
      'maker': types.Player(start(0.0, **ema), rate),
    },
    turns=(types.Turn('critic', critic_loss, 2), types.Turn('maker', maker_loss)),
    outputs=outputs,
    metrics={'error': types.Metric(measure, finish, 'lower', 99.0)},
    after_step=after,
  )


def make_points() -> types.Dataset:
  """60 points in the plane's neighbour, without images or labels."""
  points = np.random.default_rng(0).normal(1.0, 0.3, (60, 3)).astype(np.float32)

  def split(seed):
    order = np.random.default_rng(seed).permutation(60).astype(np.int32)
    parts = {'train': order[:40], 'validation': order[40:50], 'test': order[50:]}
    return parts

  return types.Dataset(
    'points', {'x': points}, split, lambda batch, keys, *, train: batch, 'digest'
  )


@pytest.fixture
def bench(monkeypatch):
  """The game as a program of two members; 8 examples a batch, 5 batches an epoch."""
  config = tiny.make_config({'train.batch_size': 8, 'train.eval_batch': 4})
  points = make_points()
  plugin = type('game', (), {'build': staticmethod(lambda config, data: make_game())})
  find = member_lib.config_lib.find
  with monkeypatch.context() as patch:
    patch.setattr(
      member_lib.config_lib,
      'find',
      lambda kind, name: plugin if kind == 'tasks' else find(kind, name),
    )
    member = member_lib.make(config, points)
  patched = tiny.make_bench(config, 'vmap', 2, dataset=points, member=member)
  return patched


def key_of(seed, name, index):
  key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
  return jax.random.fold_in(key, index)


def hand_loop(points, seed, steps, rate):
  """Gradients by hand: the score is bilinear in maker and critic."""
  train = points.split(seed)['train']
  critic, maker, average = np.full(3, 0.5), np.zeros(3), np.zeros(3)
  gaps = []

  def real(number):
    order = jax.random.permutation(key_of(seed, 'order', number // 5), train)
    place = number % 5 * 8
    noise = 0.1 * np.asarray(jax.random.normal(key_of(seed, 'noise', number), (3,)))
    chosen = points.arrays['x'][np.asarray(order)[place : place + 8]]
    return chosen.astype(np.float64).mean(0) + noise

  for step in range(steps):
    for move in range(2):  # the critic climbs
      towards = real(2 * step + move) - maker
      gaps.append(critic @ towards - 0.5 * critic @ critic)
      critic = critic + rate * (towards - critic)
    maker = maker + rate * critic  # the maker descends
    average = DECAY * average + (1 - DECAY) * maker
  return critic, maker, average, gaps[1::2]


def test_two_players_train_like_their_hand_loop(bench):
  result = bench.train([bench.slot(3), bench.slot(8)], deciding='error')
  for at, seed in enumerate((3, 8)):
    critic, maker, average, gaps = hand_loop(bench.dataset, seed, 10, 0.05)
    found = tiny.pick(result.variables, at)
    np.testing.assert_allclose(found['critic']['params']['w'], critic, rtol=1e-5)
    np.testing.assert_allclose(found['maker']['params']['w'], maker, rtol=1e-5)
    np.testing.assert_allclose(found['maker']['ema']['w'], average, rtol=1e-5)
    record = result.records[at]
    test = bench.dataset.arrays['x'][bench.dataset.split(seed)['test']]
    want = ((test - average) ** 2).sum(-1).mean()
    assert record['values']['final/test/error'] == pytest.approx(want, rel=1e-5)
    train = {row[0]: row[3] for row in record['curves'] if row[1:3] == ['train', 'gap']}
    assert train[5] == pytest.approx(np.mean(gaps[:5]), rel=1e-4)
    assert train[10] == pytest.approx(np.mean(gaps[5:]), rel=1e-4)


def test_one_player_is_moved_and_the_other_held_fixed():
  game = make_game()
  hyper = {'optimizer.learning_rate': jnp.float32(0.1)}
  batch = {'x': jnp.ones((2, 4, 3))}
  state = step_lib.init(game, rng.root(0), {'x': batch['x'][0]}, hyper)
  only = game._replace(turns=game.turns[:1])
  new, _, good = step_lib.make(only)(state, batch, rng.Keys(rng.root(0), 0), hyper)
  assert bool(good)
  old, moved = state['variables'], new['variables']
  assert tiny.same(old['maker']['params'], moved['maker']['params'])
  assert not tiny.same(old['critic']['params'], moved['critic']['params'])
