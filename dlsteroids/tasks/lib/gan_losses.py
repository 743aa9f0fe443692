"""What two players of a game minimise, as functions of the discriminator's logits."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Loss(NamedTuple):
  """A game's two losses, means over all logits (of a patch map, too).

  Attributes:
    discriminator: `(logits of real, logits of fake, smoothing) -> scalar`.
    generator: `logits of fake -> scalar`.
    smooths: whether label smoothing means anything.
    logistic: whether the logistic of a logit is the chance of being real.
  """

  discriminator: Callable[[Any, Any, Any], Any]
  generator: Callable[[Any], Any]
  smooths: bool = False
  logistic: bool = False


def facts() -> dict[str, Any]:
  """What a report must know of the losses: where D's logits mean chances."""
  return {'logistic': {name: loss.logistic for name, loss in LOSSES.items()}}


def _entropy(real: Any, fake: Any, smoothing: Any) -> Any:
  """-(1-s) log D(x) - s log(1-D(x)) - log(1-D(G(z))); s smooths one side only.

  One-sided as in Salimans et al. 2016: only real targets are 1 - s.
  """
  truth = (1 - smoothing) * jax.nn.softplus(-real) + smoothing * jax.nn.softplus(real)
  return truth.mean() + jax.nn.softplus(fake).mean()


def _squares(real: Any, fake: Any, smoothing: Any) -> Any:
  return 0.5 * ((real - (1 - smoothing)) ** 2).mean() + 0.5 * (fake**2).mean()


LOSSES: Mapping[str, Loss] = {
  # Goodfellow et al. 2014, eq. 1: G minimises log(1 - D(G(z))).
  'minimax': Loss(_entropy, lambda fake: -jax.nn.softplus(fake).mean(), True, True),
  # Ibid., section 3: G minimises -log D(G(z)), whose gradient does not vanish early.
  'non_saturating': Loss(
    _entropy, lambda fake: jax.nn.softplus(-fake).mean(), True, True
  ),
  # Mao et al. 2017, eq. 9: targets 0 and 1.
  'least_squares': Loss(
    _squares, lambda fake: 0.5 * ((fake - 1.0) ** 2).mean(), smooths=True
  ),
  # Arjovsky et al. 2017; needs a Lipschitz critic: a penalty or spectral norm.
  'wasserstein': Loss(
    lambda real, fake, _: fake.mean() - real.mean(), lambda fake: -fake.mean()
  ),
  # Lim & Ye 2017; Miyato et al. 2018, eq. 17.
  'hinge': Loss(
    lambda real, fake, _: jax.nn.relu(1 - real).mean() + jax.nn.relu(1 + fake).mean(),
    lambda fake: -fake.mean(),
  ),
}


def gradient_norms(critic: Callable[[Any], Any], images: Any) -> Any:
  """|d critic(x) / dx| of every image [B], for a critic that sees each on its own.

  The square root's slope at zero is left at zero.
  """
  slopes = jax.grad(lambda x: critic(x).sum())(images)
  squares = (slopes**2).sum(axis=tuple(range(1, slopes.ndim)))
  return jnp.sqrt(jnp.where(squares > 0, squares, 1.0)) * (squares > 0)


def gradient_penalty(
  critic: Callable[[Any], Any], real: Any, fake: Any, key: Any
) -> Any:
  """Gulrajani et al. 2017, eq. 3: (|grad| - 1)^2 at random points between the two."""
  shape = (len(real), *(1,) * (real.ndim - 1))
  share = jax.random.uniform(key, shape, real.dtype)
  between = share * real + (1 - share) * fake
  return ((gradient_norms(critic, between) - 1.0) ** 2).mean()


def r1_penalty(critic: Callable[[Any], Any], real: Any) -> Any:
  """Mescheder et al. 2018, eq. 9: half of |grad|^2 at real images."""
  return 0.5 * (gradient_norms(critic, real) ** 2).mean()


def says(loss: Loss, logits: Any) -> Any:
  """What D says on average: the chance of being real, or its score."""
  return jax.nn.sigmoid(logits).mean() if loss.logistic else logits.mean()
