"""Linear recurrences s(t) = a(t) s(t-1) + b(t), all steps in parallel (Blelloch 1990).

The gradient is such a recurrence backwards, so both ways are one `associative_scan`:
about 2 log T passes over arrays in place of T small steps.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dlsteroids.models.ops import sliding


def run(decay: Any, update: Any, first: Any, reverse: bool = False) -> Any:
  """The states after every step, [T, ...].

  Under `ops.plain()` it is a loop over the steps, for forward mode and as an oracle.

  Args:
    decay: a, [T, ...].
    update: b, [T, ...].
    first: the state before the first step, [...].
    reverse: from the last step to the first.
  """
  if sliding.is_plain():
    return loop(decay, update, first, reverse)
  return _parallel(reverse, decay, update, first)


def loop(decay: Any, update: Any, first: Any, reverse: bool = False) -> Any:
  """The same, step by step."""

  def step(state, now):
    state = now[0] * state + now[1]
    return state, state

  return lax.scan(step, first, (decay, update), reverse=reverse)[1]


def _combine(before: Any, after: Any) -> Any:
  """Two stretches of a recurrence as one: (product of the decays, what is added)."""
  return before[0] * after[0], after[0] * before[1] + after[1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _parallel(reverse: bool, decay: Any, update: Any, first: Any) -> Any:
  at = -1 if reverse else 0
  update = update.at[at].add(decay[at] * first)
  return lax.associative_scan(_combine, (decay, update), reverse=reverse)[1]


def _forward(reverse: bool, decay: Any, update: Any, first: Any) -> Any:
  states = _parallel(reverse, decay, update, first)
  return states, (decay, states, first)


def _backward(reverse: bool, residuals: Any, gradient: Any) -> Any:
  decay, states, first = residuals
  none = jnp.zeros_like(first)[None]
  if reverse:
    later = jnp.concatenate([none, decay[:-1]])
    before = jnp.concatenate([states[1:], first[None]])
  else:
    later = jnp.concatenate([decay[1:], none])
    before = jnp.concatenate([first[None], states[:-1]])
  by_state = _parallel(not reverse, later, gradient, jnp.zeros_like(first))
  return by_state * before, by_state, (by_state * decay)[-1 if reverse else 0]


_parallel.defvjp(_forward, _backward)
