"""The same games in torch at its best: DCGAN and CycleGAN, in worker processes.

A step does what tasks/gan.py and tasks/cyclegan.py do: images are made once, D moves
on real and on made ones, then G through the D that has moved. There D's weights are
frozen, so that no gradient of theirs is computed. As in torch's example D's running
averages move in G's turn, too; here they enter nothing.
"""

import abc
import contextlib
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from experiments.bench import cases, data
from experiments.bench.worker import Offer, Sample

Net = torch.nn.Module
HALF = 127.5  # of 0..255


def leaky(x: torch.Tensor) -> torch.Tensor:
  return functional.leaky_relu(x, cases.SLOPE, inplace=True)


def relu(x: torch.Tensor) -> torch.Tensor:
  return functional.relu(x, inplace=True)


class Generator(Net):
  """`models/dcgan.py`'s: noise [B, Z] -> images [B, C, H, W] in (-1, 1)."""

  def __init__(self, case: cases.GameCase, form: torch.memory_format):
    super().__init__()
    height, width, channels = case.shape
    depth = count_halvings(case)
    widths = [case.width << index for index in reversed(range(depth))]
    self.form, self.base = form, (height >> depth, width >> depth, widths[0])
    self.project = torch.nn.Linear(cases.LATENT, math.prod(self.base), bias=False)
    self.norm0 = torch.nn.BatchNorm2d(widths[0])
    self.depth = depth
    for index, (a, b) in enumerate(itertools.pairwise(widths), 1):
      up = torch.nn.ConvTranspose2d(a, b, cases.KERNEL, 2, 1, bias=False)
      self.add_module(f'up{index}', up)
      self.add_module(f'norm{index}', torch.nn.BatchNorm2d(b))
    self.output = torch.nn.ConvTranspose2d(widths[-1], channels, cases.KERNEL, 2, 1)

  def forward(self, z: torch.Tensor) -> torch.Tensor:
    x = self.project(z).unflatten(1, self.base).permute(0, 3, 1, 2)  # [B, C, H, W]
    x = relu(self.norm0(x.contiguous(memory_format=self.form)))
    for index in range(1, self.depth):
      x = getattr(self, f'up{index}')(x)
      x = relu(getattr(self, f'norm{index}')(x))
    return torch.tanh(self.output(x))


class Discriminator(Net):
  """`models/dcgan.py`'s: images [B, C, H, W] -> logits [B]."""

  def __init__(self, case: cases.GameCase):
    super().__init__()
    height, width, channels = case.shape
    depth = count_halvings(case)
    widths = [channels, *(case.width << index for index in range(depth))]
    self.depth = depth
    for index, (a, b) in enumerate(itertools.pairwise(widths), 1):
      first = index == 1
      conv = torch.nn.Conv2d(a, b, cases.KERNEL, 2, 1, bias=first)
      self.add_module(f'conv{index}', conv)
      if not first:
        self.add_module(f'norm{index}', torch.nn.BatchNorm2d(b))
    self.output = torch.nn.Linear((height >> depth) * (width >> depth) * widths[-1], 1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = leaky(self.conv1(x))
    for index in range(2, self.depth + 1):
      x = getattr(self, f'conv{index}')(x)
      x = leaky(getattr(self, f'norm{index}')(x))
    return self.output(x.permute(0, 2, 3, 1).flatten(1))[:, 0]  # [B, H * W * C]


def count_halvings(case: cases.GameCase) -> int:
  """Until the smallest map has sides of at most 7."""
  return next(n for n in itertools.count(1) if max(case.shape[:2]) >> n <= 7)


def norm(x: torch.Tensor) -> torch.Tensor:
  """Instance norm that learns nothing; of one image it is a batch norm."""
  if len(x) == 1:
    return functional.batch_norm(x, None, None, training=True)
  return functional.instance_norm(x)


def reflecting(inputs: int, units: int, kernel: int, bias: bool = False) -> Net:
  """A convolution that keeps the map."""
  return torch.nn.Conv2d(
    inputs, units, kernel, padding=kernel // 2, padding_mode='reflect', bias=bias
  )


class Block(Net):
  """Two convolutions and what they are added to."""

  def __init__(self, units: int):
    super().__init__()
    self.conv0 = reflecting(units, units, 3)
    self.conv1 = reflecting(units, units, 3)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return x + norm(self.conv1(relu(norm(self.conv0(x)))))


class Translator(Net):
  """`models/cyclegan.py`'s generator: images [B, C, H, W] -> images."""

  def __init__(self, case: cases.GameCase):
    super().__init__()
    channels, width = case.shape[-1], case.width
    self.stem = reflecting(channels, width, 7)
    for index in range(2):
      a, b = width << index, width << (index + 1)
      self.add_module(f'down{index}', torch.nn.Conv2d(a, b, 3, 2, 1, bias=False))
      up = torch.nn.ConvTranspose2d(b, a, 3, 2, 1, output_padding=1, bias=False)
      self.add_module(f'up{1 - index}', up)
    self.blocks = case.blocks
    for index in range(case.blocks):
      self.add_module(f'block{index}', Block(4 * width))
    self.output = reflecting(width, channels, 7, bias=True)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    for layer in (self.stem, self.down0, self.down1):
      x = relu(norm(layer(x)))
    for index in range(self.blocks):
      x = getattr(self, f'block{index}')(x)
    for layer in (self.up0, self.up1):
      x = relu(norm(layer(x)))
    return torch.tanh(self.output(x))


class Patches(Net):
  """`models/cyclegan.py`'s discriminator: images -> a map of logits [B, 1, h, w]."""

  def __init__(self, case: cases.GameCase):
    super().__init__()
    units = [case.shape[-1], *(case.width << index for index in range(4))]
    for index, (a, b) in enumerate(itertools.pairwise(units)):
      stride, bias = (2, 2, 2, 1)[index], not index
      self.add_module(f'conv{index}', torch.nn.Conv2d(a, b, 4, stride, 1, bias=bias))
    self.output = torch.nn.Conv2d(units[-1], 1, 4, 1, 1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = leaky(self.conv0(x))
    for layer in (self.conv1, self.conv2, self.conv3):
      x = leaky(norm(layer(x)))
    return self.output(x)


class Pool:
  """Images made earlier, shown again; as `tasks/image_pool.py`'s."""

  def __init__(self, size: int):
    self.size = size
    self.images: list[torch.Tensor] = []

  def show(self, images: torch.Tensor) -> torch.Tensor:
    shown = []
    for image in images.split(1):
      if len(self.images) < self.size:
        self.images.append(image)
      elif torch.rand(()) < 0.5:
        place = int(torch.randint(self.size, ()))
        image, self.images[place] = self.images[place], image
      shown.append(image)
    return torch.cat(shown) if len(shown) > 1 else shown[0]


class Game(abc.ABC):
  """Two players and a step of theirs.

  Attributes:
    nets: by player, by the names that the project's own have.
    calls: the same, called: compiled if the mode says so.
    adams: by player.
    domains: of which a batch has images.
  """

  domains: Sequence[str]

  def __init__(self, nets: Mapping[str, Mapping[str, Net]], mode: str):
    form = memory_format(mode)
    self.nets = {
      player: {name: net.to(memory_format=form) for name, net in parts.items()}
      for player, parts in nets.items()
    }
    compiled = mode.startswith('compile')
    self.calls = {
      player: {
        name: torch.compile(net) if compiled else net for name, net in parts.items()
      }
      for player, parts in self.nets.items()
    }
    self.restart()

  def restart(self) -> None:
    """Optimizers, and what else has a memory, as at the start of a run."""
    self.adams = {
      player: torch.optim.Adam(
        self.parameters(player),
        lr=cases.ADAM_RATE,
        betas=cases.ADAM_BETAS,
        fused=True,
      )
      for player in self.nets
    }

  def parameters(self, player: str) -> list[torch.nn.Parameter]:
    return [value for net in self.nets[player].values() for value in net.parameters()]

  @contextlib.contextmanager
  def frozen(self, player: str) -> Iterator[None]:
    """The player's weights are constants."""
    for value in self.parameters(player):
      value.requires_grad_(False)
    yield
    for value in self.parameters(player):
      value.requires_grad_(True)

  def move(self, player: str, loss: torch.Tensor) -> None:
    self.adams[player].zero_grad(set_to_none=True)
    loss.backward()
    self.adams[player].step()

  @abc.abstractmethod
  def step(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Both moves on images by domain (and 'noise'); the losses."""


class NoiseGame(Game):
  """DCGAN's: non-saturating, the logistic loss."""

  domains = ('image',)

  def __init__(self, case: cases.GameCase, mode: str):
    nets: dict[str, dict[str, Net]] = {
      'generator': {'': Generator(case, memory_format(mode))},
      'discriminator': {'': Discriminator(case)},
    }
    super().__init__(nets, mode)

  def step(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    judge = self.calls['discriminator']['']
    z = batch.get('noise')
    if z is None:
      z = torch.randn(len(batch['image']), cases.LATENT)
    fake = self.calls['generator'][''](z.to(batch['image'].device))
    real = functional.softplus(-judge(batch['image'])).mean()
    d_loss = real + functional.softplus(judge(fake.detach())).mean()
    self.move('discriminator', d_loss)
    with self.frozen('discriminator'):
      g_loss = functional.softplus(-judge(fake)).mean()
      self.move('generator', g_loss)
    return {'d_loss': d_loss.detach(), 'g_loss': g_loss.detach()}


class CycleGame(Game):
  """CycleGAN's: least squares, both cycles, no identity term, a pool."""

  domains = ('x', 'y')

  def __init__(self, case: cases.GameCase, mode: str):
    nets: dict[str, dict[str, Net]] = {
      'generators': {name: Translator(case) for name in ('x_as_y', 'y_as_x')},
      'discriminators': {name: Patches(case) for name in ('x', 'y')},
    }
    super().__init__(nets, mode)

  def restart(self) -> None:
    super().restart()
    self.pools = {domain: Pool(cases.POOL) for domain in self.domains}

  def step(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    makers, judges = self.calls['generators'], self.calls['discriminators']
    x, y = batch['x'], batch['y']
    made = {'y': makers['x_as_y'](x), 'x': makers['y_as_x'](y)}
    d_loss: Any = 0.0
    for domain, fake in made.items():
      shown = self.pools[domain].show(fake.detach())
      d_loss = d_loss + 0.5 * ((judges[domain](batch[domain]) - 1) ** 2).mean()
      d_loss = d_loss + 0.5 * (judges[domain](shown) ** 2).mean()
    self.move('discriminators', d_loss)
    with self.frozen('discriminators'):
      g_loss = sum(0.5 * ((judges[d](made[d]) - 1) ** 2).mean() for d in made)
      gap = (makers['y_as_x'](made['y']) - x).abs().mean()
      gap = gap + (makers['x_as_y'](made['x']) - y).abs().mean()
      self.move('generators', g_loss + cases.CYCLE_WEIGHT * gap)
    losses = {'d_loss': d_loss, 'g_loss': g_loss, 'cycle_loss': gap}
    return {name: value.detach() for name, value in losses.items()}


def memory_format(mode: str) -> torch.memory_format:
  last = mode.endswith('channels_last')
  return torch.channels_last if last else torch.contiguous_format


def make_game(case: cases.GameCase, mode: str) -> Game:
  return {'dcgan': NoiseGame, 'cyclegan': CycleGame}[case.model](case, mode)


def train_torch_game(
  case: str, count: int, mode: str, threads: int, seeds: int, device: str = 'cpu'
) -> Offer:
  """`seeds` seeds one after another.

  Images lie in memory as bytes in the order that the mode's convolutions read, and are
  gathered and brought to [-1, 1] in every step; the optimizer is torch's fused Adam.
  """
  if threads:
    torch.set_num_threads(threads)
  torch.manual_seed(0)
  known = cases.GAMES[case]
  game = make_game(known, mode)
  networks = [net.to(device) for parts in game.nets.values() for net in parts.values()]
  game.restart()
  count = min(count, known.images)
  pixels, _ = data.draw(known.shape, count * len(game.domains))
  last = mode.endswith('channels_last')
  images = {}
  for domain, part in zip(game.domains, np.split(pixels, len(game.domains))):
    values = torch.from_numpy(part).to(device)
    images[domain] = values if last else values.permute(0, 3, 1, 2).contiguous()
  first = [
    {name: value.clone() for name, value in net.state_dict().items()}
    for net in networks
  ]

  def draw(domain, indices):
    x = (images[domain][indices].float() - HALF) * (1 / HALF)
    return x.permute(0, 3, 1, 2) if last else x

  def train(steps: int) -> Sample:
    begin = time.perf_counter()
    for _ in range(seeds):
      for net, values in zip(networks, first):
        net.load_state_dict(values)
      game.restart()
      orders = {domain: torch.randperm(count, device=device) for domain in images}
      for step in range(steps):
        place = step * known.batch % (count - known.batch + 1)
        rows = slice(place, place + known.batch)
        game.step({domain: draw(domain, orders[domain][rows]) for domain in images})
    if device != 'cpu':
      torch.cuda.synchronize()
    return Sample(time.perf_counter() - begin, seeds * steps)

  train(2)
  facts = {
    'torch': torch.__version__,
    'params': sum(value.numel() for net in networks for value in net.parameters()),
    'threads': torch.get_num_threads(),
  }
  return Offer(facts, {'train': train})
