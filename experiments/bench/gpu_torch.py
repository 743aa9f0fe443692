"""The same steps in torch on a GPU: eager, compiled, and captured as a CUDA graph.

A mode is words: 'eager' or 'compile', 'graph' for a whole step (gradient and update)
that is captured once and replayed, 'channels_last'. float32 products run in TF32, or
under autocast in bfloat16.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from experiments.bench import (
  cases,
  data,
  text,
  torch_gan,
  torch_images,
  torch_text,
)
from experiments.bench.worker import Offer, Sample


class Stepper(NamedTuple):
  """Training of one seed: `draw` puts a step's examples into fixed tensors."""

  draw: Callable[[int], None]  # of the step's number
  step: Callable[[], None]  # nothing but work of the device, always on the same tensors
  params: int


def gpu_torch(
  case: str, count: int, mode: str, precision: str, device: str = 'cuda'
) -> Offer:
  """One seed; 'train' and 'memory', the most bytes of the device in use so far."""
  torch.manual_seed(0)
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.allow_tf32 = True
  torch.backends.cudnn.benchmark = True
  begin = time.perf_counter()
  stepper = make_stepper(case, count, mode, device)
  cast = torch.autocast(
    device, torch.bfloat16, precision == 'bfloat16', cache_enabled=False
  )

  def step() -> None:
    with cast:
      stepper.step()

  replay = capture(stepper, step) if 'graph' in mode else step

  def train(steps: int) -> Sample:
    begin = time.perf_counter()
    for number in range(steps):
      stepper.draw(number)
      replay()
    synchronize(device)
    return Sample(time.perf_counter() - begin, steps)

  def memory(steps: int) -> Sample:
    del steps
    return Sample(1.0, torch.cuda.max_memory_allocated() if device == 'cuda' else 0.0)

  train(2)
  facts = {
    'torch': torch.__version__,
    'params': stepper.params,
    'start': time.perf_counter() - begin,
  }
  return Offer(facts, {'train': train, 'memory': memory})


def synchronize(device: str) -> None:
  if device == 'cuda':
    torch.cuda.synchronize()


def capture(stepper: Stepper, step: Callable[[], None]) -> Callable[[], None]:
  """The step as a CUDA graph; the function that replays it."""
  stepper.draw(0)
  side = torch.cuda.Stream()
  side.wait_stream(torch.cuda.current_stream())
  with torch.cuda.stream(side):
    for _ in range(3):  # allocates the optimizer's moments, picks algorithms
      step()
  torch.cuda.current_stream().wait_stream(side)
  graph = torch.cuda.CUDAGraph()
  with torch.cuda.graph(graph):
    step()
  return graph.replay


def make_stepper(case: str, count: int, mode: str, device: str) -> Stepper:
  if case in cases.GAMES:
    return game_stepper(cases.GAMES[case], count, mode, device)
  if case in cases.TEXTS:
    return text_stepper(cases.TEXTS[case], mode, device)
  if case in cases.DECODERS:
    return decoder_stepper(cases.DECODERS[case], mode, device)
  return image_stepper(cases.CASES[case], count, mode, device)


def maybe_compile(function: Any, mode: str) -> Any:
  return torch.compile(function) if 'compile' in mode else function


def make_adam(params: Any, device: str, **settings: Any) -> torch.optim.Optimizer:
  return torch.optim.Adam(params, fused=True, capturable=device == 'cuda', **settings)


def make_momentum(params: Any) -> torch.optim.Optimizer:
  return torch.optim.SGD(
    params, lr=cases.LEARNING_RATE, momentum=cases.MOMENTUM, fused=True
  )


def count_params(params: Any) -> int:
  return sum(value.numel() for value in params)


def update(optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> None:
  optimizer.zero_grad(set_to_none=True)
  loss().backward()
  optimizer.step()


def image_stepper(case: cases.Case, count: int, mode: str, device: str) -> Stepper:
  """Images lie on the device as bytes; a step gathers and normalises them."""
  last = 'channels_last' in mode
  form = torch.channels_last if last else torch.contiguous_format
  network = torch_images.Network(case).to(device, memory_format=form)
  pixels, labels = data.draw(case.shape, count)
  images = torch.from_numpy(pixels).to(device)
  images = images if last else images.permute(0, 3, 1, 2).contiguous()
  targets = torch.from_numpy(labels).long().to(device)
  adam = case.optimizer == 'adam'
  params = list(network.parameters())
  rate = cases.LEARNING_RATE
  optimizer = make_adam(params, device, lr=rate) if adam else make_momentum(params)
  order = torch.randperm(count, device=device)
  chosen = order[: case.batch].clone()

  def loss() -> torch.Tensor:
    x = (images[chosen].float() - data.MEAN) * (1 / data.SD)
    x = x.permute(0, 3, 1, 2) if last else x
    return functional.cross_entropy(network(x), targets[chosen])

  loss = maybe_compile(loss, mode)

  def draw(step: int) -> None:
    place = step * case.batch % (count - case.batch + 1)
    chosen.copy_(order[place : place + case.batch])

  return Stepper(draw, lambda: update(optimizer, loss), count_params(params))


def make_lanes(case: Any, device: str) -> torch.Tensor:
  """The random text as parallel lanes, [length, B]."""
  _, ids = np.unique(np.frombuffer(text.draw(), np.uint8), return_inverse=True)
  lanes = torch.from_numpy(ids.astype(np.int64))
  lanes = lanes[: len(lanes) // case.batch * case.batch].reshape(case.batch, -1)
  return lanes.T.contiguous().to(device)


def draw_window(case: Any, lanes: torch.Tensor, window: torch.Tensor) -> Any:
  def draw(step: int) -> None:
    place = step * case.window % (len(lanes) - case.window - 1)
    window.copy_(lanes[place : place + case.window + 1])

  return draw


def text_stepper(case: cases.TextCase, mode: str, device: str) -> Stepper:
  """cuDNN's LSTM; the state is carried in two fixed tensors."""
  with torch.no_grad():
    network = torch_text.Network(case).to(device)
  network.lstm.flatten_parameters()
  lanes = make_lanes(case, device)
  window = lanes[: case.window + 1].clone()
  params = [value for value in network.parameters() if value.requires_grad]
  optimizer = make_momentum(params)
  shape = (1, case.batch, case.hidden)
  state = (torch.zeros(shape, device=device), torch.zeros(shape, device=device))

  def forward(x, target, h, c):
    logits, new = network(x, (h, c))
    return functional.cross_entropy(logits.flatten(0, 1), target.flatten()), new

  forward = maybe_compile(forward, mode)

  def loss() -> torch.Tensor:
    value, new = forward(window[:-1], window[1:], *(part.clone() for part in state))
    for old, part in zip(state, new):
      old.copy_(part.detach())
    return value

  return Stepper(
    draw_window(case, lanes, window),
    lambda: update(optimizer, loss),
    count_params(params),
  )


def game_stepper(case: cases.GameCase, count: int, mode: str, device: str) -> Stepper:
  """DCGAN's two moves as `torch_gan` makes them, with noise drawn on the device."""
  last = 'channels_last' in mode
  words = ['compile'] * ('compile' in mode) + ['channels_last'] * last
  game = torch_gan.make_game(case, ' '.join(words) or 'eager')
  for nets in game.nets.values():
    for net in nets.values():
      net.to(device)
  game.restart()
  if device == 'cuda':
    for adam in game.adams.values():
      for group in adam.param_groups:
        group['capturable'] = True
  count = min(count, case.images)
  pixels, _ = data.draw(case.shape, count)
  images = torch.from_numpy(pixels).to(device)
  images = images if last else images.permute(0, 3, 1, 2).contiguous()
  order = torch.randperm(count, device=device)
  chosen = order[: case.batch].clone()

  def draw(step: int) -> None:
    place = step * case.batch % (count - case.batch + 1)
    chosen.copy_(order[place : place + case.batch])

  def step() -> None:
    x = (images[chosen].float() - torch_gan.HALF) * (1 / torch_gan.HALF)
    x = x.permute(0, 3, 1, 2) if last else x
    noise = torch.randn(case.batch, cases.LATENT, device=device)
    game.step({'image': x, 'noise': noise})

  params = [value for player in game.nets for value in game.parameters(player)]
  return Stepper(draw, step, count_params(params))


class Decoder(torch.nn.Module):
  """`models/attention.py`'s causal transformer: symbols [T, B] -> logits [T, B, V]."""

  def __init__(self, case: cases.DecoderCase):
    super().__init__()
    self.case = case
    self.embedding = torch.nn.Embedding(case.symbols, case.width)
    self.positions = torch.nn.Parameter(torch.randn(case.window, case.width) * 0.02)
    self.layers = torch.nn.ModuleList(DecoderLayer(case) for _ in range(case.layers))
    self.norm = torch.nn.LayerNorm(case.width)
    self.output = torch.nn.Linear(case.width, case.symbols)

  def forward(self, symbols: torch.Tensor) -> torch.Tensor:
    x = self.embedding(symbols).transpose(0, 1) + self.positions  # [B, T, W]
    for layer in self.layers:
      x = layer(x)
    return self.output(self.norm(x)).transpose(0, 1)


class DecoderLayer(torch.nn.Module):
  """Pre-norm attention through torch's fused kernels, then a GELU perceptron."""

  def __init__(self, case: cases.DecoderCase):
    super().__init__()
    width = case.width
    self.heads = case.heads
    self.norm0, self.norm1 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
    self.mix = torch.nn.Linear(width, 3 * width, bias=False)
    self.out = torch.nn.Linear(width, width)
    self.up = torch.nn.Linear(width, 4 * width)
    self.down = torch.nn.Linear(4 * width, width)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    q, k, v = (
      part.unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, heads, T, W / heads]
      for part in self.mix(self.norm0(x)).chunk(3, 2)
    )
    y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + self.out(y.transpose(1, 2).flatten(2))
    return x + self.down(functional.gelu(self.up(self.norm1(x)), approximate='tanh'))


def decoder_stepper(case: cases.DecoderCase, mode: str, device: str) -> Stepper:
  network = Decoder(case).to(device)
  lanes = make_lanes(case, device)
  window = lanes[: case.window + 1].clone()
  params = list(network.parameters())
  optimizer = make_momentum(params)

  def loss() -> torch.Tensor:
    logits = network(window[:-1])
    return functional.cross_entropy(logits.flatten(0, 1), window[1:].flatten())

  loss = maybe_compile(loss, mode)
  return Stepper(
    draw_window(case, lanes, window),
    lambda: update(optimizer, loss),
    count_params(params),
  )
