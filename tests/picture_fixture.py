"""Made-up finished studies of networks that make images: games and translations.

As in `report_fixture`, numbers are drawn, not trained. Images are rings, bars and
crosses of many sizes, so that the pictures can be judged.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlsteroids.results import effects, looks, report
from tests import report_fixture

EVERY = 100  # steps between evaluations
EVALUATIONS = 10
# arm: (what it adds to classifier-FID, its override)
PAINTERS: dict[str, tuple[float, list[Any]]] = {
  'baseline': (0.0, []),
  'generator_norm=none': (9.1, ['model.generator_norm', 'none']),
  'upsampling=resize': (-0.4, ['model.upsample', 'resize']),
  'loss=hinge': (2.2, ['task.loss', 'hinge']),
  'loss=wasserstein': (5.0, ['task.loss', 'wasserstein']),
}
COLLAPSED = ('generator_norm=none', 1, 400)  # arm, seed, from which step on
DIVERGED = ('loss=wasserstein', 2, 650)
QUALITY = {
  'extractor': 'digits',
  'accuracy': 0.9833,
  'dims': 64,
  'note': 'cnn trained on digits, 98.33 % right of 360 test images',
  'counts': {'train': 1257, 'validation': 180, 'test': 360},
  'neighbours': 3,
  'share': 0.1,
  'bias': 'The Fréchet distance of fewer images is larger (Bińkowski et al. 2018).',
}
FLOOR = {'test/classifier_fid': 3.951, 'test/classifier_kid': -0.000412}
FLOOR |= {'test/classes': 10.0, 'test/precision': 0.91234}
LOGISTIC = {'minimax': True, 'non_saturating': True}
METRICS = {
  'classifier_fid': ('lower', 1000.0),
  'classifier_kid': ('lower', 10.0),
  'precision': ('higher', 0.0),
  'diversity': ('higher', 0.0),
  'classes': ('higher', 0.0),
}


def rng(*words: Any) -> np.random.Generator:
  return np.random.default_rng(list(json.dumps(words).encode()))


def draw(label: int, noise: np.random.Generator, side: int, channels: int) -> Any:
  """A ring, a bar or a cross, uint8 [side, side, channels]."""
  y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
  angle, size = noise.uniform(0, np.pi), noise.uniform(0.4, 0.7)
  x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
  shapes = (
    np.abs(np.hypot(x, y) - size),
    np.maximum(np.abs(x), np.abs(y) - size),
    np.maximum(np.minimum(abs(x), abs(y)), np.hypot(x, y) - size),
  )
  ink = np.clip(1.4 - 7 * shapes[label % 3], 0, 1)[..., None]
  colour = noise.uniform(0.3, 1, channels) if channels > 1 else np.ones(1)
  ground = noise.uniform(0, 0.25, channels) if channels > 1 else np.zeros(1)
  shown = ink * colour + (1 - ink) * ground
  return np.uint8(np.round(255 * np.clip(shown, 0, 1)))


def paint(count: int, side: int, channels: int, *words: Any) -> np.ndarray:
  """Images of all shapes in turn, uint8 [count, side, side, channels]."""
  shake = rng(*words)
  return np.stack([draw(i, shake, side, channels) for i in range(count)])


def blur(images: np.ndarray, noise: float, *words: Any) -> np.ndarray:
  """The images, spoiled: 0 leaves them as they are, 1 leaves only noise."""
  grain = rng(*words).integers(0, 256, images.shape)
  return np.uint8(np.round((1 - noise) * images + noise * grain))


def make_study(
  costs: Mapping[str, tuple[float, list[Any]]], seeds: int, **data: Any
) -> dict[str, Any]:
  """One part left out at a time; the first arm is intact."""
  study = report_fixture.digits(2, tuned=False).study
  intact, *others = costs
  factors = {arm: arm.split('=')[0] for arm in others}
  levels = {arm: arm.rpartition('=')[2] for arm in others}
  known = dict.fromkeys(factors.values(), 'usual')
  assignments = {intact: known}
  assignments |= {arm: {**known, factors[arm]: levels[arm]} for arm in others}
  study['arms'] = [
    {
      **study['arms'][0],
      'name': arm,
      'assignment': assignments[arm],
      'overrides': [costs[arm][1]] if costs[arm][1] else [],
      'steps': EVERY * EVALUATIONS,
    }
    for arm in costs
  ]
  study['factors'] = [
    {
      'name': factor,
      'about': '',
      'levels': [{'name': 'usual', 'overrides': []}]
      + [
        {'name': levels[arm], 'overrides': []}
        for arm in others
        if factors[arm] == factor
      ],
      'requires': [],
      'excludes': [],
    }
    for factor in known
  ]
  study['contrasts'] = [
    {
      'factor': factors[arm],
      'level': levels[arm],
      'arm': arm,
      'reference': intact,
      'arm_cells': [arm],
      'reference_cells': [intact],
      'component': 'reference',
    }
    for arm in others
  ]
  study['config'] |= {'task': {'name': 'gan', 'loss': 'non_saturating'}}
  study['excluded'], study['looks'], study['seeds'] = [], [], list(range(seeds))
  study['metrics'] = {
    name: {'better': better, 'fallback': far} for name, (better, far) in METRICS.items()
  }
  deciding = study['metrics']['classifier_fid']
  study['metric'] = {'name': 'classifier_fid', 'split': 'test', **deciding}
  study['data'] |= data
  return study


def level(arm: str, seed: int, step: int, cost: float) -> dict[str, float]:
  """What is measured of a run at a step, by metric."""
  shake = rng(arm, seed, step).normal(0, 0.03, 6)
  fade = float(np.exp(-step / 180))
  lost = (arm, seed) == COLLAPSED[:2] and step >= COLLAPSED[2]
  far = 14 + cost + 90 * fade + 60 * lost
  return {
    'classifier_fid': far * (1 + shake[0]),
    'classifier_kid': 0.002 * far * (1 + shake[1]) - 0.02,
    'precision': float(np.clip(0.9 - 0.6 * fade + shake[2], 0, 1)),
    'diversity': 0.04 if lost else max(0.03, 0.95 - 2 * fade + shake[3]),
    'classes': 3.0 if lost else round(10 - 9 * fade),
  }


def play(arm: str, seed: int, step: int) -> dict[str, float]:
  """The game's numbers since the evaluation before, by name."""
  shake = rng('game', arm, seed, step).normal(0, 0.04, 6)
  fade = float(np.exp(-step / 250))
  if 'wasserstein' in arm or 'hinge' in arm:
    scale = 9.0 if 'wasserstein' in arm else 1.0
    real, fake = scale * (1 + shake[0] - fade), scale * (-0.7 + shake[1] + fade)
    losses = {'d_loss': fake - real, 'g_loss': -fake}
    return {'d_real': real, 'd_fake': fake, 'd_made': fake - 0.1 * scale, **losses}
  real, fake = 0.62 + 0.3 * fade + shake[0], 0.38 - 0.3 * fade + shake[1]
  losses = {'d_loss': -np.log(real) - np.log(1 - fake), 'g_loss': -np.log(fake)}
  losses = {name: float(loss) for name, loss in losses.items()}
  return {'d_real': real, 'd_fake': fake, 'd_made': 0.8 * fake, **losses}


def make_tables(
  study: dict[str, Any], costs: Mapping[str, tuple[float, list[Any]]]
) -> report.Tables:
  """Runs, curves and effects; logs a look."""
  runs, curves = [], []
  for arm in study['arms']:
    name = arm['name']
    for seed in study['seeds']:
      end = DIVERGED[2] if (name, seed) == DIVERGED[:2] else EVERY * EVALUATIONS
      good = (name, seed) != DIVERGED[:2]
      told = {'status': 'ok' if good else 'diverged', 'tuned': 0, 'steps': 1000}
      told |= {'params': arm['params'], 'flops': 1000 * arm['flops_per_step']}
      told |= {'wall_s': 21.0, 'best_step': 900 if good else end}
      last = level(name, seed, 1000, costs[name][0])
      last = last if good else {m: far for m, (_, far) in METRICS.items()}
      scores = {f'{s}/{m}': v for s in ('validation', 'test') for m, v in last.items()}
      runs.append({'arm': name, 'seed': seed, **arm['assignment'], **told, **scores})
      for step in range(EVERY, end + 1, EVERY):
        flops = step * arm['flops_per_step']
        found = level(name, seed, step, costs[name][0])
        rows = [('train', m, v) for m, v in play(name, seed, step).items()]
        rows += [(s, m, v) for s in ('validation', 'test') for m, v in found.items()]
        curves += [(name, seed, step, flops, *row) for row in rows]
  frame = pd.DataFrame(runs)
  study['looks'] = looks.log(study, frame, '2025-03-01T12:00:00Z')
  names = ['arm', 'seed', 'step', 'flops', 'split', 'metric', 'value']
  table = pd.DataFrame(curves, columns=names)
  return report.Tables(frame, table, effects.measure(study, frame))


@functools.cache
def pictures(
  arm: str, seed: int, cost: float, side: int, channels: int
) -> Mapping[str, np.ndarray]:
  """What a run of a game stores; the first seed more than the others."""
  spoil = min(0.5, 0.05 + abs(cost) / 30)
  fixed = paint(64, side, channels, 'images')
  images = blur(fixed, spoil, arm, seed)
  fading = [0.05 + 0.95 * float(np.exp(-t / 2)) for t in range(EVALUATIONS)]
  film = np.stack([blur(fixed[:8], max(f, spoil), arm, seed, f) for f in fading])
  if seed:
    return {'probe/film': film}
  ways = [
    np.uint8(np.round((1 - t) * images[i] + t * images[i + 4]))
    for i in range(4)
    for t in np.linspace(0, 1, 8)
  ]
  ratio = 1.07 - 0.02 * cost
  return {
    'probe/film': film,
    'probe/sample/images': images,
    'probe/sample/interpolation': np.stack(ways),
    'probe/sample/nearest': paint(8, side, channels, 'nearest'),
    'probe/sample/distances': rng('distance', arm).uniform(3, 6, 8),
    'probe/sample/memory': np.array([4.61 * ratio, 4.61, ratio]),
  }


def gan(
  seeds: int = 8,
  side: int = 8,
  channels: int = 1,
  costs: Mapping[str, tuple[float, list[Any]]] = PAINTERS,
) -> report_fixture.Case:
  """Generators of images of one size, measured on features."""
  told = {'quality': QUALITY, 'logistic': LOGISTIC, 'range': 'tanh'}
  study = make_study(
    costs, seeds, facts=told, references={'real against real': dict(FLOOR)}
  )

  def arrays(arm: str, seed: int) -> Mapping[str, np.ndarray]:
    return pictures(arm, seed, costs[arm][0], side, channels)

  return report_fixture.Case(study, make_tables(study, costs), arrays)


def translate(arms: Sequence[str], side: int, channels: tuple[int, int]) -> Any:
  """`(arm, seed) -> arrays` of nets that translate between two domains."""
  sides = {'x': channels, 'y': channels[::-1]}

  def arrays(arm: str, seed: int) -> Mapping[str, np.ndarray]:
    if seed:
      return {}
    found, spoil = {}, 0.05 + 0.1 * arms.index(arm)
    for way, (mine, other) in sides.items():
      name = f'probe/translation/{way}'
      given, truth = paint(8, side, mine, way), paint(8, side, other, way)
      found[f'{name}/input'] = given
      found[f'{name}/translated'] = blur(255 - truth, spoil, arm, way)
      found[f'{name}/again'] = blur(given, spoil, arm, way, 'again')
      found[f'{name}/truth'] = 255 - truth
    return found

  return arrays


def cyclegan(
  seeds: int = 6, side: int = 8, channels: tuple[int, int] = (1, 1), arms: int = 4
) -> report_fixture.Case:
  """Translators between two domains, whose truth is known."""
  names = ('baseline', 'identity=off', 'cycle=off', 'adversarial=off')
  costs = {name: (2.0 * i, []) for i, name in enumerate(names[:arms])}
  told = {'domains': ['upright', 'turned'], 'logistic': False, 'unpaired': True}
  study = make_study(costs, seeds, facts=told, references={})
  tables = make_tables(study, costs)
  curves = tables.curves[~tables.curves['metric'].isin(['diversity', 'classes'])]
  extra = curves[curves['metric'] == 'g_loss']
  extra = [
    extra.assign(metric=f'{name}_loss', value=extra['value'] * share)
    for name, share in (('cycle', 3.0), ('identity', 1.5))
  ]
  tables = tables._replace(curves=pd.concat([curves, *extra], ignore_index=True))
  return report_fixture.Case(study, tables, translate(list(costs), side, channels))
