"""What a reader must know to read the numbers right, in whole sentences."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dlsteroids.analysis import looks, pairs, reach, statistics, summary
from dlsteroids.report import design_words, facts, formats
from dlsteroids.report import regimes as regime_words
from dlsteroids.study import conditions as conditions_lib


def ask(study: Mapping[str, Any]) -> str:
  """The study's title question: its own, or one made of its factors."""
  if study.get('question'):
    return str(study['question'])
  factors = [f['name'].replace('_', ' ') for f in study['factors']]
  data = study['data']['name']
  if not factors:
    return f'How do the arms of {study["name"]} compare on {data}?'
  if len(factors) == 1:
    return f'Does {factors[0]} matter on {data}?'
  return f'Which of {formats.listing(factors)} matters on {data}?'


def head(source: summary.Source) -> str:
  """The intact arm's result and what it cost, in one or two sentences."""
  study, metric = source.study, pairs.deciding(source.study)
  arm, state = summary.intact_arm(study), pairs.declared(study)
  values = summary.scores_of(source, state).value[arm].dropna()
  cost = next(r for r in summary.compute_of(source, state) if r['arm'] == arm)
  what = facts.words(study, metric)
  if not len(values):
    return (
      f'No run of {arm} has ended yet; a run of it is {formats.flops(cost["run"])}.'
    )
  seeds = f'{len(values)} seed{"s" if len(values) > 1 else ""}'
  low, high = (formats.value(metric, float(v)) for v in (values.min(), values.max()))
  spread = f'mean of {seeds}, from {low} to {high}' if len(values) > 1 else seeds
  who = 'The intact model' if _is_intact(study, arm) else f'The arm {arm}'
  text = (
    f'{who} reaches {formats.value(metric, float(values.mean()))} {what} ({spread})'
  )
  text += f' with {formats.count(cost["params"])} parameters'
  text += f' at {formats.flops(cost["run"])} a run'
  wall = formats.seconds(cost['wall'])
  return text + (f' ({wall}).' if wall != formats.NOTHING else '.')


def _is_intact(study: Mapping[str, Any], arm: str) -> bool:
  intact = {f['name']: f['levels'][0]['name'] for f in study['factors']}
  assignment = next(dict(a['assignment']) for a in study['arms'] if a['name'] == arm)
  return all(assignment.get(k, level) == level for k, level in intact.items())


def warn(source: summary.Source) -> list[str]:
  """What limits the whole report: missing runs, looks beyond those declared."""
  warnings = partial(source.study, source.tables.runs)
  look = looks.state(source.study, source.tables.runs)
  note = design_words.describe_look(source.study, look)
  return [*warnings, note] if note else warnings


def partial(study: Mapping[str, Any], runs: pd.DataFrame) -> list[str]:
  """What is missing, a sentence for each tuning state; nothing if all has ended."""
  warnings = []
  for state in sorted({0, pairs.declared(study)}):
    count = summary.count_runs(study, runs, state)
    if not count.missing:
      continue
    kind = 'tuned runs' if state else 'runs'
    seeds = len(study['seeds'])
    bare = [arm for arm, absent in count.missing if len(absent) == seeds]
    text = f'This report is partial: {count.found} of {count.wanted} {kind} have ended'
    if bare:
      text += f'; no runs yet of {formats.listing(bare)}'
    warnings.append(f'{text}.')
  return warnings


def list_notes(source: summary.Source) -> list[str]:
  """How the numbers were made and what they may not be taken for."""
  study = source.study
  notes = [
    _variance(study),
    f'Differences are paired by seed and tested by {_flips(study)}; intervals invert '
    'the same test. Simulated with strongly skewed differences they cover .88 to .94 '
    'instead of .95 at 6 to 10 seeds.',
    'The best step is chosen on validation, by the same rule in every arm; the test '
    'split has no part in it.',
  ]
  design = reach.reach(study, looks.state(study, source.tables.runs).alpha)
  if design.reachable:
    notes.append(design_words.describe_reach(design))
  floor = reach.noise_floor(study, source.tables.runs, pairs.declared(study))
  if not formats.missing(floor):
    words = formats.delta(pairs.deciding(study), floor, unit=True).lstrip('+')
    notes.append(f'Noise floor: differences of unpaired seeds scatter by {words} (SD).')
  if not study['margin']:
    notes.append('No margin was declared, so nothing can be called equivalent.')
  notes.append(
    'Nominal FLOPs count multiply-accumulates of products and convolutions twice, '
    'padding included; executed FLOPs are those of the program really run.'
  )
  loose = [arm['name'] for arm in study['arms'] if arm.get('unknown_loops')]
  if loose:
    notes.append(
      f'A loop of unknown length does counted work in {formats.listing(loose)}: its '
      'body counts once, so these FLOPs are too low.'
    )
  notes += _quality(study) + facts.treatments(study)
  return notes + _tuning(study) + _arms(study)


def compare_references(source: summary.Source) -> str:
  """How the intact arm stands to real images and to methods without descent, or ''."""
  study, metric = source.study, pairs.deciding(source.study)
  arm, scores = summary.intact_arm(study), facts.scores(study, metric)
  mean = summary.mean_of(source, arm, metric, pairs.declared(study))
  if not scores or formats.missing(mean):
    return ''
  sign = 1 if study['metric']['better'] == 'higher' else -1
  floor = scores.pop(facts.FLOOR, None)
  ahead = [name for name, score in scores.items() if sign * (score - mean) >= 0]
  what = f'On {facts.words(study, metric)}, the mean of {arm}'
  texts = []
  if floor is not None:
    times = f', {mean / floor:.1f} times' if sign < 0 < min(mean, floor) else ' beside'
    texts.append(
      f'{what} is {formats.value(metric, mean)}{times} what real images score against '
      f'other real ones ({formats.value(metric, floor)}): about the best to be '
      'expected of as many.'
    )
  if ahead:
    names = formats.listing(ahead)
    texts.append(f'{what} is not better than {names} (without gradient descent).')
  elif scores:
    texts.append(f'{what} is better than every method without gradient descent.')
  return ' '.join(texts)


def _variance(study: Mapping[str, Any]) -> str:
  text = 'All intervals and p-values are over seeds, on this test set.'
  if study['data']['official_test']:
    return f'{text} The test split is the same for every seed.'
  return (
    f'{text} There is no official test split: the seed draws the split too, and the '
    'spread over seeds contains that.'
  )


def _flips(study: Mapping[str, Any]) -> str:
  """The test in words: all sign flips, or a sample where there are too many."""
  if len(study['seeds']) <= statistics.EXACT_SEEDS:
    return 'exact sign flips'
  return f'{statistics.FLIPS:,} sampled sign flips'


def _quality(study: Mapping[str, Any]) -> list[str]:
  """What made images are measured with, and what real ones would score."""
  told = facts.quality(study)
  if not told:
    return []
  right = told.get('accuracy')
  right = right if isinstance(right, float) and math.isfinite(right) else None
  note = str(told.get('note') or '').strip().rstrip('.')
  text = f'Images are measured on features of {told["extractor"]}'
  text += f': {note}.' if note else '.'
  if right is not None and f'{100 * right:.2f}' not in note:
    text += f' It names {formats.value("accuracy", right)} of its test images right.'
  counts = told.get('counts') or {}
  sizes = [f'{counts[s]:,} {s}' for s in ('validation', 'test') if counts.get(s)]
  if sizes:
    text += (
      f' As many are made as there are real ones: {formats.listing(sizes)} images.'
    )
  notes = [text, _scores_of_images(told)]
  floor = facts.references(study).get(facts.FLOOR) or {}
  scores = [
    f'{facts.words(study, column)} {formats.value(column, score)}'
    for column, score in floor.items()
    if isinstance(score, (int, float)) and math.isfinite(score)
  ]
  if scores:
    notes.append(
      f'The floor, real images against other real ones: {"; ".join(scores)}.'
    )
  bias = str(told.get('bias') or '').strip()
  return [*notes, bias] if bias else notes


def _scores_of_images(told: Mapping[str, Any]) -> str:
  """What the numbers on features mean."""
  text = (
    'classifier-FID and classifier-KID are Fréchet and kernel distances on these '
    'features. Only values on the same features compare: the FID and KID of papers are '
    'on Inception’s.'
  )
  if told.get('neighbours'):
    text += f' Precision and recall go by {told["neighbours"]} nearest neighbours.'
  if told.get('share'):
    share = formats.number(100 * told['share'])
    text += f' A class counts as made from {share}{formats.THIN}% of an even share on.'
  return text


def _tuning(study: Mapping[str, Any]) -> list[str]:
  tune = study.get('tune') or {}
  if not tune:
    return []
  grid = '; '.join(
    f'{path} of {", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in vs)}'
    for path, vs in tune['grid'].items()
  )
  seeds = ', '.join(map(str, tune['seeds']))
  return [
    f'Tuned numbers come from an equal grid per arm ({grid}), chosen on validation '
    f'with seeds {seeds}, which take no part in the claim.',
    *edges(tune),
  ]


def edges(tune: Mapping[str, Any]) -> list[str]:
  """How many arms chose an end of the grid, where beyond it may be better."""
  chosen: dict[str, list[Mapping[str, Any]]] = {}
  for row in tune.get('chosen_at') or ():
    condition = conditions_lib.Condition(row['regime'], row['budget'], row['size'])
    name = regime_words.name_condition(condition)
    chosen.setdefault(name, []).append(row['numbers'])
  notes = []
  for path, grid in tune['grid'].items():
    parts = []
    for where, rows in chosen.items() if len(grid) > 1 else ():
      counts = {
        word: sum(math.isclose(numbers[path], end) for numbers in rows)
        for word, end in (('largest', max(grid)), ('smallest', min(grid)))
      }
      words = [f'{count} the {word}' for word, count in counts.items() if count]
      if words:
        parts.append(f'{where}, of {len(rows)} arms {formats.listing(words)}')
    if parts:
      notes.append(
        f'At an end of the grid, beyond which {path} may be better: {"; ".join(parts)}.'
      )
  return notes


def _arms(study: Mapping[str, Any]) -> list[str]:
  notes = [f'Excluded: {text}.' for text in study['excluded']]
  for arm in study['arms']:
    if arm['inapplicable']:
      names = formats.listing(list(arm['inapplicable']))
      notes.append(f'In {arm["name"]}, {names} cannot apply: it is the arm without.')
  return notes
