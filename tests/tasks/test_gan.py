"""The game of two players: losses, penalties, whole steps, and what a step costs.

Oracles: torch with copied weights, hand loops over images, compiled programs.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlsteroids import config as config_lib
from dlsteroids import rng
from dlsteroids.data import digits
from dlsteroids.tasks import gan
from dlsteroids.tasks.lib import adversarial as game_lib
from dlsteroids.tasks.lib import diffaugment, gan_losses, pictures
from dlsteroids.train import member as member_lib
from dlsteroids.train import step as step_lib
from dlsteroids.util import errors
from tests.fixtures import model_cases as cases
from tests.fixtures import tiny

pytestmark = pytest.mark.usefixtures('quick')
BATCH, LATENT = 8, 3
DENSE = {
  'model.latent': LATENT,
  'model.generator_hidden': (6,),
  'model.discriminator_hidden': (7,),
  'model.discriminator_norm': 'none',
}
CONV = {'model.latent': LATENT, 'model.width': 4, 'model.discriminator_width': 4}


def make_config(model='dense_gan', changes=None):
  tree = config_lib.base(model=model, data='digits', task='gan').to_dict()
  own = DENSE if model == 'dense_gan' else CONV
  fixed = {
    'data.range': 'tanh',
    'data.examples': 64,
    'task.features': 'tests.fixtures.toy_features.make',
    'study.metric': 'classifier_fid',
    'train.batch_size': BATCH,
    'train.eval_batch': 100,
    'train.steps': 4,
    'train.evaluations': 2,
    'optimizer.name': 'adam',
    'optimizer.learning_rate': 0.01,
    'optimizer.schedule': 'constant',
  }
  pairs = {**fixed, **own, **(changes or {})}
  return config_lib.override(config_lib.resolve(tree), pairs.items())


def make(model='dense_gan', changes=None):
  """A config, its task, and a first state with the batch and numbers it was made of."""
  config = make_config(model, changes)
  dataset = digits.load(config['data'])
  task = gan.build(config, dataset)
  images = dataset.arrays['image'][:BATCH] / np.float32(127.5) - 1
  batch = {
    'image': jnp.asarray(images, jnp.float32),
    'label': jnp.asarray(dataset.arrays['label'][:BATCH]),
  }
  hyper = {name: jnp.float32(v) for name, v in config_lib.hyper(config).items()}
  state = cases.jit(lambda: step_lib.init(task, rng.root(0), batch, hyper))()
  return config, task, state, batch, hyper


# Losses and penalties


def torch_losses(torch, name, smoothing):
  """(D's, G's) of torch's own functions."""
  entropy = torch.nn.functional.binary_cross_entropy_with_logits

  def bce(logits, target):
    return entropy(logits, torch.full_like(logits, target))

  def mse(logits, target):
    return torch.nn.functional.mse_loss(logits, torch.full_like(logits, target))

  true = 1 - smoothing
  return {
    'minimax': (lambda r, f: bce(r, true) + bce(f, 0.0), lambda f: -bce(f, 0.0)),
    'non_saturating': (
      lambda r, f: bce(r, true) + bce(f, 0.0), lambda f: bce(f, 1.0)
    ),
    'least_squares': (
      lambda r, f: (mse(r, true) + mse(f, 0.0)) / 2, lambda f: mse(f, 1.0) / 2
    ),
    'wasserstein': (lambda r, f: f.mean() - r.mean(), lambda f: -f.mean()),
    'hinge': (
      lambda r, f: torch.relu(1 - r).mean() + torch.relu(1 + f).mean(),
      lambda f: -f.mean(),
    ),
  }[name]  # fmt: skip


@pytest.mark.parametrize('name', gan_losses.LOSSES)
def test_losses_and_their_gradients_are_torch_s(name):
  torch = pytest.importorskip('torch')
  generator = np.random.default_rng(0)
  real, fake = generator.normal(0, 3, (2, 5, 4))
  loss = gan_losses.LOSSES[name]
  for smoothing in (0.0, 0.1) if loss.smooths else (0.0,):
    theirs, their_g = torch_losses(torch, name, smoothing)

    @cases.jit
    def run(r, f, s=smoothing):
      both = jax.value_and_grad(lambda r, f: loss.discriminator(r, f, s), (0, 1))
      return both(r, f), jax.value_and_grad(loss.generator)(f)

    with jax.enable_x64(True):
      mine, mine_g = run(real, fake)
    r, f = (torch.tensor(x, requires_grad=True) for x in (real, fake))
    value = theirs(r, f)
    value.backward()
    assert float(mine[0]) == pytest.approx(value.item(), rel=1e-9)
    np.testing.assert_allclose(mine[1][0], r.grad, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mine[1][1], f.grad, rtol=1e-9, atol=1e-12)
    f = torch.tensor(fake, requires_grad=True)
    value = their_g(f)
    value.backward()
    assert float(mine_g[0]) == pytest.approx(value.item(), rel=1e-9)
    np.testing.assert_allclose(mine_g[1], f.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('kind', ['gradient', 'r1'])
def test_penalties_and_their_slopes_by_the_weights_are_torch_s(kind):
  """A critic of one hidden tanh layer: the penalty's slope is a second derivative."""
  torch = pytest.importorskip('torch')
  generator = np.random.default_rng(1)
  real, fake = generator.normal(size=(2, 6, 2, 2, 1))
  first, second = generator.normal(size=(4, 5)), generator.normal(size=5)
  with jax.enable_x64(True):
    key = jax.random.key(3)

    def mine(first):
      critic = lambda x: jnp.tanh(x.reshape(len(x), -1) @ first) @ second
      if kind == 'r1':
        return gan_losses.r1_penalty(critic, jnp.asarray(real))
      return gan_losses.gradient_penalty(critic, *map(jnp.asarray, (real, fake)), key)

    value, slope = cases.jit(jax.value_and_grad(mine))(jnp.asarray(first))
    share = np.asarray(jax.random.uniform(key, (6, 1, 1, 1), jnp.float64))
  weights = torch.tensor(first, requires_grad=True)
  seen = real if kind == 'r1' else share * real + (1 - share) * fake
  x = torch.tensor(seen, requires_grad=True)
  logits = torch.tanh(x.reshape(6, -1) @ weights) @ torch.tensor(second)
  (grads,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
  norms = grads.reshape(6, -1).norm(dim=1)
  theirs = (norms**2).mean() / 2 if kind == 'r1' else ((norms - 1) ** 2).mean()
  theirs.backward()
  assert float(value) == pytest.approx(theirs.item(), rel=1e-9)
  np.testing.assert_allclose(slope, weights.grad, rtol=1e-9, atol=1e-12)


def test_a_flat_critic_has_a_penalty_and_a_finite_slope():
  flat = lambda w: gan_losses.gradient_penalty(
    lambda x: x.sum((1, 2, 3)) * w, jnp.ones((3, 2, 2, 1)), jnp.zeros((3, 2, 2, 1)),
    jax.random.key(0),
  )  # fmt: skip
  value, slope = cases.jit(jax.value_and_grad(flat))(0.0)
  assert float(value) == 1.0
  assert np.isfinite(slope)


# Whole steps


class Torch:
  """Both players of dense_gan with one hidden layer each, in torch, weights copied."""

  def __init__(self, torch, state):
    self.torch = torch
    self.weights = {
      player: {
        jax.tree_util.keystr(path, simple=True, separator='/'): torch.tensor(
          np.asarray(leaf, np.float64), requires_grad=True
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(
          state['variables'][player]['params']
        )
      }
      for player in ('generator', 'discriminator')
    }

  def generate(self, z):
    w, torch = self.weights['generator'], self.torch
    x = z @ w['stack/dense0/kernel']
    x = torch.nn.functional.batch_norm(
      x, None, None, w['stack/norm0/batch/scale'], w['stack/norm0/batch/bias'],
      training=True,
    )  # fmt: skip
    x = torch.relu(x) @ w['output/kernel'] + w['output/bias']
    return torch.tanh(x)

  def judge(self, x):
    w = self.weights['discriminator']
    x = x @ w['stack/dense0/kernel'] + w['stack/dense0/bias']
    x = self.torch.nn.functional.leaky_relu(x, 0.2)
    return (x @ w['output/kernel'] + w['output/bias'])[:, 0]


@pytest.mark.parametrize(
  ('name', 'penalty'),
  [
    ('non_saturating', 'none'),
    ('non_saturating', 'r1'),
    ('hinge', 'none'),
    ('wasserstein', 'gradient'),
  ],
)
def test_steps_of_both_players_are_torch_s(name, penalty):
  """Adam's moves included; D moves twice in a step, G once, against the moved D."""
  torch = pytest.importorskip('torch')
  changes = {
    'task.loss': name, 'task.penalty': penalty, 'task.critic_steps': 2,
    'task.discriminator_rate': 0.5, 'optimizer.beta1': 0.5,
  }  # fmt: skip
  _, task, state, batch, hyper = make(changes=changes)
  peer = Torch(torch, state)
  adams = {
    player: torch.optim.Adam(list(weights.values()), rate, (0.5, 0.999), 1e-8)
    for (player, weights), rate in zip(peer.weights.items(), (0.01, 0.005))
  }
  their_d, their_g = torch_losses(torch, name, 0.0)
  step = cases.jit(step_lib.make(task))
  two = {k: jnp.stack([v, v[::-1]]) for k, v in batch.items()}
  for number in range(2):
    keys = rng.Keys(rng.root(0), number)
    state, scalars, finite = step(state, two, keys, hyper)
    assert bool(finite)
    for move in range(2):
      own = rng.Keys(rng.root(0), number * 2 + move)
      real = np.array(two['image'][move], np.float64).reshape(BATCH, -1)
      z = np.array(jax.random.normal(own('noise'), (BATCH, LATENT)), np.float64)
      real, z = torch.tensor(real, requires_grad=True), torch.tensor(z)
      fake = peer.generate(z).detach()
      loss = their_d(peer.judge(real), peer.judge(fake))
      if penalty != 'none':
        share = torch.tensor(
          np.array(jax.random.uniform(own('between'), (BATCH, 1, 1, 1)), np.float64)
        ).reshape(BATCH, 1)
        x = real if penalty == 'r1' else (share * real + (1 - share) * fake).detach()
        x.requires_grad_(True)
        (slopes,) = torch.autograd.grad(peer.judge(x).sum(), x, create_graph=True)
        norms = slopes.norm(dim=1)
        extra = (norms**2).mean() / 2 if penalty == 'r1' else ((norms - 1) ** 2).mean()
        loss = loss + 10.0 * extra
      adams['discriminator'].zero_grad()
      loss.backward()
      adams['discriminator'].step()
      if move == 0:
        first = z
    loss = their_g(peer.judge(peer.generate(first)))
    assert float(scalars['g_loss']) == pytest.approx(loss.item(), rel=1e-4, abs=1e-6)
    adams['generator'].zero_grad()
    loss.backward()
    adams['generator'].step()
  for player, weights in peer.weights.items():
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      state['variables'][player]['params']
    ):
      theirs = weights[jax.tree_util.keystr(path, simple=True, separator='/')]
      np.testing.assert_allclose(leaf, theirs.detach(), rtol=1e-3, atol=2e-5)


def test_norms_move_in_their_own_player_s_turn_real_images_first():
  """Oracle: the players' passes one by one; batch means differ from real to made."""
  config, task, state, batch, hyper = make('dcgan', {'model.depth': 2})
  keys = rng.Keys(rng.root(0), 0)
  game = game_lib.make(config, digits.load(config['data']))
  old = state['variables']
  step = step_lib.make(task)

  @cases.jit
  def run(state):
    z = game.noise(BATCH, keys)
    fake, made = game.generate(old['generator'], z, None, keys, hyper, train=True)
    mine = old['discriminator']
    for images in (batch['image'], fake):
      _, mine = game.judge(mine, images, None, keys, hyper, train=True)
    return step(state, batch, keys, hyper)[0], made, mine

  new, made, mine = run(state)
  for player, want in (
    ('generator', made['batch_stats']),
    ('discriminator', mine['batch_stats']),
  ):
    found = new['variables'][player]['batch_stats']
    assert jax.tree.leaves(found)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(want)):
      np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


# G's forward products by their results' shapes in XLA's text, and how many others of
# that shape a step has: gradients by G's hidden layer and by the images.
PRODUCTS = {
  'dense_gan': {'f32[8,6]': 1, 'f32[8,64]': 1},
  'dcgan': {'f32[128,16]': 0, 'f32[8,64]': 0},
}


@pytest.mark.parametrize('model', PRODUCTS)
def test_a_step_makes_its_images_once(model):
  """In the compiled step G's forward products stand once, though two turns see them."""
  _, task, state, batch, hyper = make(model)
  keys = rng.Keys(rng.root(0), 0)
  step = step_lib.make(task)

  def count(function, *args):
    text = jax.jit(function).lower(*args).compile().as_text()
    return {shape: len(re.findall(rf'= {re.escape(shape)}\S* dot\(', text))
            for shape in PRODUCTS[model]}  # fmt: skip

  alone = count(lambda v: task.film(v, keys, hyper), state['variables'])
  assert alone == dict.fromkeys(PRODUCTS[model], 1)  # eight images: as many as a batch
  found = count(lambda s, b: step(s, b, keys, hyper)[0], state, batch)
  assert found == {shape: 1 + other for shape, other in PRODUCTS[model].items()}


def test_the_average_follows_its_decay_and_counts_in_the_images():
  _, task, state, batch, hyper = make(changes={'task.ema': 0.9})
  step = cases.jit(step_lib.make(task))
  kernel = lambda s: np.asarray(s['params']['output']['kernel'])
  mean = kernel(state['variables']['generator'])
  for number in range(3):
    state, _, _ = step(state, batch, rng.Keys(rng.root(0), number), hyper)
    keep = min(0.9, (1 + number) / (10 + number))
    mean = keep * mean + (1 - keep) * kernel(state['variables']['generator'])
  mine = state['variables']['generator']
  np.testing.assert_allclose(kernel(mine['ema']), mean, rtol=1e-5, atol=1e-7)
  keys = rng.Keys(rng.root(5))
  live = {**mine, 'ema': {name: mine[name] for name in mine['ema']}}
  other = {**state['variables'], 'generator': live}
  options = {'count': 4, 'label': -1}
  draw = cases.jit(lambda v: task.sample(v, None, keys, hyper, options)['image'])
  drawn = [draw(v) for v in (state['variables'], other)]
  assert drawn[0].dtype == np.uint8
  assert (np.asarray(drawn[0]) != np.asarray(drawn[1])).any()


def test_labels_reach_both_players():
  _, task, state, batch, hyper = make(changes={'model.conditional': True})
  keys = rng.Keys(rng.root(0))
  variables = state['variables']

  def draw(label):
    options = {'count': 3, 'label': label}
    return task.sample(variables, None, keys, hyper, options)['image']

  one, other = cases.jit(lambda: (draw(1), draw(2)))()
  assert (one != other).any()
  batch = {**batch, 'shared': batch['image'][::-1]}
  turned = {**batch, 'label': (batch['label'] + 1) % 10}
  loss = cases.jit(task.turns[0].loss)
  one, other = (loss(variables, b, keys, hyper)[0] for b in (batch, turned))
  assert float(one) != float(other)
  assert 'agreement' not in task.metrics  # the toy tells five classes, not ten


# Augmentation


def test_translation_and_cutout_are_their_loops():
  images = jax.random.normal(jax.random.key(0), (5, 8, 6, 2))
  key = jax.random.key(1)
  run = cases.jit(
    lambda x: (diffaugment.translation(x, key), diffaugment.cutout(x, key))
  )
  moved, holed = map(np.asarray, run(images))
  moves = jax.random.randint(key, (5, 2), -jnp.array([1, 1]), jnp.array([2, 2]))
  want = np.zeros_like(moved)
  for b, (down, right) in enumerate(np.asarray(moves)):
    for i in range(8):
      for j in range(6):
        if 0 <= i + down < 8 and 0 <= j + right < 6:
          want[b, i, j] = images[b, i + down, j + right]
  np.testing.assert_array_equal(moved, want)
  assert (np.asarray(moves) != 0).any()
  centres = np.asarray(jax.random.randint(key, (5, 2), 0, jnp.array([9, 6])))
  want = np.array(images)
  for b, (row, column) in enumerate(centres):
    want[b, max(0, row - 2) : row + 2, max(0, column - 1) : column + 2] = 0
  np.testing.assert_array_equal(holed, want)


def test_a_policy_keeps_shape_and_passes_gradients():
  images = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
  augment = diffaugment.make('colour, translation,cutout')
  slope = cases.jit(jax.grad(lambda x: augment(x, jax.random.key(1)).sum()))(images)
  assert slope.shape == images.shape
  assert np.abs(slope).sum() > 0
  assert diffaugment.make('')(images, jax.random.key(0)) is images
  with pytest.raises(errors.UserError, match="did you mean 'cutout'"):
    diffaugment.make('cutot')


# Through the engine


def test_runs_are_measured_filmed_and_reproduce():
  config = make_config('dcgan')
  dataset = digits.load(config['data'])
  bench = tiny.make_bench(config, 'map', 2, dataset=dataset)
  again = [bench.train([bench.slot(s) for s in (3, 4)], deciding='classifier_fid')
           for _ in range(2)]  # fmt: skip
  for at in (0, 1):
    tiny.assert_equal_bits(tiny.bits(again[0], at), tiny.bits(again[1], at))
  film = again[0].arrays[0]['probe/film']
  assert film.shape == (2, pictures.FILMED, 8, 8, 1)
  assert film.dtype == np.uint8
  assert (film[0] != film[1]).any()
  values = again[0].records[0]['values']
  for name in ('classifier_fid', 'precision', 'recall', 'classes', 'diversity'):
    assert np.isfinite(values[f'test/{name}']), name
  curves = {row[2] for row in again[0].records[0]['curves'] if row[1] == 'train'}
  assert {'d_loss', 'g_loss', 'd_real', 'd_fake', 'd_made'} <= curves


# Mistakes


@pytest.mark.parametrize(
  ('model', 'changes', 'wanted'),
  [
    ('dcgan', {'data.range': 'standard'}, r'set data\.range=tanh'),
    ('dcgan', {'task.loss': 'hing'}, "did you mean 'hinge'"),
    ('dcgan', {'task.penalty': 'r2'}, 'use none, gradient, r1'),
    ('dcgan', {'task.critic_steps': 0}, 'critic_steps must be at least 1, not 0'),
    (
      'dcgan',
      {'task.loss': 'hinge', 'task.label_smoothing': 0.1},
      'hinge has no targets to smooth',
    ),
    (
      'dcgan',
      {'task.penalty': 'gradient', 'model.depth': 2},
      'a gradient per image is not defined; use discriminator_norm=layer',
    ),
  ],
)
def test_mistakes_are_one_line(model, changes, wanted):
  def build():
    config = make_config(model, changes)
    dataset = digits.load(config['data'])
    member = member_lib.make(config, dataset)
    slot = member_lib.slot(config, dataset, 0)
    jax.eval_shape(member.init, slot, dataset.arrays)

  with pytest.raises(errors.UserError, match=wanted) as error:
    build()
  assert '\n' not in str(error.value)


def test_a_model_without_noise_is_one_line():
  config = config_lib.base(model='cnn', data='digits', task='gan').to_dict()
  config['data']['range'] = 'tanh'
  config['task']['features'] = 'tests.fixtures.toy_features.make'
  config = config_lib.resolve(config)
  with pytest.raises(errors.UserError, match='as dcgan or dense_gan, not cnn'):
    gan.build(config, digits.load(config['data']))
