"""Scaled dot-product attention (Vaswani et al. 2017) in bounded memory.

Queries beyond `Form.chunk` are taken chunk by chunk, and each chunk's weights are
computed again in the backward pass (Rabe & Staats 2021, here without splitting the
keys): memory grows with chunk x keys, not with queries x keys.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from dlsteroids.models.ops import sliding

HIDDEN = -1e30  # the score of a masked position; finite, so that no row is all -inf


class Form(NamedTuple):
  """What is static of attention.

  Attributes:
    causal: whether a query sees no key after it.
    span: a query sees keys less than this many positions away; 0: all.
    chunk: the most queries that are computed at a time.
    kernel: 'xla', or 'cudnn' for NVIDIA's fused one, which keeps no weights at all.
  """

  causal: bool = False
  span: int = 0
  chunk: int = 256
  kernel: str = 'xla'


class Inputs(NamedTuple):
  """What attention reads: T queries, the last of the positions of S >= T keys.

  Attributes:
    query: [B, T, H, D]; None: equal weights on all visible positions.
    key: [B, S, H, D], or None beside no query.
    value: [B, S, H, D].
    valid: bool [B, S], false where there is no key, or None.
  """

  query: Any
  key: Any
  value: Any
  valid: Any = None


Drop = Callable[[Any, Any], Any]  # (weights, index of the chunk) -> weights


def attend(form: Form, inputs: Inputs, steps: int, drop: Drop | None = None) -> Any:
  """Values weighted by softmax(query . key / sqrt(D)), [B, T, H, D].

  Under `ops.plain()` all queries are computed at once. FLOPs are counted for all pairs
  of a query and a key, whatever a mask hides, as torch's counter does.

  Args:
    form: static settings.
    inputs: what is read.
    steps: T.
    drop: dropout of the weights, or None.
  """
  if form.kernel == 'cudnn' and not sliding.is_plain():
    with sliding.other_flops():
      return fused(form, inputs, 'cudnn')
  offset = inputs.value.shape[1] - steps
  if steps <= form.chunk or sliding.is_plain():
    drop_all = None if drop is None else lambda weights: drop(weights, 0)
    mask = visible(form, inputs.valid, offset + jnp.arange(steps), inputs.value)
    return _weigh(inputs, steps, mask, drop_all)
  return _in_chunks(form, inputs, steps, offset, drop)


def fused(form: Form, inputs: Inputs, implementation: Literal['xla', 'cudnn']) -> Any:
  """The same by `jax.nn.dot_product_attention`; as many keys as queries, no dropout."""
  window = (form.span - 1, 0 if form.causal else form.span - 1) if form.span else None
  mask = None if inputs.valid is None else inputs.valid[:, None, None]
  return jax.nn.dot_product_attention(
    inputs.query,
    inputs.key,
    inputs.value,
    mask=mask,
    is_causal=form.causal,
    local_window_size=window,
    implementation=implementation,
  )


def visible(form: Form, valid: Any, rows: Any, value: Any, first: Any = 0) -> Any:
  """Which keys the queries at positions `rows` see, bool [B or 1, 1, T, S]; None: all.

  Args:
    form: static settings.
    valid: bool [B, S], or None.
    rows: positions of the queries among the keys, [T].
    value: [B, S, ...], whose S keys begin at position `first`.
  """
  keys = value.shape[1]
  away = rows[:, None] - (first + jnp.arange(keys))[None]  # [T, S]
  mask = away >= 0 if form.causal else None
  if form.span and form.span < keys:
    near = jnp.abs(away) < form.span
    mask = near if mask is None else mask & near
  mask = None if mask is None else mask[None, None]
  if valid is None:
    return mask
  valid = valid[:, None, None]  # [B, 1, 1, S]
  return valid if mask is None else mask & valid


def _weigh(inputs: Inputs, steps: int, mask: Any, drop: Any) -> Any:
  """Attention with all weights at once."""
  query, key, value, _ = inputs
  batch, keys, heads, units = value.shape
  if query is None:
    shape = (batch, heads, steps, keys)
    dtype = jnp.promote_types(value.dtype, jnp.float32)
    shares = jnp.ones((1, 1, 1, keys), dtype) if mask is None else mask.astype(dtype)
    weights = shares / jnp.maximum(shares.sum(-1, keepdims=True), 1.0)
    weights = jnp.broadcast_to(weights, shape)
  else:
    scores = jnp.einsum('bthd,bshd->bhts', query, key)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32)) * units**-0.5
    scores = scores if mask is None else jnp.where(mask, scores, HIDDEN)
    weights = jax.nn.softmax(scores, -1)
  weights = weights if drop is None else drop(weights)
  return jnp.einsum('bhts,bshd->bthd', weights.astype(value.dtype), value)


def _in_chunks(
  form: Form, inputs: Inputs, steps: int, offset: int, drop: Drop | None
) -> Any:
  """`attend`, `form.chunk` queries at a time."""
  chunk, keys = form.chunk, inputs.value.shape[1]
  count = -(-steps // chunk)
  # What a chunk of a local window can see at most.
  most = chunk + (form.span - 1) * (1 if form.causal else 2) if form.span else keys
  most = min(most, keys)
  query = inputs.query
  if query is not None:
    fill = [(0, 0), (0, count * chunk - steps), (0, 0), (0, 0)]
    query = jnp.pad(query, fill).reshape(query.shape[0], count, chunk, *query.shape[2:])
    query = query.swapaxes(0, 1)  # [N, B, chunk, H, D]

  @functools.partial(jax.checkpoint, prevent_cse=False)
  def body(rest, now):
    index, part = now
    start = offset + index * chunk
    first = jnp.clip(start - form.span + 1, 0, keys - most) if most < keys else 0
    cut = lambda x: (
      x if x is None else jax.lax.dynamic_slice_in_dim(x, first, most, axis=1)
    )
    rest = jax.tree.map(cut, rest)
    mask = visible(form, rest.valid, start + jnp.arange(chunk), rest.value, first)
    drop_chunk = None if drop is None else lambda weights: drop(weights, index)
    return _weigh(rest._replace(query=part), chunk, mask, drop_chunk)

  rest = inputs._replace(query=None)
  with sliding.other_flops():  # computed again for the gradient
    _, outputs = jax.lax.scan(
      lambda carry, now: (carry, body(rest, now)), (), (jnp.arange(count), query)
    )
  outputs = outputs.swapaxes(0, 1)  # [B, N, chunk, H, D]
  return outputs.reshape(outputs.shape[0], -1, *outputs.shape[3:])[:, :steps]


def rotate(x: Any, first: int, base: float = 10_000.0) -> Any:
  """Rotary positions (Su et al. 2021) of x [B, T, H, D], the first of them `first`.

  Units i and i + D/2 make a pair, which turns by position x base^(-2 i / D); the paper
  pairs neighbours, which is the same network with its units in another order.
  """
  half = x.shape[-1] // 2
  rates = base ** (-jnp.arange(half) / half)
  angles = (first + jnp.arange(x.shape[1]))[:, None] * rates  # [T, D/2]
  cos, sin = (f(angles)[:, None].astype(x.dtype) for f in (jnp.cos, jnp.sin))
  one, two = x[..., :half], x[..., half:]
  return jnp.concatenate([one * cos - two * sin, one * sin + two * cos], -1)
