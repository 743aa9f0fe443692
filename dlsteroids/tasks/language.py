"""Language modelling: one player that predicts the next symbol."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlsteroids import config as config_lib
from dlsteroids import rng, types
from dlsteroids.config.options import Option
from dlsteroids.tasks.lib import network
from dlsteroids.util import errors

METRIC = 'nats'  # decides unless study.metric names another
OPTIONS = {
  'carry': Option(
    True, 'the state continues from window to window where lanes continue'
  ),
  'metrics': Option(
    '', 'further metrics: dotted modules with make(config), comma-separated'
  ),
}

PROMPT, LENGTH, TEMPERATURE = 32, 400, 0.8  # of the samples that the report shows


def build(config: Mapping[str, Any], dataset: types.Dataset) -> types.Task:
  """The task for a resolved config.

  If the data set's lanes continue one another and `carry` is on, the network's state
  does, too: it is the collection 'carry' of the variables, and gradients end at the
  window (truncated backpropagation through time). Evaluation starts every window from
  zeros, after the context that the data set puts before it. A model whose call takes no
  `carry`, such as a causal transformer, reads every window by itself.

  Raises:
    UserError: if the data set holds no symbols, or the model sees what follows or does
      not answer at every step.
  """
  symbols = len(dataset.classes)
  carried = dataset.lanes and config['task']['carry']
  if 'symbols' not in dataset.facts:
    raise errors.UserError(
      f'task language needs symbols; data set {dataset.name!r} has '
      f'{", ".join(dataset.arrays)}'
    )
  if config['model'].get('bidirectional'):
    raise errors.UserError(
      'config.model.bidirectional: a backward direction sees the symbols that task '
      'language is to predict'
    )
  net = network.make(
    config, lambda batch: (batch['input'], {}), outputs=symbols, symbols=symbols,
    every=True, length=dataset.facts.get('window', 0),
    history=dataset.facts['symbols'] if carried else 0,
  )  # fmt: skip
  recurrent = 'carry' in net.takes  # else every window is read by itself
  carried = carried and recurrent
  if not recurrent:
    check_answers(config, net, symbols)

  def init(keys, batch):
    variables = net.player.init(keys, batch)
    if not carried:
      return variables
    hyper = {path: jnp.float32(0) for path in config_lib.traced_paths(config)}
    x = jnp.zeros((config['train']['batch_size'], 1), jnp.int32)
    shapes = jax.eval_shape(
      lambda: net.apply(variables, x, keys, hyper, train=False, carry=())[1]
    )
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return {**variables, 'carry': zeros}

  def loss(variables, batch, keys, hyper):
    own = dict(variables['model'])
    carry = own.pop('carry', ())
    if carried:
      carry = jax.tree.map(lambda c: jnp.where(batch['first'], 0, c), carry)
    result, new = net.apply(
      own, batch['input'], keys, hyper, train=True, mutable=network.states(own),
      carry=carry,
    )  # fmt: skip
    logits, carry = result if recurrent else (result, ())
    scores = score(logits, batch)
    count = jnp.maximum(batch['weight'].sum(), 1.0)
    value = (scores['nats'] * batch['weight']).sum() / count
    right = (scores['right'] * batch['weight']).sum() / count
    new = {**new, 'carry': carry} if carried else dict(new)
    return value, ({'model': new}, {'nats': value, 'accuracy': right})

  def outputs(variables, batch, keys, hyper):
    logits = net.apply(
      without_carry(variables), batch['input'], keys, hyper, train=False
    )
    weight = batch['weight'] * batch['mask'][:, None]
    return {**score(logits, batch), 'weight': weight, 'mask': batch['mask']}

  def sample(variables, prompt, keys, hyper, options):
    own = without_carry(variables)

    def predict(x, carry):
      return net.apply(own, x[None], keys, hyper, train=False, carry=carry)

    def read_window(x):
      return net.apply(own, x[None], keys, hyper, train=False)

    if not recurrent:
      predict = refeed(read_window, config['data']['window'])
    return generate(predict, prompt, keys, **options)

  def show(variables, batch, keys, hyper):
    def final(logits):
      return score(logits, batch)['nats'][:, -1].sum()

    own, x = without_carry(variables), batch['input']
    arrays = network.look(net, own, x, keys, hyper, final)
    arrays['trace/text'] = x[0]
    if 'unit' in dataset.facts:
      prompt = x[0, : min(PROMPT, x.shape[1])]
      options = {'length': LENGTH, 'temperature': TEMPERATURE, 'top_k': 0}
      arrays['text/prompt'] = prompt
      arrays['text/sample'] = sample(variables, prompt, keys, hyper, options)
    return arrays

  return types.Task(
    players={'model': net.player._replace(init=init)},
    turns=(types.Turn('model', loss),),
    outputs=outputs,
    metrics=network.extra_metrics(config, make_metrics(symbols)),
    show=show,
    sample=sample if 'unit' in dataset.facts else None,
  )


def refeed(read: Any, window: int) -> Any:
  """`predict` of `generate` for a causal model without a state.

  The model reads the last symbols again at every step, as many as a window holds.

  Args:
    read: `symbols [T] -> logits [1, T, V]`.
    window: symbols that a training window holds.
  """

  def predict(x, carry):
    if carry == ():  # the prompt; what follows it in the window is not read yet
      x = x[-window:]
      carry = jnp.zeros(window, jnp.int32).at[: len(x)].set(x), jnp.int32(len(x))
    else:
      symbols, count = carry
      full = count == window
      symbols = jnp.where(full, jnp.roll(symbols, -1), symbols)
      count = jnp.where(full, count, count + 1)
      carry = symbols.at[count - 1].set(x[0]), count
    symbols, count = carry
    return read(symbols)[:, count - 1][:, None], carry

  return predict


def check_answers(
  config: Mapping[str, Any], net: network.Network, symbols: int
) -> None:
  """Raises UserError unless a model gives logits [B, T, V] for windows [B, T]."""
  window = config['data'].get('window', 2)  # drawn sequences have no such option
  x = jnp.zeros((2, window), jnp.int32)
  hyper = {path: jnp.float32(0) for path in config_lib.traced_paths(config)}
  keys = rng.Keys(rng.root(0))

  def answer():
    variables = net.player.init(keys, {'input': x})
    return net.apply(variables, x, keys, hyper, train=False)

  logits = jax.eval_shape(answer)
  if getattr(logits, 'shape', None) != (*x.shape, symbols):
    raise errors.UserError(
      f'task language needs a model that answers at every step, with logits [B, T, V] '
      f'of windows [B, T]; {config["model"]["name"]} gives '
      f'{getattr(logits, "shape", type(logits).__name__)} for {x.shape}, V={symbols}'
    )


def without_carry(variables: Mapping[str, Any]) -> dict[str, Any]:
  return {k: v for k, v in variables['model'].items() if k != 'carry'}


def score(logits: Any, batch: types.Batch) -> dict[str, Any]:
  """'nats' and 'right' of every symbol, [B, T]."""
  targets = batch['target']
  nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
  return {'nats': nats, 'right': (logits.argmax(-1) == targets).astype(jnp.float32)}


def make_metrics(symbols: int) -> dict[str, types.Metric]:
  """Nats and bits a symbol, perplexity, accuracy; the nats of every window."""
  nats = lambda out: (out['nats'], out['weight'])
  right = lambda out: (out['right'], out['weight'])
  worst = math.log(symbols)

  def windows(out):
    total = (out['nats'] * out['weight']).sum(1)
    return total / jnp.maximum(out['weight'].sum(1), 1.0)

  mean = network.mean_metric
  return {
    'nats': mean(nats, 'lower', worst),
    'bits': mean(nats, 'lower', worst / math.log(2), lambda m: m / math.log(2)),
    'perplexity': mean(nats, 'lower', float(symbols), lambda m: math.exp(min(m, 700))),
    'accuracy': mean(right, 'higher', 1.0 / symbols),
    'nats_rows': types.Metric(windows, lambda rows: {'': rows}, '', merge='concat'),
  }


def generate(
  predict: Any,
  prompt: Any,
  keys: rng.Keys,
  *,
  length: int,
  temperature: Any,
  top_k: int,
) -> Any:
  """Draws `length` symbols after a prompt, one at a time.

  Args:
    predict: `(symbols [T], carry) -> (logits [1, T, V], carry)`; carry () begins.
    prompt: int [P], P >= 1.
    keys: the stream 'sample' draws; equal keys give equal samples.
    length: of the sample.
    temperature: divides the logits; 0 takes the likeliest symbol. May be traced.
    top_k: how many of the likeliest symbols to keep; 0 keeps all.

  Returns:
    int32 [length].
  """

  def draw(logits, index):
    key = jax.random.fold_in(keys('sample'), index)
    if top_k:
      least = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))[0][-1]
      logits = jnp.where(logits < least, -jnp.inf, logits)
    warm = jax.random.categorical(key, logits / jnp.maximum(temperature, 1e-6))
    return jnp.where(temperature > 0, warm, logits.argmax()).astype(jnp.int32)

  logits, carry = predict(prompt, ())

  def body(state, index):
    logits, carry = state
    symbol = draw(logits, index)
    logits, carry = predict(symbol[None], carry)
    return (logits[0, -1], carry), symbol

  return jax.lax.scan(body, (logits[0, -1], carry), jnp.arange(length))[1]
