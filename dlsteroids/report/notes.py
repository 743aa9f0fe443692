"""What a reader must know to read the numbers right, in whole sentences."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dlsteroids.analysis import (
  attribution,
  effects,
  looks,
  reach,
  sequential,
  statistics,
  summary,
)
from dlsteroids.report import facts, formats, regimes, sentences, table_of_runs
from dlsteroids.study import conditions
from dlsteroids.study import study as study_lib

_MOST = 4  # runs or arms that are named


def question(study: study_lib.Study) -> str:
  """The study's title question: its own, or one made of its factors."""
  if study.question:
    return study.question
  if study.table:
    return table_of_runs.question(study)
  factors = [factor.name.replace('_', ' ') for factor in study.factors]
  if len(factors) < 2:
    arms = f'How do the arms of {study.name} compare'
    return f'{f"Does {factors[0]} matter" if factors else arms} on {study.data.name}?'
  return f'Which of {formats.listing(factors)} matters on {study.data.name}?'


def headline(source: summary.Source) -> str:
  """The intact arm's result and what it cost, in one or two sentences."""
  study, column = source.study, source.study.metric.column
  arm = summary.intact_arm(study)
  values = summary.scores_of(source, study.tuned).value[arm].dropna()
  cost = next(r for r in summary.compute_of(source, study.tuned) if r['arm'] == arm)
  a_run = formats.flops(cost['run'])
  if not len(values):
    return f'No run of {arm} has ended yet; a run of it is {a_run}.'
  spread = formats.plural(len(values), 'seed' if study.paired else 'run')
  if len(values) > 1:
    low, high = (formats.value(column, float(v)) for v in (values.min(), values.max()))
    spread = f'mean of {spread}, from {low} to {high}'
  if study.table:
    cost_of_it = f' at {a_run} a run' if cost['run'] else ''
    return (
      f'{arm} reaches {formats.value(column, float(values.mean()))} '
      f'{facts.words(study, column)} ({spread}){cost_of_it}; the others are compared '
      'with it.'
    )
  wall = formats.seconds(cost['wall'])
  return (
    f'{"The intact model" if _is_intact(study, arm) else f"The arm {arm}"} reaches '
    f'{formats.value(column, float(values.mean()))} {facts.words(study, column)} '
    f'({spread}) with {formats.count(cost["params"])} parameters at {a_run} a run'
    f'{"" if wall == formats.NOTHING else f" ({wall})"}.'
  )


def _is_intact(study: study_lib.Study, name: str) -> bool:
  levels = study.arm(name).assignment
  first = {factor.name: factor.levels[0].name for factor in study.factors}
  return all(levels.get(factor, level) == level for factor, level in first.items())


def warn(source: summary.Source) -> list[str]:
  """What limits the whole report: missing runs, looks beyond those declared."""
  study, runs = source.study, source.tables.runs
  note = sentences.describe_look(study, looks.state(study, runs))
  external = table_of_runs.warnings(study, runs) if study.table else []
  looks_note = [note] if note else []
  return [*partial(study, runs), *external, *looks_note, *edges(study.tuning)]


STOPPED = {
  sequential.DECIDED: 'decided',
  sequential.DIVERGED: 'most runs diverged',
  sequential.BOUND: 'the bound on seeds is met',
  sequential.COST: 'the bound on the cost is met',
  sequential.OPEN: 'goes on at the next look',
}


def describe_until(study: study_lib.Study, runs: pd.DataFrame) -> list[str]:
  """How many seeds each arm got, and why no more; [] if their number was fixed."""
  if study.until is None:
    return []
  decided = sequential.decisions(study, runs)
  arms = [
    f'{one.arm} {one.seeds} ({STOPPED[one.why]})'
    for one in sequential.endings(study, decided)
  ]
  sizes = [str(n) for n in study.until.sizes if n <= study.until.most]
  verdicts = [
    f'{one.contrast.arm} at look {one.look} (level {one.level:.2g})'
    for one in decided
    if one.verdict and not one.is_open
  ]
  reached = (
    f' Verdicts were reached on {formats.listing(verdicts)}.' if verdicts else ''
  )
  return [
    'Seeds were added by looks declared beforehand, at '
    f'{formats.listing(sizes)} seeds, until decided: {", ".join(arms)}.{reached} '
    'A verdict stands from its look; its interval and p are of that look and level.'
    f'{_describe_cost(study.until)}'
  ]


def _describe_cost(until: study_lib.Until) -> str:
  """' The study took 1.2 of at most 2 TFLOP.'; '' without such a bound."""
  parts = [
    f'{write(spent)} of at most {write(most)}{of}'
    for write, spent, most, of in zip(
      (formats.flops, formats.seconds), until.spent, until.bound, ('', ' of training')
    )
    if most
  ]
  return f' The study took {formats.listing(parts)}.' if parts else ''


def partial(study: study_lib.Study, runs: pd.DataFrame) -> list[str]:
  """What is missing, a sentence for each tuning state; nothing if all has ended."""
  warnings = []
  planned = {run.tuned for run in study.runs} & {0}
  for state in sorted({*planned, study.tuned}):
    count = summary.count_runs(study, runs, state)
    bare = [arm for arm, seeds in count.missing if len(seeds) == len(study.seeds)]
    without = f'; no runs yet of {formats.listing(bare)}' if bare else ''
    if count.missing:
      warnings.append(
        f'This report is partial: {count.stored} of {count.planned} '
        f'{"tuned runs" if state else "runs"} have ended{without}.'
      )
  return warnings


def list_notes(source: summary.Source) -> list[str]:
  """How the numbers were made and what they may not be taken for."""
  study, column = source.study, source.study.metric.column
  exact = len(study.seeds) <= statistics.EXACT_SEEDS
  flips = 'exact sign flips' if exact else f'{statistics.FLIPS:,} sampled sign flips'
  alpha = looks.state(study, source.tables.runs).alpha
  design = reach.reach(study, alpha)
  floor = reach.noise_floor(study, source.tables.runs, study.tuned)
  scatter = formats.delta(column, floor, unit=True).lstrip('+')
  loops = [arm.name for arm in study.arms if arm.unknown_loops]
  own = study.table is None
  notes = {
    _variance(study): own,
    f'Differences are paired by seed and tested by {flips}; intervals invert the same '
    'test. Both are exact for symmetric differences. Simulated with one strongly '
    'skewed arm (exponential, lognormal) a family of five such errs in .08 to .14 of '
    'studies, and in .13 to .32 if the reference hardly varies, instead of .05; '
    'intervals of 6 to 10 seeds cover .91 to .95, and .84 to .93, instead of .95 '
    '(experiments/results/coverage): skewed differences are marked.': study.paired,
    table_of_runs.describe_test(study): not study.paired,
    f'Scores worse than the fallback ({formats.value(column, study.metric.fallback)}, '
    'what a diverged run scores) count as it in the deciding comparison; runs.csv has '
    'the raw numbers.': own,
    'The best step is chosen on validation, by the same rule in every arm; the test '
    'split has no part in it.': own,
    'The orders in which components are added are a sample: differences are tested '
    'by Student’s t over seeds and orders, with its '
    'interval.': attribution.samples_orders(study),
    **{
      describe_divergence(arm): not arm.most
      for arm in effects.diverged_arms(study, source.tables.runs)
    },
    sentences.describe_reach(design): design.reachable,
    f'Noise floor: differences of unpaired seeds scatter by {scatter} '
    '(SD).': not formats.missing(floor),
    'No margin was declared, so nothing can be called equivalent.': not study.margin,
    'Nominal FLOPs count multiply-accumulates of products and convolutions twice, '
    'padding included; executed FLOPs are those of the program that really runs.': own,
    f'A loop of unknown length does counted work in {formats.listing(loops)}: its body '
    'counts once, so these FLOPs are too low.': loops,
  }
  return [
    *(table_of_runs.notes(study) if study.table else []),
    *formats.those_that_hold(notes),
    *describe_until(study, source.tables.runs),
    *_quality(study),
    *facts.treatments(study),
    *_tuning(study),
    *(f'Excluded: {text}.' for text in study.excluded),
    *(
      f'In {arm.name}, {formats.listing(arm.inapplicable)} cannot apply: it is the arm '
      'without.'
      for arm in study.arms
      if arm.inapplicable
    ),
  ]


def describe_divergence(arm: effects.DivergedArm) -> str:
  """Which runs of an arm diverged, and when."""
  runs = [f'seed {seed}' for seed in arm.seeds]
  if arm.steps:
    runs = [f'{run} at step {step:,}' for run, step in zip(runs, arm.steps)]
  if len(runs) > _MOST:
    runs = [*runs[: _MOST - 1], f'{len(runs) - _MOST + 1} more']
  text = (
    f'{len(arm.seeds)} of {formats.plural(arm.ended, "run")} of {arm.arm} diverged, '
    f'with {_not_finite(arm)} not finite: {formats.listing(runs)}.'
  )
  no_verdict = 'There is no verdict on what this arm is compared for.'
  return f'{text} {no_verdict if arm.most else "They score the metric’s fallback."}'


def _not_finite(arm: effects.DivergedArm) -> str:
  return 'a loss or parameters that are' if arm.steps else 'a score that is'


def compare_references(source: summary.Source) -> str:
  """The intact arm beside real images and methods without gradient descent, or ''."""
  study, column = source.study, source.study.metric.column
  arm, scores = summary.intact_arm(study), facts.scores(study, column)
  mean = summary.mean_of(source, arm, column, study.tuned)
  if not scores or formats.missing(mean):
    return ''
  sign = study.metric.sign
  floor = scores.pop(facts.FLOOR, None)
  what = f'On {facts.words(study, column)}, the mean of {arm}'
  texts = []
  if floor is not None:
    times = f', {mean / floor:.1f} times that' if sign < 0 < min(mean, floor) else ''
    texts.append(
      f'Real images against other real ones score {formats.value(column, floor)} '
      f'{facts.words(study, column)}, about the best that as many images can reach; '
      f'the mean of {arm} is {formats.value(column, mean)}{times}.'
    )
  better = [name for name, score in scores.items() if sign * (score - mean) >= 0]
  if better:
    names = formats.listing(better)
    texts.append(f'{what} is not better than {names} (without gradient descent).')
  elif scores:
    texts.append(f'{what} is better than every method without gradient descent.')
  return ' '.join(texts)


def _variance(study: study_lib.Study) -> str:
  text = 'All intervals and p-values are over seeds, on this test set.'
  if study.data.official_test:
    return f'{text} The test split is the same for every seed.'
  return (
    f'{text} There is no official test split: the seed draws the split too. The splits '
    'overlap, so intervals over seeds speak of these data; for the population that the '
    'data were drawn from, the wider interval beside them has Nadeau and Bengio’s '
    'correction.'
  )


def _quality(study: study_lib.Study) -> list[str]:
  """What generated images are measured with, and what real ones would score."""
  quality = facts.quality(study)
  if not quality:
    return []
  note = str(quality.get('note') or '').strip().rstrip('.')
  accuracy = quality.get('accuracy')
  accuracy = accuracy if isinstance(accuracy, float) else math.nan
  is_new = math.isfinite(accuracy) and f'{100 * accuracy:.2f}' not in note
  counts = quality.get('counts') or {}
  sizes = [f'{counts[s]:,} {s}' for s in ('validation', 'test') if counts.get(s)]
  texts = {
    f'Images are measured on features of {quality["extractor"]}'
    f'{note and f": {note}"}.': True,
    f'It classifies {formats.value("accuracy", accuracy)} of its test images '
    'correctly.': is_new,
    f'As many are generated as there are real ones: {formats.listing(sizes)} '
    'images.': sizes,
  }
  notes = [' '.join(formats.those_that_hold(texts)), _scores_of_images(quality)]
  floor = study.data.references.get(facts.FLOOR) or {}
  scores = [
    f'{facts.words(study, column)} {formats.value(column, score)}'
    for column, score in facts.finite(floor).items()
  ]
  bias = str(quality.get('bias') or '').strip()
  against = f'The floor, real images against other real ones: {"; ".join(scores)}.'
  return notes + formats.those_that_hold({against: scores, bias: bias})


def _scores_of_images(quality: Mapping[str, Any]) -> str:
  """What the numbers on features mean."""
  share = formats.number(100 * (quality.get('share') or 0))
  texts = {
    'classifier-FID and classifier-KID are Fréchet and kernel distances on these '
    'features. Only values on the same features compare: the FID and KID of papers are '
    'on Inception’s.': True,
    f'Precision and recall use {quality.get("neighbours")} nearest '
    'neighbours.': quality.get('neighbours'),
    f'A class counts as generated from {share}{formats.THIN}% of an even share '
    'on.': quality.get('share'),
  }
  return ' '.join(formats.those_that_hold(texts))


def _tuning(study: study_lib.Study) -> list[str]:
  if study.tuning is None:
    return []
  grid = '; '.join(
    f'{path} of {", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in vs)}'
    for path, vs in study.tuning.grid.items()
  )
  seeds = ', '.join(map(str, study.tuning.seeds))
  extended = [
    f'The grid of {path} was extended from {len(values)} to '
    f'{len(study.tuning.grid[path])} values, for all arms alike, as long as an end of '
    'it was chosen.'
    for path, values in study.tuning.declared.items()
    if len(study.tuning.grid[path]) > len(values)
  ]
  by = 'chosen on validation'
  paths, trials = (
    formats.listing(list(study.tuning.grid)), study.config['study'].get('tune_trials')
  )  # fmt: skip
  source = f'an equal grid per arm ({grid})'
  if study.tuning.by == 'random':
    source = f'{trials} log-uniform draws of {paths}, the same for every arm'
  elif study.tuning.by == 'neighbours':
    extended = []
    source = (
      f'a search over {paths} for every arm at every budget, from the choice at the '
      f'budget before to the neighbours of the best, {trials} points or more, equally '
      'many for all arms at a budget'
    )
  if study.config['study'].get('tune_for') == 'speed':
    by = f'chosen by the fewest steps to {study.config["study"]["reach"]}'
  return [
    f'Tuned numbers come from {source}, {by} with seeds {seeds}, which take no part in '
    'the claim.',
    *extended,
  ]


def edges(tuning: study_lib.Tuning | None) -> list[str]:
  """Which arms chose an end of what was tried, where beyond it may be better."""
  if tuning is None:
    return []
  by_condition: dict[str, list[study_lib.Choice]] = {}
  for choice in tuning.choices:
    where = conditions.Condition(choice.regime, choice.budget, choice.size)
    by_condition.setdefault(regimes.name_condition(where), []).append(choice)
  notes = []
  for path in tuning.grid:
    for word, further, end in (
      ('largest', 'larger', max),
      ('smallest', 'smaller', min),
    ):
      parts = []
      for condition, choices in by_condition.items():
        arms = [
          choice.arm
          for choice in choices
          if tuning.is_end(choice, path)
          and choice.numbers[path] == end(tuning.tried(choice, path))
        ]
        names = formats.listing(arms)
        if len(arms) > _MOST:
          names = f'{len(arms)} of {len(choices)} arms'
        parts += [f'by {names} at {condition}'] if arms else []
      if parts:
        notes.append(
          f'The {word} {path} tried was chosen, and a {further} one may be better: '
          f'{"; ".join(parts)}.'
        )
  return notes
