"""What data sets, models, tasks and training exchange: named tuples of pure functions.

They hold functions, so they are closed over and never passed through `jax.jit`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

Array = Any  # a jax.Array or a tracer of one
Batch = Mapping[str, Array]
Variables = dict[str, Any]  # {'params': ..., 'batch_stats': ..., other collections}
Hyper = Mapping[str, Array]  # traced numbers by config path
Outputs = Mapping[str, Array]  # per-example results; carries a 'mask' [B]


class Player(NamedTuple):
  """One network, or several that share an optimizer, and that optimizer.

  Attributes:
    init: `(keys, batch) -> Variables`, the initial values for one member.
    optimizer: `hyper -> optax.GradientTransformation`, built inside the trace so that
      its numbers can be traced.
    module: the linen module, or the functions of another, whose variables these are;
      None unless there is exactly one.

  Example:
    >>> import optax
    >>> init = lambda keys, batch: {'params': {'w': 0.0 * batch['x'][0]}}
    >>> player = Player(init, lambda hyper: optax.sgd(hyper['optimizer.learning_rate']))
    >>> player.module is None
    True
  """

  init: Callable[..., Variables]
  optimizer: Callable[[Hyper], Any]
  module: Any = None


class Turn(NamedTuple):
  """One gradient update of one player while the others are held fixed.

  Attributes:
    player: name of the player that is updated.
    loss: `(variables by player, batch, keys, hyper) -> (scalar, (new, scalars))`, where
      `new` holds changed collections by player and `scalars` what is worth logging.
    repeat: updates per step, each on the next batch.

  Example:
    >>> def loss(variables, batch, keys, hyper):
    ...   error = (batch['x'] @ variables['model']['params']['w'] - batch['y']) ** 2
    ...   return error.mean(), ({}, {'loss': error.mean()})
    >>> Turn('model', loss).repeat
    1
  """

  player: str
  loss: Callable[..., tuple[Array, tuple[Mapping[str, Variables], Mapping[str, Array]]]]
  repeat: int = 1


class Pass(NamedTuple):
  """A forward pass that several turns share, run once a step before the first turn.

  Attributes:
    player: whose parameters it uses. This player must be updated once a step, last.
    run: `(variables by player, batch, keys, hyper) -> (value, new)`: the value, a tree
      that the losses find as `batch['shared']`, and changed collections by player,
      which take effect in the turn of `player`. That turn's gradient passes through.

  Example:
    >>> Pass('generator', lambda variables, batch, keys, hyper: (batch['x'], {})).player
    'generator'
  """

  player: str
  run: Callable[..., tuple[Any, Mapping[str, Variables]]]


class Metric(NamedTuple):
  """A number measured on a split: per batch, merged, reduced, then finished.

  Attributes:
    measure: `outputs -> values`, a pytree of sums (`merge='sum'`) or of per-example
      rows (`merge='concat'`).
    finish: `values -> {suffix: number or array}`, in numpy on the host; suffix '' is
      the metric's own name.
    better: which direction is an improvement; '' for arrays that are only stored.
    fallback: what a diverged run scores, in the metric's unit.
    merge: how batches join.
    reduce: `rows -> values`, pure JAX: what `finish` gets in place of a split's rows
      ('concat'), which then stay on the device. Floats are float64 on CPUs and GPUs.
      Metrics with the same `measure` and `reduce` are reduced once.

  Example:
    >>> Metric(
    ...   measure=lambda out: {'sum': out['error'].sum(), 'count': out['mask'].sum()},
    ...   finish=lambda sums: {'': sums['sum'] / sums['count']},
    ...   better='lower',
    ...   fallback=1.0,
    ... ).merge
    'sum'
  """

  measure: Callable[[Outputs], Any]
  finish: Callable[[Any], Mapping[str, Any]]
  better: Literal['higher', 'lower', '']
  fallback: float = float('nan')
  merge: Literal['sum', 'concat'] = 'sum'
  reduce: Callable[[Any], Any] | None = None


def unchanged(variables: Mapping[str, Variables], keys: Any, hyper: Hyper) -> Any:
  """The identity `Task.after_step`."""
  del keys, hyper
  return variables


class Task(NamedTuple):
  """How models are trained: players, their turns, and how the result is measured.

  Attributes:
    players: by name.
    turns: in order; a step takes each of them.
    outputs: `(variables by player, batch, keys, hyper) -> Outputs` for the metrics.
    metrics: by name; the study's deciding metric is one of them.
    shared: a forward pass that all turns share; or None.
    after_step: `(variables, keys, hyper) -> variables` (moving averages).
    show: `(variables by player, batch, keys, hyper) -> {name: array}` of a few test
      examples, for the report's probes ('activation/stage0', 'trace/gates/forget').
    sample: `(variables by player, prompt, keys, hyper, options) -> samples`: symbols
      [T] that follow a prompt [P], or pictures by name, uint8 [n, H, W, C], for a
      prompt that is a batch; None if the model generates nothing.
    film: `(variables by player, keys, hyper) -> uint8 [n, H, W, C]`, a few pictures
      at every evaluation; None if there are none.
    digest: of whatever a run's result depends on besides config, data and code, such
      as the weights of a feature extractor; '' if nothing.
    facts: JSON for the report.
    references: as in `Dataset`.

  Example:
    >>> player = Player(init=lambda keys, batch: {'params': {}}, optimizer=None)
    >>> turn = Turn('model', loss=None)
    >>> task = Task({'model': player}, (turn,), outputs=None, metrics={})
    >>> task.after_step is unchanged
    True
  """

  players: Mapping[str, Player]
  turns: tuple[Turn, ...]
  outputs: Callable[..., Outputs]
  metrics: Mapping[str, Metric]
  shared: Pass | None = None
  after_step: Callable[..., Any] = unchanged
  show: Callable[..., Mapping[str, Array]] | None = None
  sample: Callable[..., Any] | None = None
  film: Callable[..., Array] | None = None
  digest: str = ''
  facts: Mapping[str, Any] = {}
  references: Mapping[str, Mapping[str, float]] = {}


def rows(arrays: Mapping[str, Array], indices: Array, *, train: bool) -> Batch:
  """The default `Dataset.take`: example i is row i of every array."""
  del train
  return {name: array[indices] for name, array in arrays.items()}


class Request(NamedTuple):
  """One example as one epoch of one seed sees it.

  Attributes:
    example: its index.
    seed: of the run.
    epoch: from 0; -1 in evaluation, where the seed does not matter.
  """

  example: int
  seed: int = 0
  epoch: int = -1


Example = Callable[[Request], Mapping[str, np.ndarray]]


class Stream(NamedTuple):
  """Examples that do not fit in memory and are read as they are needed.

  Attributes:
    shapes: (shape, dtype) of each array of a raw example, by name.
    example: `Request -> raw example` as numpy arrays: its bits depend on the request
      only, so neither order nor threads nor a resumed run can change them. It can be
      pickled, for worker processes, and does not use JAX.

  Example:
    >>> def example(request):
    ...   return {'x': np.full(3, request.example, np.float32)}
    >>> stream = Stream({'x': ((3,), 'float32')}, example)
    >>> stream.example(Request(2))['x'].tolist()
    [2.0, 2.0, 2.0]
  """

  shapes: Mapping[str, tuple[tuple[int, ...], str]]
  example: Example


class Dataset(NamedTuple):
  """Examples that lie on the device as stored, and how batches are made of them.

  Attributes:
    name: as results show it.
    arrays: the stored data that examples are made of; images uint8 [N, H, W, C], labels
      int32 [N], a text uint8 [L], a series float32 [L, F].
    split: `seed -> {'train', 'validation', 'test'}` of int32 indices of examples;
      their sizes do not depend on the seed.
    transform: `(batch, keys, *, train) -> batch`, pure; normalises and, in training,
      augments. Images become float32 [B, H, W, C].
    digest: sha256 (hex) of the arrays and of every option that shapes them.
    classes: class names, in label order.
    official_test: whether the test split is the published one (else the seed draws it).
    take: `(arrays, indices [B], *, train) -> raw batch`, pure; rows of the arrays, or
      windows that start at the indices.
    lanes: whether batches continue one another, so that a state can be carried: lane b
      of step s is training example b * (N // B) + s % (N // B), and `batch['first']` is
      True in the first step of an epoch. Otherwise every epoch is shuffled.
    jitter: training indices move by one offset in [0, jitter) per epoch.
    facts: JSON for the task and the report.
    references: scores of methods without gradient descent, by name and then by a run's
      columns ('test/mse').
    stream: how examples are read if they do not fit in memory; `arrays` then have
      shape, dtype and rows, but large ones lie on disk and enter no program.

  Example:
    >>> parts = {'train': [0, 1], 'validation': [2], 'test': [3]}
    >>> dataset = Dataset(
    ...   name='four',
    ...   arrays={'image': np.zeros((4, 8, 8, 1), np.uint8), 'label': np.arange(4)},
    ...   split=lambda seed: {k: np.asarray(v, np.int32) for k, v in parts.items()},
    ...   transform=lambda batch, keys, *, train: batch,
    ...   digest='sha256 of all this',
    ... )
    >>> sorted(dataset.resident)
    ['image', 'label']
  """

  name: str
  arrays: Mapping[str, Any]
  split: Callable[[int], Mapping[str, np.ndarray]]
  transform: Callable[..., Batch]
  digest: str
  classes: tuple[str, ...] = ()
  official_test: bool = True
  take: Callable[..., Batch] = rows
  lanes: bool = False
  jitter: int = 0
  facts: Mapping[str, Any] = {}
  references: Mapping[str, Mapping[str, float]] = {}
  stream: Stream | None = None

  @property
  def resident(self) -> Mapping[str, np.ndarray]:
    """The arrays that enter programs; none if the data set streams."""
    return {} if self.stream else self.arrays
