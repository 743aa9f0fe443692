"""The networks that are timed, described once for every framework; imports neither."""

from typing import Any, NamedTuple

BATCH = 128
MOMENTUM = 0.9
LEARNING_RATE = 0.01
DROPOUT = 0.25  # after every hidden dense layer


class Case(NamedTuple):
  """A network and how many seeds of it are trained.

  Attributes:
    about: one line for the page.
    shape: of an image, (H, W, C).
    widths: channels per stage of `depth` convolutions, ReLU, and 2×2 max pooling; none
      for a perceptron.
    depth: convolutions per stage.
    kernel: their height and width; SAME padding.
    hidden: units of the dense layers, each with ReLU and dropout.
    seeds: how many.
    batch: examples per step.
    norm: 'batch' after every convolution, before ReLU; 'none'.
    optimizer: 'sgd' with momentum, or 'adam'.
    goal: the least ratio to torch at its best; 0: by the kind of network.
  """

  about: str
  shape: tuple[int, int, int]
  widths: tuple[int, ...]
  depth: int
  kernel: int
  hidden: tuple[int, ...]
  seeds: int
  batch: int = BATCH
  norm: str = 'none'
  optimizer: str = 'sgd'
  goal: float = 0.0


CASES = {
  'lenet': Case(
    'LeNet-size CNN, 5×5 1→32→64, dense 128', (28, 28, 1), (32, 64), 1, 5, (128,), 4
  ),
  'cifar': Case(
    '4-layer CNN, 3×3 3→32→32→64→64, dense 128', (32, 32, 3), (32, 64), 2, 3, (128,), 4
  ),
  'mlp': Case('MLP 784-512-512-10', (28, 28, 1), (), 0, 0, (512, 512), 16),
  'digits': Case(
    'CNN on 8×8, 3×3 1→16→32, dense 64', (8, 8, 1), (16, 32), 1, 3, (64,), 16, 64
  ),
  **{
    f'small{seeds}': Case(
      'CNN 3×3 1→8→16, batch norm, dense 64, Adam',
      *((28, 28, 1), (8, 16), 1, 3, (64,), seeds, 64),
      norm='batch', optimizer='adam', goal=1.2,
    )
    for seeds in (2, 8, 12)
  },
  **{
    f'perceptron{seeds}': Case(
      'MLP 784-64-10, Adam',
      *((28, 28, 1), (), 0, 0, (64,), seeds, 64),
      optimizer='adam', goal=2.0,
    )
    for seeds in (2, 8, 12)
  },
  'airbench': Case(
    '6-layer CNN, 3×3 3→64→256→256 two a stage, batch norm',
    *((32, 32, 3), (64, 256, 256), 2, 3, (), 32, 1000),
    norm='batch',
  ),
  'tiny': Case('toy CNN', (8, 8, 1), (4, 4), 1, 3, (8,), 2, 8),
  'tiny_mlp': Case('toy MLP', (4, 4, 1), (), 0, 0, (8, 8), 3, 8),
}  # fmt: skip


class TextCase(NamedTuple):
  """A character model: embedding, one LSTM layer, a linear layer; state carried.

  Attributes:
    about: one line for the page.
    hidden: units of the LSTM.
    seeds: how many.
    window: symbols of a training example.
    embedding: of a symbol.
    symbols: how many there are.
    batch: sequences per step.
  """

  about: str
  hidden: int
  seeds: int
  window: int = 128
  embedding: int = 64
  symbols: int = 64
  batch: int = 32


TEXTS = {
  f'{word}{hidden}': TextCase(f'character LSTM, {hidden} units, T=128', hidden, seeds)
  for hidden in (256, 512)
  for word, seeds in (('text', 4), ('text_single', 1))
}
TEXTS['tiny_text'] = TextCase('toy LSTM', 4, 2, 8, 3, 64, 2)


class DecoderCase(NamedTuple):
  """A causal transformer over symbols: learned positions, pre-norm, GELU, no dropout.

  Attributes:
    about: one line for the page.
    layers: stacked.
    width: numbers of a position.
    heads: of attention.
    seeds: how many.
    window: symbols of a training example.
    symbols: how many there are.
    batch: sequences per step.
  """

  about: str
  layers: int
  width: int
  heads: int
  seeds: int
  window: int = 128
  symbols: int = 64
  batch: int = 32


DECODERS = {
  'decoder': DecoderCase('attention decoder, 3 layers, 128 wide, T=128', 3, 128, 4, 4),
  'tiny_decoder': DecoderCase('toy decoder', 1, 8, 2, 2, 8, 64, 2),
}


class GameCase(NamedTuple):
  """Two players, an Adam each, one move of either a step; and how many seeds of them.

  Attributes:
    about: one line for the page.
    model: 'dcgan' (noise to images) or 'cyclegan' (images of two domains).
    shape: of an image, (H, W, C).
    width: of the generators' and the discriminators' first maps.
    batch: images per step, of CycleGAN in each domain.
    seeds: how many.
    images: to train on, at most; of CycleGAN in each domain.
    held: validation and test images each; evaluating them is not timed.
    blocks: residual ones of CycleGAN's generators.
  """

  about: str
  model: str
  shape: tuple[int, int, int]
  width: int
  batch: int
  seeds: int
  images: int
  held: int
  blocks: int = 0


GAMES = {
  'dcgan': GameCase(
    'DCGAN 32×32×3, latent 100, width 64, kernel 4, batch norm in both',
    'dcgan', (32, 32, 3), 64, 64, 4, 10_000, 64,
  ),
  'cyclegan': GameCase(
    'CycleGAN 64×64×3, width 64, 6 blocks, 70×70 patches, pool of 50',
    'cyclegan', (64, 64, 3), 64, 1, 1, 1_000, 2, 6,
  ),
  'tiny_dcgan': GameCase('toy DCGAN', 'dcgan', (16, 16, 3), 4, 8, 3, 64, 8),
  'tiny_cyclegan': GameCase('toy CycleGAN', 'cyclegan', (24, 24, 3), 4, 1, 1, 8, 2, 1),
}  # fmt: skip
LATENT, KERNEL, SLOPE = 100, 4, 0.2  # of a DCGAN; leaky_relu's in every discriminator
POOL, CYCLE_WEIGHT = 50, 10.0  # of a CycleGAN
ADAM_RATE, ADAM_BETAS = 2e-4, (0.5, 0.999)


def make_text_config(name: str) -> Any:
  """The project's ConfigDict of a text case, on random symbols."""
  from dlsteroids import config as config_lib

  case = TEXTS[name]
  config = config_lib.base(
    model='recurrent', data='experiments.bench.text', task='language'
  )
  config.data.window = case.window
  config.model.hidden = case.hidden
  config.model.embedding = case.embedding
  config.optimizer.learning_rate = LEARNING_RATE
  config.optimizer.momentum = MOMENTUM
  config.train.batch_size = case.batch
  config.train.eval_batch = 16
  config.study.name = f'bench_{name}'
  config.study.metric = 'nats'
  config.study.seeds = case.seeds
  return config


def make_decoder_config(name: str) -> Any:
  """The project's ConfigDict of a decoder on random symbols."""
  from dlsteroids import config as config_lib

  case = DECODERS[name]
  config = config_lib.base(
    model='attention', data='experiments.bench.text', task='language'
  )
  config.data.window = case.window
  config.model.layers = case.layers
  config.model.width = case.width
  config.model.heads = case.heads
  config.model.positions = 'learned'
  # Learned positions end with the training window; evaluations may be no longer.
  config.data.context = case.window // 2
  config.data.eval_window = case.window // 2
  config.optimizer.learning_rate = LEARNING_RATE
  config.optimizer.momentum = MOMENTUM
  config.train.batch_size = case.batch
  config.train.eval_batch = 16
  config.study.name = f'bench_{name}'
  config.study.metric = 'nats'
  config.study.seeds = case.seeds
  return config


def make_config(name: str, count: int, changes: dict[str, Any] | None = None) -> Any:
  """The project's ConfigDict of a case on `count` random images, or on symbols."""
  from dlsteroids import config as config_lib

  if name in TEXTS:
    return change(make_text_config(name), changes)
  if name in DECODERS:
    return change(make_decoder_config(name), changes)
  case = CASES[name]
  model = 'cnn' if case.widths else 'mlp'
  config = config_lib.base(model=model, data='experiments.bench.data')
  config.data.shape = case.shape
  config.data.count = count
  config.model.hidden = case.hidden
  config.model.dropout = DROPOUT
  if case.widths:
    config.model.widths = case.widths
    config.model.depth = case.depth
    config.model.kernel = case.kernel
    config.model.norm = case.norm
  config.optimizer.name = case.optimizer
  config.optimizer.learning_rate = LEARNING_RATE
  config.optimizer.momentum = MOMENTUM
  config.train.batch_size = case.batch
  config.train.eval_batch = 128
  config.study.name = f'bench_{name}'
  config.study.seeds = case.seeds
  return change(config, changes)


def change(config: Any, changes: dict[str, Any] | None) -> Any:
  with config.unlocked():
    for path, value in (changes or {}).items():
      section, _, key = path.partition('.')
      config[section][key] = value
  return config
