"""The same networks and steps in torch at its best: runs in worker processes."""

import itertools
import platform
import time

import torch
from torch.nn import functional

from experiments.bench import cases, data
from experiments.bench.worker import Offer, Sample


class Network(torch.nn.Module):
  """`bench_cases.Case` in torch: images [B, C, H, W] -> logits [B, K]."""

  def __init__(self, case: cases.Case):
    super().__init__()
    height, width, channels = case.shape
    self.convs, self.norms = torch.nn.ModuleList(), torch.nn.ModuleList()
    self.pools = []
    for units in case.widths:
      for index in range(case.depth):
        self.convs.append(
          torch.nn.Conv2d(
            channels,
            units,
            case.kernel,
            padding=case.kernel // 2,
            bias=case.norm == 'none',
          )
        )
        self.norms.append(
          torch.nn.BatchNorm2d(units) if case.norm == 'batch' else torch.nn.Identity()
        )
        self.pools.append(index == case.depth - 1)
        channels = units
      height, width = height // 2, width // 2
    sizes = [height * width * channels, *case.hidden]
    self.hidden = torch.nn.ModuleList(
      torch.nn.Linear(a, b) for a, b in itertools.pairwise(sizes)
    )
    self.drop = torch.nn.Dropout(cases.DROPOUT)
    self.output = torch.nn.Linear(sizes[-1], data.CLASSES)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    for conv, norm, pool in zip(self.convs, self.norms, self.pools):
      x = functional.relu(norm(conv(x)))
      if pool:
        x = functional.max_pool2d(x, 2)
    x = x.flatten(1)
    for layer in self.hidden:
      x = self.drop(functional.relu(layer(x)))
    return self.output(x)


def make_optimizer(case: cases.Case, network: Network) -> torch.optim.Optimizer:
  """The case's optimizer, fused."""
  if case.optimizer == 'adam':
    return torch.optim.Adam(network.parameters(), lr=cases.LEARNING_RATE, fused=True)
  return torch.optim.SGD(
    network.parameters(), lr=cases.LEARNING_RATE, momentum=cases.MOMENTUM, fused=True
  )


def torch_versions() -> Offer:
  """Only says which versions there are."""
  return Offer({'torch': torch.__version__, 'python': platform.python_version()}, {})


def train_torch(
  case: str, count: int, mode: str, threads: int, seeds: int, device: str = 'cpu'
) -> Offer:
  """`seeds` seeds one after another.

  Images lie in memory as bytes in the order that the mode's convolutions read, and are
  gathered and normalised in every step; the optimizer is torch's fused one.
  """
  if threads:
    torch.set_num_threads(threads)
  torch.manual_seed(0)
  known = cases.CASES[case]
  network = Network(known).to(device)
  pixels, labels = data.draw(known.shape, count)
  images = torch.from_numpy(pixels).to(device)
  if mode.endswith('channels_last'):
    network = network.to(memory_format=torch.channels_last)
  else:
    images = images.permute(0, 3, 1, 2).contiguous()
  targets = torch.from_numpy(labels).long().to(device)
  first = {name: value.clone() for name, value in network.state_dict().items()}

  def loss(indices):
    x = (images[indices].float() - data.MEAN) * (1 / data.SD)
    if mode.endswith('channels_last'):
      x = x.permute(0, 3, 1, 2)
    return functional.cross_entropy(network(x), targets[indices])

  if mode.startswith('compile'):
    loss = torch.compile(loss)

  def train(steps: int) -> Sample:
    begin = time.perf_counter()
    for _ in range(seeds):
      network.load_state_dict(first)
      optimizer = make_optimizer(known, network)
      order = torch.randperm(count, device=device)
      for step in range(steps):
        place = step * known.batch % (count - known.batch + 1)
        optimizer.zero_grad(set_to_none=True)
        loss(order[place : place + known.batch]).backward()
        optimizer.step()
    if device != 'cpu':
      torch.cuda.synchronize()
    return Sample(time.perf_counter() - begin, seeds * steps)

  train(2)
  facts = {
    'torch': torch.__version__,
    'params': sum(value.numel() for value in network.parameters()),
    'threads': torch.get_num_threads(),
  }
  return Offer(facts, {'train': train})
