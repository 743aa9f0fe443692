"""The players of the shipped games in torch, from their own papers' layers.

Weights are dicts by flat path as `game_cases` has them, as float64 tensors; images are
turned to torch's layout and back. Batch norm by torch's functional form, whose running
variance is unbiased: it is returned by itself.
"""

import torch
from torch.nn import functional

SLOPE = 0.25  # which float32 has to the bit
ACTIVATIONS = {
  'relu': functional.relu,
  'leaky_relu': lambda x: functional.leaky_relu(x, SLOPE),
  'tanh': torch.tanh,
}


class Weights:
  """A net's weights and options, and what its batch norms would keep."""

  def __init__(self, values, options, player):
    self.values = {
      '/'.join(path): torch.tensor(value, dtype=torch.float64)
      for path, value in values.items()
    }
    for name, value in self.values.items():
      value.requires_grad_(name.startswith('params'))
    self.options, self.player = options, player
    self.norm_kind = options[f'{player}_norm']
    self.act = ACTIVATIONS[options[f'{player}_activation']]
    self.kept = {}

  def get(self, kind, name):
    return self.values.get(f'{kind}/{name}')

  def kernel(self, name):
    value = self.get('params', f'{name}/kernel')
    vector = self.get('spectral', f'{name}/u')
    if vector is None:
      return value
    matrix = value.reshape(-1, value.shape[-1]).T  # torch's: outputs first
    with torch.no_grad():
      right = functional.normalize(matrix.T @ vector, dim=0)
      left = functional.normalize(matrix @ right, dim=0)
    self.kept[f'{name}/u'] = left
    return value / (left @ matrix @ right)

  def bias(self, name):
    return self.get('params', f'{name}/bias')

  def norm(self, x, name):
    """x [B, C, ...] normed in training."""
    kind = self.norm_kind
    if kind in ('none', 'spectral'):
      return x
    place = f'{name}/{kind}'
    scale, bias = (self.get('params', f'{place}/{what}') for what in ('scale', 'bias'))
    if kind == 'layer':
      return functional.group_norm(x, 1, scale, bias, eps=1e-6)
    if kind == 'instance':
      return functional.instance_norm(x, weight=scale, bias=bias, eps=1e-5)
    mean, var = (
      self.get('batch_stats', f'{place}/{what}').clone() for what in ('mean', 'var')
    )
    y = functional.batch_norm(x, mean, var, scale, bias, True, 0.1, 1e-5)
    # torch keeps n / (n - 1) times the biased variance that it divides by.
    count = x.numel() / x.shape[1]
    old = self.get('batch_stats', f'{place}/var')
    self.kept[f'{place}/mean'] = mean
    self.kept[f'{place}/var'] = 0.9 * old + (var - 0.9 * old) * (count - 1) / count
    return y

  def conv(self, x, name, stride=1, padding=None, reflect=False):
    kernel = self.kernel(name).permute(3, 2, 0, 1).contiguous()
    edge = (kernel.shape[-1] - 1) // 2 if padding is None else padding
    if reflect:
      x, edge = functional.pad(x, (edge,) * 4, 'reflect'), 0
    return functional.conv2d(x, kernel, self.bias(name), stride, edge)

  def grow(self, x, name):
    kernel, bias = self.kernel(name), self.bias(name)
    size, kind = kernel.shape[0], self.options['upsample']
    if kind == 'transposed':
      return functional.conv_transpose2d(
        x,
        kernel.flip(0, 1).permute(2, 3, 0, 1),
        bias,
        stride=2,
        padding=(size - 1) // 2,
        output_padding=size % 2,
      )
    if kind == 'resize':
      x = functional.interpolate(x, scale_factor=2, mode='nearest')
      return functional.conv2d(around(x, size), kernel.permute(3, 2, 0, 1), bias)
    units = kernel.shape[-1] // 4
    kernel = kernel.reshape(size, size, -1, 2, 2, units).permute(5, 3, 4, 2, 0, 1)
    kernel = kernel.reshape(4 * units, -1, size, size)
    y = functional.pixel_shuffle(functional.conv2d(around(x, size), kernel), 2)
    return y if bias is None else y + bias[:, None, None]

  def dense(self, x, name):
    y = x @ self.kernel(name)
    return y if self.bias(name) is None else y + self.bias(name)


def around(x, size):
  """Zeros that keep the map: of an even kernel one more behind."""
  low, high = (size - 1) // 2, size // 2
  return functional.pad(x, (low, high, low, high))


def dcgan_generator(net, z, code):
  x = z if code is None else torch.cat([z, code], 1)
  x = x @ net.kernel('project')
  ups = sorted(
    n.split('/')[1] for n in net.values if n.endswith('kernel') and '/up' in n
  )
  side = 8 // 2 ** (len(ups) + 1)
  x = x.reshape(len(z), side, side, -1).permute(0, 3, 1, 2)
  if net.bias('project') is not None:
    x = x + net.bias('project')[:, None, None]
  x = net.act(net.norm(x, 'norm0'))
  for index, name in enumerate(ups, 1):
    x = net.act(net.norm(net.grow(x, name), f'norm{index}'))
  return torch.tanh(net.grow(x, 'output')).permute(0, 2, 3, 1)


def dcgan_discriminator(net, x, code):
  x = net.act(net.conv(x.permute(0, 3, 1, 2), 'conv1', 2))
  index = 2
  while net.get('params', f'conv{index}/kernel') is not None:
    x = net.act(net.norm(net.conv(x, f'conv{index}', 2), f'norm{index}'))
    index += 1
  flat = x.permute(0, 2, 3, 1).reshape(len(x), -1)
  found = net.dense(flat, 'output')[:, 0]
  if code is not None:
    found = found + (net.dense(code, 'embedding') * x.sum((2, 3))).sum(1)
  return found


def dense_gan_generator(net, z, code):
  x = z if code is None else torch.cat([z, code], 1)
  for index in range(2):
    x = net.act(net.norm(net.dense(x, f'stack/dense{index}'), f'stack/norm{index}'))
  return torch.tanh(net.dense(x, 'output')).reshape(len(z), 5, 4, 1)


def dense_gan_discriminator(net, x, code):
  x = net.act(net.dense(x.reshape(len(x), -1), 'stack/dense0'))
  x = net.act(net.norm(net.dense(x, 'stack/dense1'), 'stack/norm1'))
  found = net.dense(x, 'output')[:, 0]
  if code is not None:
    found = found + (net.dense(code, 'embedding') * x).sum(1)
  return found


def cyclegan_generator(net, x, code):
  reflect = net.options['padding'] == 'reflect'
  count = net.options['downsamples']
  x = net.conv(x.permute(0, 3, 1, 2), 'stem', reflect=reflect)
  x = net.act(net.norm(x, 'norm_stem'))
  for index in range(count):
    x = net.act(net.norm(net.conv(x, f'down{index}', 2), f'norm_down{index}'))
  for index in range(net.options['blocks']):
    place = f'block{index}'
    y = net.conv(x, f'{place}/conv0', reflect=reflect)
    y = net.act(net.norm(y, f'{place}/norm0'))
    y = net.norm(net.conv(y, f'{place}/conv1', reflect=reflect), f'{place}/norm1')
    x = x + y if net.options['residual'] else y
  for index in range(count):
    x = net.act(net.norm(net.grow(x, f'up{index}'), f'norm_up{index}'))
  return torch.tanh(net.conv(x, 'output', reflect=reflect)).permute(0, 2, 3, 1)


def cyclegan_discriminator(net, x, code):
  x, count = x.permute(0, 3, 1, 2), net.options['patch_layers']
  if count == 0:
    x = net.act(net.conv(x, 'conv0'))
    x = net.act(net.norm(net.conv(x, 'conv1'), 'norm1'))
    return net.conv(x, 'output')[:, 0]
  x = net.act(net.conv(x, 'conv0', 2))
  for index in range(1, count + 1):
    x = net.conv(x, f'conv{index}', 2 if index < count else 1)
    x = net.act(net.norm(x, f'norm{index}'))
  return net.conv(x, 'output')[:, 0]


def run(model, player, values, options, x, label=None):
  """What a player answers in training, the gradient of the sum of its sine by each
  weight, and what its norms keep; numpy, by flat path."""
  net = Weights(values, options, player)
  code = None
  if label is not None:
    code = functional.one_hot(torch.tensor(label), 3).double()
  out = globals()[f'{model}_{player}'](net, torch.tensor(x).double(), code)
  out.sin().sum().backward()
  slopes = {
    tuple(name.split('/')): value.grad.numpy()
    for name, value in net.values.items()
    if value.grad is not None
  }
  kept = {name: value.detach().numpy() for name, value in net.kept.items()}
  return out.detach().numpy(), slopes, kept
