"""The same character model in torch at its best: runs in worker processes."""

import time

import numpy as np
import torch
from torch.nn import functional

from experiments.bench import cases, text
from experiments.bench.worker import Offer, Sample


class Network(torch.nn.Module):
  """Embedding, torch.nn.LSTM (time first, its fastest layout), a linear layer."""

  def __init__(self, case: cases.TextCase):
    super().__init__()
    self.embedding = torch.nn.Embedding(case.symbols, case.embedding)
    self.lstm = torch.nn.LSTM(case.embedding, case.hidden)
    self.lstm.bias_hh_l0.requires_grad_(False)  # torch's second bias adds nothing
    self.lstm.bias_hh_l0.zero_()
    self.output = torch.nn.Linear(case.hidden, case.symbols)

  def forward(self, x, state):
    y, state = self.lstm(self.embedding(x), state)
    return self.output(y), state


def train_torch_text(
  case: str, count: int, mode: str, threads: int, seeds: int, device: str = 'cpu'
) -> Offer:
  """`seeds` seeds one after another, the state carried from window to window."""
  del count
  if threads:
    torch.set_num_threads(threads)
  torch.manual_seed(0)
  known = cases.TEXTS[case]
  with torch.no_grad():
    network = Network(known).to(device)
  symbols = np.frombuffer(text.draw(), np.uint8)
  _, ids = np.unique(symbols, return_inverse=True)
  lanes = torch.from_numpy(ids.astype(np.int64))
  lanes = lanes[: len(lanes) // known.batch * known.batch].reshape(known.batch, -1)
  lanes = lanes.T.contiguous().to(device)  # [length, B]
  first = {name: value.clone() for name, value in network.state_dict().items()}

  def loss(x, target, state):
    logits, state = network(x, state)
    value = functional.cross_entropy(logits.flatten(0, 1), target.flatten())
    return value, state

  if mode.startswith('compile'):
    loss = torch.compile(loss)
  shape = (1, known.batch, known.hidden)
  trained = [p for p in network.parameters() if p.requires_grad]

  def train(steps: int) -> Sample:
    begin = time.perf_counter()
    for _ in range(seeds):
      network.load_state_dict(first)
      optimizer = torch.optim.SGD(
        trained,
        lr=cases.LEARNING_RATE,
        momentum=cases.MOMENTUM,
        fused=True,
      )
      state = (torch.zeros(shape, device=device), torch.zeros(shape, device=device))
      for step in range(steps):
        place = step * known.window % (len(lanes) - known.window - 1)
        window = lanes[place : place + known.window + 1]
        optimizer.zero_grad(set_to_none=True)
        value, state = loss(window[:-1], window[1:], state)
        state = (state[0].detach(), state[1].detach())
        value.backward()
        optimizer.step()
    if device != 'cpu':
      torch.cuda.synchronize()
    return Sample(time.perf_counter() - begin, seeds * steps)

  train(2)
  facts = {
    'torch': torch.__version__,
    'params': sum(value.numel() for value in trained),
    'threads': torch.get_num_threads(),
  }
  return Offer(facts, {'train': train})
