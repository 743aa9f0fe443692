"""Made-up finished studies of recurrent networks: one writes, one forecasts.

As in `report_fixture`, numbers are drawn, not trained. Gates, gradients and forecasts
are shaped like real ones, so that the pictures can be judged.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.results import effects, looks, report
from tests import report_fixture

TEXT = (
  "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\n"
  "Rough winds do shake the darling buds of May,\nAnd summer's lease hath all too "
  'short a date:\nSometime too hot the eye of heaven shines,\nAnd often is his gold '
  "complexion dimm'd;\n"
)
SYMBOLS = tuple(sorted(set(TEXT) | {'\x07', '<'}))
# arm: (what it adds to the metric, how many steps back its gradient reaches)
WRITERS = {
  'input_gate': (0.031, 90.0),
  'forget_gate': (0.312, 7.0),
  'output_gate': (0.012, 70.0),
  'cell_activation': (0.004, 95.0),
  'gating': (0.448, 2.5),
  'layer_norm': (0.021, 60.0),
  'dropout': (-0.006, 80.0),
  'clipping': (0.002, 80.0),
  'carried_state': (0.094, 80.0),
}
FORECASTERS = {'gating': 0.052, 'normalization': 0.131, 'attention': -0.004}
GATES = ('input', 'forget', 'output', 'candidate')
TARGETS = ('HUFL', 'HULL', 'MUFL', 'MULL', 'LUFL', 'LULL', 'OT')
HORIZON, LOOKBACK = 96, 336


def _rng(*words: Any) -> np.random.Generator:
  return np.random.default_rng(list(json.dumps(words).encode()))


def _study(costs: Mapping[str, float], metric: str, seeds: int) -> dict[str, Any]:
  """One idea left out at a time; every idea is 'on' or 'off'."""
  study = report_fixture.digits(2, tuned=False).study
  intact = dict.fromkeys(costs, 'on')
  names = {'baseline': intact}
  names |= {f'{idea}=off': {**intact, idea: 'off'} for idea in costs}
  study['arms'] = [
    {
      **study['arms'][0],
      'name': name,
      'assignment': assignment,
      'overrides': [[f'model.{k}', v] for k, v in assignment.items() if v == 'off'],
    }
    for name, assignment in names.items()
  ]
  study['factors'] = [
    {
      'name': idea,
      'about': '',
      'levels': [{'name': level, 'overrides': []} for level in ('on', 'off')],
      'requires': [],
      'excludes': [],
    }
    for idea in costs
  ]
  study['contrasts'] = [
    {
      'factor': idea,
      'level': 'off',
      'arm': f'{idea}=off',
      'reference': 'baseline',
      'arm_cells': [f'{idea}=off'],
      'reference_cells': ['baseline'],
      'component': 'reference',
    }
    for idea in costs
  ]
  study['excluded'], study['looks'] = [], []
  study['seeds'] = list(range(seeds))
  told = {'better': 'lower', 'fallback': 4.0}
  study['metric'] = {'name': metric, 'split': 'test', **told}
  study['metrics'] = {metric: told}
  return study


def _tables(
  study: Mapping[str, Any], costs: Mapping[str, float], best: float, noise: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
  metric = study['metric']['name']
  runs, curves = [], []
  for arm in study['arms']:
    cost = costs.get(arm['name'].removesuffix('=off'), 0.0)
    for seed in study['seeds']:
      shared, own = _rng('seed', seed), _rng(arm['name'], seed)
      score = best + cost + shared.normal(0, noise) + own.normal(0, 0.6 * noise)
      facts = {'status': 'ok', 'tuned': 0, 'steps': 600, 'params': arm['params']}
      facts |= {'flops': 600 * arm['flops_per_step'], 'wall_s': 9.1, 'best_step': 540}
      scores = {f'validation/{metric}': score + 0.01, f'test/{metric}': score}
      row = {'arm': arm['name'], 'seed': seed, **arm['assignment'], **facts, **scores}
      runs.append(row)
      for step in range(30, 601, 30):
        value = score + 2.5 * best * np.exp(-step / 70)
        flops = step * arm['flops_per_step']
        for split in ('train', 'validation'):
          curves.append((arm['name'], seed, step, flops, split, metric, value))
  names = ['arm', 'seed', 'step', 'flops', 'split', 'metric', 'value']
  return pd.DataFrame(runs), pd.DataFrame(curves, columns=names)


def _finish(
  study: dict[str, Any], costs: Mapping[str, float], best: float, noise: float
) -> report_fixture.Case:
  runs, curves = _tables(study, costs, best, noise)
  study['looks'] = looks.log(study, runs, '2025-03-01T12:00:00Z')
  tables = report.Tables(runs, curves, effects.measure(study, runs))
  return report_fixture.Case(study, tables, lambda arm, seed: None)


def encode(text: str, classes: Sequence[str] = SYMBOLS) -> np.ndarray:
  """uint8 symbol ids of a text, symbol by symbol."""
  return np.array([classes.index(letter) for letter in text], np.uint8)


def _walks(steps: int, units: int, name: str) -> np.ndarray:
  """Smooth signed values [T, U] that jump now and then."""
  rng = _rng('walk', name)
  value, rows = rng.normal(0, 1.5, units), []
  for _ in range(steps):
    jump = rng.random(units) < 0.08
    value = np.where(jump, rng.normal(0, 2.5, units), 0.93 * value)
    rows.append(value + rng.normal(0, 0.3, units))
  return np.array(rows)


def trace(steps: int, units: int = 16) -> dict[str, np.ndarray]:
  """Gates and states of an LSTM over `steps`."""
  squash = lambda x: 1 / (1 + np.exp(-x))
  found = {
    f'probe/trace/gates/{name}': np.float32(
      (np.tanh if name == 'candidate' else squash)(_walks(steps, units, name))
    )
    for name in GATES
  }
  cell = np.float32(1.4 * _walks(steps, units, 'cell'))
  return found | {'probe/trace/cell': cell, 'probe/trace/hidden': np.tanh(cell) * 0.7}


def norms(reach: float, steps: int = 200) -> np.ndarray:
  """Gradient norms that fall by e every `reach` steps, float32 [T]."""
  shake = _rng('norm', reach).normal(0, 0.15, steps)
  return np.float32(0.3 * np.exp(-np.arange(steps) / reach + shake))


def _written(arm: str) -> np.ndarray:
  """A text of 700 symbols; the worse the arm, the more of them are wrong."""
  cost = WRITERS.get(arm.removesuffix('=off'), (0.0, 1.0))[0]
  ids = encode((TEXT * 4)[60:760])
  rng = _rng('text', arm)
  wrong = rng.random(ids.size) < max(cost, 0.0)
  return np.where(wrong, rng.integers(0, len(SYMBOLS), ids.size), ids).astype(np.uint8)


def language(seeds: int = 9, steps: int = 200) -> report_fixture.Case:
  """Ten LSTMs that write letters, scored in nats per character."""
  costs = {idea: cost for idea, (cost, _) in WRITERS.items()}
  study = _study(costs, 'nats', seeds)
  study['data'] |= {
    'name': 'shakespeare',
    'classes': list(SYMBOLS),
    'facts': {
      'unit': 'nats per character',
      'treatments': ['Line breaks are symbols like any other'],
    },
    'references': {
      'uniform over symbols': {'test/nats': float(np.log(len(SYMBOLS)))},
      'bigrams': {'test/nats': 1.74},
      'trigrams': {'test/nats': 1.69},
    },
  }
  case = _finish(study, costs, 1.402, 0.004)

  def arrays(arm: str, seed: int) -> Mapping[str, np.ndarray] | None:
    if seed:
      return {}
    reach = WRITERS.get(arm.removesuffix('=off'), (0.0, 85.0))[1]
    return {
      'probe/text/prompt': encode(TEXT[:60]),
      'probe/text/sample': _written(arm),
      'probe/trace/text': np.resize(encode(TEXT), steps),
      'probe/lag/norms': norms(reach, steps),
      **trace(steps),
    }

  return case._replace(arrays=arrays)


def _series(length: int, dims: int) -> np.ndarray:
  """Daily and weekly waves of hourly values with noise, [length, dims]."""
  t = np.arange(length)[:, None]
  rng = _rng('series')
  phase, size = rng.uniform(0, 6, dims), rng.uniform(2, 9, dims)
  day = np.sin(2 * np.pi * t / 24 + phase) + 0.4 * np.sin(2 * np.pi * t / 168)
  return 12 + size * day + rng.normal(0, 0.8, (length, dims))


def _forecast(arm: str, truth: np.ndarray, cost: float) -> np.ndarray:
  rng = _rng('forecast', arm)
  fade = np.linspace(0.05, 0.4 + 4 * abs(cost), truth.shape[1])[:, None]
  mean = truth.mean(axis=1, keepdims=True)
  drift = rng.normal(0, 1 + 8 * abs(cost), (len(truth), 1, truth.shape[2]))
  return np.float32(truth + fade * (mean - truth + drift))


def forecast(
  seeds: int = 8, dims: int = 7, horizon: int = HORIZON
) -> report_fixture.Case:
  """Four networks that forecast hourly series; persistence and a seasonal copy."""
  study = _study(FORECASTERS, 'mse', seeds)
  told = {'better': 'lower', 'fallback': 4.0}
  study['metrics'] = {'mse': told, 'mae': told}
  steps = np.arange(1, horizon + 1)
  study['data'] |= {
    'name': 'ett_h1',
    'classes': [],
    'facts': {'targets': TARGETS[:dims], 'unit': '°C', 'horizon': horizon},
    'references': {
      'persistence': {'test/mse': 1.294, 'test/mae': 0.713},
      'seasonal copy': {
        'test/mse': 0.512,
        'test/mae': 0.433,
        'test/mse_by_step': (0.40 + 0.0023 * steps).tolist(),
      },
    },
  }
  case = _finish(study, FORECASTERS, 0.391, 0.006)
  case.tables.runs['test/mae'] = 0.4 + 0.3 * (case.tables.runs['test/mse'] - 0.391)
  series = np.float32(_series(LOOKBACK + 3 * horizon + 300, dims))
  starts = (0, 150, 290)
  past = np.stack([series[s : s + LOOKBACK] for s in starts])
  truth = np.stack([series[s + LOOKBACK :][:horizon] for s in starts])

  def arrays(arm: str, seed: int) -> Mapping[str, np.ndarray] | None:
    cost = FORECASTERS.get(arm.removesuffix('=off'), 0.0)
    shake = 0.01 * _rng('step', arm, seed).normal(size=horizon)
    rise = 0.22 + 0.35 * (steps / horizon) ** 0.6 + cost * steps / horizon * 2
    found = {'test/mse_by_step': np.float32(rise + shake)}
    if seed:
      return found
    found['probe/forecast/window'], found['probe/forecast/target'] = past, truth
    found['probe/forecast/mean'] = _forecast(arm, truth, cost)
    found['probe/lag/norms'] = norms(12 if cost > 0.04 else 60, LOOKBACK)
    return found | trace(LOOKBACK)

  return case._replace(arrays=arrays)


def with_arrays(
  case: report_fixture.Case, change: Callable[..., Mapping[str, np.ndarray]]
) -> report_fixture.Case:
  """The case with `change(arm, seed, arrays)` as its arrays."""
  arrays = lambda arm, seed: change(arm, seed, dict(case.arrays(arm, seed) or {}))
  return case._replace(arrays=arrays)
