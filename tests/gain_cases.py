"""Made-up studies over several computes, whose gains are known by construction."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tests import studies

RUNGS = (0.25, 0.5, 1.0, 2.0, 4.0)
FLOPS = 1e12  # of a run at the whole budget
EXAMPLES = 10_000
NATS = {'better': 'lower', 'fallback': 4.0}


def make_study(names: Sequence[str], seeds: int, **changes: Any) -> dict[str, Any]:
  """One-out of factors 'yes' and 'no', with every budget of `RUNGS` asked for."""
  study = studies.make_study(names, seeds)
  study['data'] = {'official_test': True, 'sizes': {'test': EXAMPLES}}
  study['conditions'] = [
    {'regime': 'steps', 'budget': rung, 'size': 1.0}
    for rung in sorted(RUNGS, key=lambda rung: rung != 1)
  ]
  study |= {'targets': [], 'cells': [], 'ratio': 0.0}
  return {**study, **changes}


def in_nats(study: Mapping[str, Any]) -> dict[str, Any]:
  """The same, decided by nats: lower is better."""
  metric = {'name': 'nats', 'split': 'test', **NATS}
  return {**study, 'metric': metric, 'metrics': {'nats': NATS}}


def make_runs(
  study: Mapping[str, Any],
  scores: Mapping[str, Mapping[float, Any]],
  costs: Mapping[str, float] | None = None,
  axis: str = 'budget',
  **changes: Any,
) -> pd.DataFrame:
  """Runs of `scores[arm][rung]`, a number or one a seed, in the deciding metric.

  Args:
    costs: FLOPs at rung 1 against `FLOPS`, by arm; 1 if not given.
  """
  column = f'test/{study["metric"]["name"]}'
  frames = []
  for arm, rungs in scores.items():
    for rung, values in rungs.items():
      state = {'regime': 'steps', 'budget': 1.0, 'size': 1.0, axis: rung}
      row = {
        'arm': arm,
        'seed': study['seeds'],
        'status': 'ok',
        'tuned': 0,
        'flops': FLOPS * rung * (costs or {}).get(arm, 1.0),
        column: np.broadcast_to(np.asarray(values, float), len(study['seeds'])),
      }
      frames.append(pd.DataFrame({**row, **state, **changes}))
  return pd.concat(frames, ignore_index=True)


def power_law(
  factor: float, rungs: Sequence[float] = RUNGS, start: float = 0.1, slope: float = 0.5
) -> dict[float, float]:
  """Errors of an arm that needs `factor` times the compute of one with factor 1."""
  return {rung: start * (rung / factor) ** -slope for rung in rungs}


def noisy(
  errors: Mapping[float, float], seeds: int, shared: float, own: float, key: int
) -> dict[float, np.ndarray]:
  """Errors times noise of mean 1: a part that all arms of a seed share, and an own.

  Args:
    shared, own: standard deviations of the noise's log.
    key: of the own part; the shared one is the same for every key.
  """
  common = np.random.default_rng(3).normal(0, shared, seeds)
  rng = np.random.default_rng([key, 5])
  drift = (shared**2 + own**2) / 2
  return {
    rung: error * np.exp(common + rng.normal(0, own, seeds) - drift)
    for rung, error in errors.items()
  }


def accuracy(errors: Mapping[float, Any]) -> dict[float, Any]:
  """Accuracies of errors."""
  return {rung: 1 - np.asarray(error) for rung, error in errors.items()}


def make_case(seeds: int = 8) -> tuple[dict[str, Any], pd.DataFrame]:
  """Five contrasts, one of every kind: gains of 3.2, 1, ½, far more and far less."""
  factors = {'batch_norm': 3.2, 'dropout': 1.0, 'pooling': 0.5, 'conv': 30.0}
  study = make_study([*factors, 'shift'], seeds)
  scores = {}
  for key, arm in enumerate(study['arms']):
    factor = factors.get(arm['name'].removesuffix('=no'), 1.0)
    factor = 1 / 30 if arm['name'] == 'shift=no' else factor
    errors = power_law(factor, start=0.03)
    scores[arm['name']] = accuracy(noisy(errors, seeds, 0.05, 0.05, key))
  return study, make_runs(study, scores)


def make_curves(
  study: Mapping[str, Any], factors: Mapping[str, float], split: str = 'validation'
) -> pd.DataFrame:
  """Learning curves whose error falls as a power of the FLOPs so far."""
  name = study['metric']['name']
  rows = []
  for arm, factor in factors.items():
    for seed in study['seeds']:
      for step in range(100, 1001, 100):
        error = 0.1 * (step / 1000 / factor) ** -0.5 * (1 + 0.002 * seed)
        value = 1 - error if study['metric']['better'] == 'higher' else error
        rows.append((arm, seed, step, step * 1e9, split, name, value))
  columns = ['arm', 'seed', 'step', 'flops', 'split', 'metric', 'value']
  return pd.DataFrame(rows, columns=columns)
