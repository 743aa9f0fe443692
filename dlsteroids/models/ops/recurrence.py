"""A recurrence over time that spends its products well.

The product with all inputs is one before the loop (the caller's), the product with the
state is the only one inside it, and the gradient by that product's kernel is one after
the backward loop. Autodiff of `lax.scan` would add that gradient up step by step, which
halves the speed of an LSTM of 512 units on a CPU. What a step computes from its
products is computed again backward: that costs less than to write it and read it back.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from dlsteroids.models.ops import sharding, sliding

Carry = tuple[Any, ...]  # arrays [B, ...]; the first, r [B, R], is what is fed back
# (params, carry, x + u) -> carry, or (params, carry, x, u) -> carry, where x [B, G] is
# the inputs' product and u = r(t-1) @ kernel [B, G].
Step = Callable[..., Carry]


class Inputs(NamedTuple):
  """What a recurrence reads.

  Attributes:
    x: [T, B, G], the product of all inputs with their weights.
    mask: multiplies r before its product, [T or 1, B, R] (recurrent dropout), or None.
    valid: bool [T, B]; where false the carry stays as it was. Or None.
  """

  x: Any
  mask: Any = None
  valid: Any = None


class Form(NamedTuple):
  """What is static of a recurrence.

  Attributes:
    step: one step, pure; its parameters come in by its first argument.
    additive: whether the step takes x + u, and not x and u apart.
    reverse: from the last step to the first.
  """

  step: Step
  additive: bool = True
  reverse: bool = False


def recur(
  form: Form, params: Any, kernel: Any, inputs: Inputs, carry: Carry
) -> tuple[Any, Carry]:
  """Runs a step over time.

  Under `ops.plain()` the gradient is JAX's own, which forward mode needs, too. Memory
  grows linearly with T: the carry and the products of every step are stored.

  Args:
    form: the step, and how it runs.
    params: the step's own, any tree.
    kernel: [R, G].
    inputs: what it reads, time first.
    carry: the state before the first step.

  Returns:
    r after every step [T, B, R], and the carry after the last.
  """
  if sliding.is_plain():
    return _run(form, params, kernel, inputs, carry)
  return _recur(form, params, kernel, inputs, carry)


def _parts(form: Form, kernel: Any, mask: Any, carry: Carry, x: Any) -> tuple[Any, ...]:
  """What the step takes besides params and carry."""
  fed = carry[0] if mask is None else carry[0] * mask
  u = fed @ kernel
  return (x + u,) if form.additive else (x, u)


def _advance(form: Form, valid: Any, params: Any, carry: Carry, *parts: Any) -> Carry:
  new = form.step(params, carry, *parts)
  if valid is None:
    return new
  return jax.tree.map(lambda a, b: jnp.where(valid[:, None], a, b), new, carry)


def _scanned(inputs: Inputs) -> tuple[Inputs, Any]:
  """What is scanned, and the mask if all steps share one."""
  if inputs.mask is not None and inputs.mask.shape[0] == 1:
    return inputs._replace(mask=None), inputs.mask[0]
  return inputs, None


def _run(form: Form, params: Any, kernel: Any, inputs: Inputs, carry: Carry) -> Any:
  scanned, shared = _scanned(inputs)

  def body(carry, now):
    mask = shared if now.mask is None else now.mask
    parts = _parts(form, kernel, mask, carry, now.x)
    carry = _advance(form, now.valid, params, carry, *parts)
    return carry, carry[0]

  carry, outputs = lax.scan(body, carry, scanned, reverse=form.reverse)
  return outputs, carry


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recur(form: Form, params: Any, kernel: Any, inputs: Inputs, carry: Carry) -> Any:
  return _run(form, params, kernel, inputs, carry)


def _forward(form: Form, params: Any, kernel: Any, inputs: Inputs, carry: Carry) -> Any:
  scanned, shared = _scanned(inputs)

  def body(carry, now):
    mask = shared if now.mask is None else now.mask
    parts = _parts(form, kernel, mask, carry, now.x)
    new = _advance(form, now.valid, params, carry, *parts)
    return new, (new[0], (carry, parts))

  with sliding.other_flops():  # the gradient by the kernel is taken, needed or not
    last, (outputs, steps) = lax.scan(body, carry, scanned, reverse=form.reverse)
  masks = (inputs.mask, inputs.valid)
  return (outputs, last), (params, kernel, *masks, carry[0], outputs, steps)


def _backward(form: Form, residuals: Any, gradients: Any) -> Any:
  # The axis of examples: of residuals here, of incoming and outgoing gradients below.
  residual_axes = (None, None, 1, 1, 0, 1, 1)
  back = functools.partial(_backward_share, form)
  return sharding.apart(
    back,
    (residuals, gradients),
    (residual_axes, (1, 0)),
    (None, None, Inputs(1, None, None), 0),
  )


def _backward_share(form: Form, residuals: Any, gradients: Any) -> Any:
  params, kernel, mask, valid, first, outputs, steps = residuals
  scanned, shared = _scanned(Inputs(None, mask, valid))
  turned = kernel.T

  def body(state, now):
    d_carry, d_params = state
    d_output, (carry, parts), masks = now
    advance = functools.partial(_advance, form, masks.valid)
    _, pull = jax.vjp(advance, params, carry, *parts)
    more, d_carry, *d_parts = pull((d_carry[0] + d_output, *d_carry[1:]))
    d_fed = d_parts[-1] @ turned
    mask = shared if masks.mask is None else masks.mask
    d_fed = d_fed if mask is None else d_fed * mask
    d_carry = (d_carry[0] + d_fed, *d_carry[1:])
    return (d_carry, jax.tree.map(jnp.add, d_params, more)), d_parts

  d_outputs, d_last = gradients
  start = (d_last, jax.tree.map(jnp.zeros_like, params))
  (d_first, d_params), d_parts = lax.scan(
    body, start, (d_outputs, steps, scanned), reverse=not form.reverse
  )
  if form.reverse:
    before = jnp.concatenate([outputs[1:], first[None]])
  else:
    before = jnp.concatenate([first[None], outputs[:-1]])
  before = before if mask is None else before * mask
  rows = [a.reshape(-1, a.shape[-1]) for a in (before, d_parts[-1])]  # [T*B, ...]
  d_kernel = rows[0].T @ rows[1]  # one product; einsum would choose another
  return d_params, d_kernel, Inputs(d_parts[0], None, None), d_first


_recur.defvjp(_forward, _backward)
