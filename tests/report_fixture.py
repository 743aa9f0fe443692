"""Made-up finished studies, as the store would hand them to the report.

The numbers are drawn, not trained; tests hold the report against them, so what a page
should say can be computed here independently.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlsteroids.results import effects, looks, report
from dlsteroids.results import factorial as factorial_effects

TEST_SIZE = 360
CLASSES = tuple(str(digit) for digit in range(10))
# factor: (bare level, what it costs in accuracy, FLOPs relative to the intact arm)
DIGITS: dict[str, tuple[tuple[str, float, float], ...]] = {
  'activation': (('tanh', 0.002, 1.0), ('identity', 0.071, 1.0)),
  'convolution': (('dense', 0.034, 5.2),),
  'dropout': (('0.0', 0.004, 1.0),),
  'normalization': (('none', 0.018, 0.98),),
  'pooling': (('average', -0.001, 1.0), ('stride', 0.006, 0.31)),
}
INTACT = {
  'activation': 'relu',
  'convolution': 'conv',
  'dropout': '0.5',
  'normalization': 'batch',
  'pooling': 'max',
}
PATHS = {
  'activation': 'model.activation',
  'convolution': 'model.conv',
  'dropout': 'model.dropout',
  'normalization': 'model.norm',
  'pooling': 'model.pool',
}


class Case(NamedTuple):
  """One made-up study, its tables and its arrays by arm and seed."""

  study: dict[str, Any]
  tables: report.Tables
  arrays: Callable[..., Mapping[str, np.ndarray] | None]


def _factors(costs: Mapping[str, Sequence[tuple[str, float, float]]]) -> list[dict]:
  return [
    {
      'name': name,
      'about': '',
      'levels': [{'name': INTACT[name], 'overrides': []}]
      + [
        {'name': level, 'overrides': [[PATHS[name], level]]} for level, _, _ in levels
      ],
      'requires': [],
      'excludes': [],
    }
    for name, levels in costs.items()
  ]


def _study(
  design: str, arms: list[dict], contrasts: list[dict], **changes: Any
) -> dict:
  study: dict[str, Any] = {
    'format': 1,
    'name': 'digits_cnn',
    'design': design,
    'config': {
      'model': {'name': 'cnn', 'activation': 'relu', 'channels': [16, 32]},
      'data': {'name': 'digits', 'path': ''},
      'train': {'steps': 600, 'batch': 64, 'precision': 'float32'},
      'optimizer': {'name': 'adam', 'learning_rate': 0.003, 'clip': None},
      'study': {'design': design, 'seeds': 10, 'alpha': 0.05},
    },
    'factors': [],
    'arms': arms,
    'contrasts': contrasts,
    'excluded': ['pooling=stride with normalization=none: shapes do not meet'],
    'seeds': list(range(10)),
    'metric': {
      'name': 'accuracy',
      'split': 'test',
      'better': 'higher',
      'fallback': 0.1,
    },
    'metrics': {
      'accuracy': {'better': 'higher', 'fallback': 0.1},
      'loss': {'better': 'lower', 'fallback': 2.302585},
    },
    'alpha': 0.05,
    'margin': 0.0,
    'looks_declared': 1,
    'regime': 'steps',
    'looks': [],
    'tune': {},
    'command': 'python -m experiments.launch --config=configs/digits_cnn.py',
    'provenance': {
      'jax': '0.10.2',
      'jaxlib': '0.10.2',
      'flax': '0.12.1',
      'numpy': '2.3.0',
      'python': '3.11.9',
      'device': 'cpu',
      'devices': 2,
      'cores': 2,
      'precision': 'highest',
      'strategy': 'map',
    },
    'git': '0123456789abcdef0123456789abcdef01234567',
    'dlsteroids': '0.1.0',
    'data': {
      'name': 'digits',
      'digest': 'cd' * 32,
      'classes': list(CLASSES),
      'official_test': False,
      'sizes': {'train': 1257, 'validation': 180, 'test': TEST_SIZE},
    },
  }
  study.update(changes)
  return study


def _arm(name: str, assignment: Mapping[str, str], flops: float, params: int) -> dict:
  return {
    'name': name,
    'assignment': dict(assignment),
    'overrides': [
      [PATHS[factor], level]
      for factor, level in assignment.items()
      if level != INTACT[factor]
    ],
    'inapplicable': [],
    'program': f'p-{name}',
    'params': params,
    'flops_per_step': flops,
    'executed_flops_per_step': flops * 0.84,
    'steps': 600,
  }


def _noisy(cost: float, seed: int, arm: str) -> float:
  draw = np.random.default_rng([seed, 7]).normal(0, 0.005)
  own = np.random.default_rng([seed, *arm.encode()]).normal(0, 0.003)
  share = np.clip(0.984 - cost + draw + own, 0, 1)
  return float(np.round(share * TEST_SIZE) / TEST_SIZE)


def _runs(study: Mapping[str, Any], costs: Mapping[str, float], tuned: int) -> list:
  rows = []
  for arm in study['arms']:
    for seed in study['seeds']:
      accuracy = _noisy(costs[arm['name']] * (0.7 if tuned else 1), seed, arm['name'])
      rows.append(
        {
          'arm': arm['name'],
          'seed': seed,
          **arm['assignment'],
          'status': 'ok',
          'tuned': tuned,
          'steps': 600,
          'params': arm['params'],
          'flops': 600 * arm['flops_per_step'],
          'wall_s': 3.1 + 0.01 * seed,
          'best_step': 540,
          'validation/accuracy': accuracy + 0.001,
          'validation/loss': 2 * (1 - accuracy) + 0.02,
          'test/accuracy': accuracy,
          'test/loss': 2 * (1 - accuracy) + 0.03,
          'final/test/accuracy': accuracy - 1 / TEST_SIZE,
        }
      )
  return rows


def _curves(study: Mapping[str, Any], costs: Mapping[str, float]) -> pd.DataFrame:
  rows = []
  for arm in study['arms']:
    rate = 40 + 600 * max(costs[arm['name']], 0)
    for seed in study['seeds']:
      final = _noisy(costs[arm['name']], seed, arm['name'])
      noise = np.random.default_rng([seed, 3]).normal(0, 0.003, 20)
      for step, shake in zip(range(30, 601, 30), noise):
        value = final - (final - 0.1) * float(np.exp(-step / rate)) + shake
        flops = step * arm['flops_per_step']
        for split in ('train', 'validation'):
          row = (arm['name'], seed, step, flops, split, 'accuracy', min(value, 1.0))
          rows.append(row)
  names = ['arm', 'seed', 'step', 'flops', 'split', 'metric', 'value']
  return pd.DataFrame(rows, columns=names)


def _image(label: int) -> np.ndarray:
  """A ring, a bar or a cross on 8×8, uint8 [8, 8, 1]."""
  y, x = np.mgrid[:8, :8] - 3.5
  shapes = (np.abs(np.hypot(x, y) - 2.6), np.abs(x), np.minimum(abs(x), abs(y)))
  ink = np.clip(1.4 - shapes[label % 3], 0, 1) * (np.hypot(x, y) < 4.5)
  return np.uint8(255 * ink)[..., None]


def _probes(arm: str) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(5)
  filters = rng.normal(0, 0.3, (3, 3, 1, 16)).astype(np.float32)
  images = np.stack([_image(label) for label in range(5)])
  x = images[..., 0] / 255.0
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
  maps = sum(
    padded[:, i : i + 8, j : j + 8, None] * filters[i, j, 0]
    for i in range(3)
    for j in range(3)
  )
  apply = np.tanh if 'tanh' in arm else lambda v: np.maximum(v, 0)
  first = apply(maps)  # [M, 8, 8, 16]
  pooled = first.reshape(5, 4, 2, 4, 2, 16).max(axis=(2, 4))
  second = apply(pooled @ rng.normal(0, 0.4, (16, 32)))
  probes = {'probe/images': images}
  if 'dense' in arm:
    probes['probe/weights'] = rng.normal(0, 0.2, (8, 8, 1, 40)).astype(np.float32)
    return probes
  probes['probe/filters'] = filters
  probes['probe/activation/stage0'] = np.float32(first)
  probes['probe/activation/stage1'] = np.float32(second)
  return probes


def _arrays(runs: pd.DataFrame) -> Callable[[str, int], Any]:
  known = runs.set_index(['arm', 'seed', 'tuned'])['test/accuracy']

  def arrays(arm: str, seed: int, tuned: int = 0) -> Mapping[str, np.ndarray] | None:
    if (arm, seed, tuned) not in known.index:
      return None
    label = np.arange(TEST_SIZE) % len(CLASSES)
    share = known[(arm, seed, tuned)]
    wrong = round((1 - share) * TEST_SIZE) if np.isfinite(share) else 0
    prediction = label.copy()
    rng = np.random.default_rng([seed, 11])
    where = rng.choice(TEST_SIZE, wrong, replace=False)
    prediction[where] = (prediction[where] + rng.choice([1, 7, 8], wrong)) % 10
    found = {
      'test/index': np.arange(TEST_SIZE, dtype=np.int32),
      'test/prediction': prediction,
      'test/label': label,
    }
    return {**found, **_probes(arm)} if seed == 0 else found

  return arrays


def finish(study: dict[str, Any], runs: pd.DataFrame, curves: pd.DataFrame) -> Case:
  """Logs the look, then measures the effects as a launch would."""
  study['looks'] = looks.log(study, runs, '2025-03-01T12:00:00Z')
  tables = report.Tables(
    runs,
    curves,
    effects.measure(study, runs),
    factorial_effects.interactions(study, runs),
    factorial_effects.anova(study, runs),
  )
  return Case(study, tables, _arrays(runs))


def digits(seeds: int = 10, *, tuned: bool = True) -> Case:
  """Eight arms leaving one idea out each, as many seeds, untuned and tuned."""
  arms = [_arm('baseline', INTACT, 41_472_000.0, 28_970)]
  costs = {'baseline': 0.0}
  contrasts = []
  for factor, levels in DIGITS.items():
    for level, cost, ratio in levels:
      name = f'{factor}={level}'
      params = round(28_970 * (1 + 0.4 * (ratio > 2)))
      arms.append(_arm(name, {**INTACT, factor: level}, 41_472_000.0 * ratio, params))
      costs[name] = cost
      contrasts.append(
        {
          'factor': factor,
          'level': level,
          'arm': name,
          'reference': 'baseline',
          'arm_cells': [name],
          'reference_cells': ['baseline'],
          'component': 'reference',
        }
      )
  study = _study('one_out', arms, contrasts, factors=_factors(DIGITS))
  study['seeds'] = list(range(seeds))
  if tuned:
    path = 'optimizer.learning_rate'
    study['tune'] = {
      'grid': {path: [0.001, 0.003, 0.01]},
      'seeds': [100, 101],
      'chosen': {arm['name']: {path: 0.003} for arm in arms},
    }
  rows = [row for t in ((0, 1) if tuned else (0,)) for row in _runs(study, costs, t)]
  runs = pd.DataFrame(rows)
  return finish(study, runs, _curves(study, costs))


def factorial(seeds: int = 8) -> Case:
  """All 2³ cells of three factors, with interactions and an ANOVA table."""
  names = ('activation', 'dropout', 'pooling')
  chosen = {name: (DIGITS[name][-1],) for name in names}
  arms, costs = [], {}
  for present in itertools.product((True, False), repeat=len(names)):
    assignment = {
      name: INTACT[name] if kept else chosen[name][0][0]
      for name, kept in zip(names, present)
    }
    bare = [f'{n}={a}' for (n, a), kept in zip(assignment.items(), present) if not kept]
    name = ','.join(bare) or 'baseline'
    arms.append(_arm(name, assignment, 41_472_000.0, 28_970))
    costs[name] = sum(chosen[n][0][1] for n, kept in zip(names, present) if not kept)
  contrasts = [
    {
      'factor': name,
      'level': INTACT[name],
      'arm': f'{name} present',
      'reference': f'{name} absent',
      'arm_cells': [a['name'] for a in arms if a['assignment'][name] == INTACT[name]],
      'reference_cells': [
        a['name'] for a in arms if a['assignment'][name] != INTACT[name]
      ],
      'component': 'arm',
    }
    for name in names
  ]
  study = _study('factorial', arms, contrasts, factors=_factors(chosen))
  study['seeds'] = list(range(seeds))
  runs = pd.DataFrame(_runs(study, costs, 0))
  return finish(study, runs, _curves(study, costs))


def renamed(study: dict[str, Any], old: str, new: str) -> dict[str, Any]:
  """A copy of `study` whose arm `old` is called `new`."""
  swap = lambda name: new if name == old else name
  copy = json.loads(json.dumps(study))
  for arm in copy['arms']:
    arm['name'] = swap(arm['name'])
  for contrast in copy['contrasts']:
    for side in ('arm', 'reference'):
      contrast[side] = swap(contrast[side])
      contrast[f'{side}_cells'] = [swap(name) for name in contrast[f'{side}_cells']]
  return copy
