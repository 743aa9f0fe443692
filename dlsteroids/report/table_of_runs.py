"""Sentences on runs that were trained elsewhere: what their table told, and lacked."""

from collections.abc import Mapping

import pandas as pd

from dlsteroids.analysis import pairs, permutation, statistics
from dlsteroids.report import facts, formats
from dlsteroids.study import study as study_lib

_MOST = 4  # runs that are named
_LAYOUTS = {
  'long': 'a row a run',
  'wide': 'a column an arm',
  'wide by seed': 'a column a seed',
  'wandb': 'an export of W&B',
  'wandb chart': 'a panel exported from W&B, its last values',
  'mlflow': 'an export of MLflow',
  'tensorboard': 'files exported from TensorBoard, their last values',
  'hydra': 'the jobs of a Hydra multirun',
}
_FALLBACKS = {
  'declared': 'as declared',
  'worst possible': 'the worst that can be',
  'worst run': 'the worst of the table',
}


def question(study: study_lib.Study) -> str:
  """The title of a report on a table: its own, or one made of its arms."""
  if study.question:
    return study.question
  others = [contrast.arm for contrast in study.contrasts]
  reference = study.contrasts[0].reference if study.contrasts else ''
  what = facts.words(study, study.metric.column)
  if len(others) > 1:
    return f'Which of {formats.listing(others)} differs from {reference} in {what}?'
  return f'Does {formats.listing(others)} differ from {reference} in {what}?'


def warnings(study: study_lib.Study, runs: pd.DataFrame) -> list[str]:
  """Runs that are missing, were left out, or are unequally many."""
  rows = pairs.select(study, runs)
  failed = rows[rows['status'] == 'failed']
  texts = []
  if len(failed):
    named = [
      f'{arm}: {_seeds(group["seed"])}'
      for arm, group in failed.groupby('arm', sort=True)
    ]
    texts.append(
      f'{formats.plural(len(failed), "run")} without a score, missing from the table '
      f'or not finished there, {"are" if len(failed) > 1 else "is"} left out'
      f'{", with its pair" if study.paired else ""} ({"; ".join(named)}).'
    )
  counts = rows[rows['status'] != 'failed'].groupby('arm')['seed'].count()
  if not study.paired:
    texts.append(
      f'The runs are not paired by seed ({_why_unpaired(study)}): arms are compared as '
      'independent samples, by a permutation test. With seeds that the arms share, as '
      'many runs usually show smaller differences.'
    )
    if counts.nunique() > 1:
      each = [f'{arm} {count}' for arm, count in counts.items()]
      texts.append(f'Arms have unequal numbers of runs: {formats.listing(each)}.')
  return texts


def _why_unpaired(study: study_lib.Study) -> str:
  table = study.table
  if table and table.seed:
    return 'the arms share too few seeds, or it was asked for'
  return 'the table has no column of seeds'


def _seeds(values: pd.Series) -> str:
  seeds = sorted(int(value) for value in values)
  words = 'seed' if len(seeds) == 1 else 'seeds'
  return f'{words} {formats.first_few([str(s) for s in seeds], _MOST, ", ")}'


def notes(study: study_lib.Study) -> list[str]:
  """How the table was read, and what was assumed, a sentence each."""
  table = study.table
  assert table is not None
  column = study.metric.column
  fallback = formats.value(column, study.metric.fallback)
  worse = '; worse scores count as that too' if table.fallback == 'declared' else ''
  where = f' from {table.path}' if table.path else ''
  texts = {
    f'{formats.plural(table.rows, "row")} were read{where}: {_LAYOUTS[table.layout]}. '
    f'{_columns(table)}': True,
    'dlsteroids did not train these runs. Whether arms differ in nothing else and '
    'share data and test set, and whether anything was chosen on the test set, the '
    'table does not say.': True,
    f'A score that is not finite is a diverged run and counts as {fallback}, '
    f'{_FALLBACKS[table.fallback]}{worse}.': True,
  }
  for name in table.assumed:
    metric = pairs.metric(study, name)
    other = 'lower' if metric.better == 'higher' else 'higher'
    more = 'More' if metric.better == 'higher' else 'Less'
    change = f'; --better={other} says otherwise' if name == column else ''
    texts[f'{more} {formats.name(name)} is better, by its name{change}.'] = True
  for name in table.percent:
    texts[f'{table.metrics[name]} is in percent in the table.'] = True
  return formats.those_that_hold(texts)


def _columns(table: study_lib.Table) -> str:
  """'Columns: arm as arm, seed as seed.'"""
  roles = {'arm': table.arm, 'seed': table.seed, 'FLOPs': table.flops}
  roles |= {'budget': table.budget, 'status': table.status}
  roles |= {formats.name(name): column for name, column in table.metrics.items()}
  texts = [f'{role} from “{column}”' for role, column in roles.items() if column]
  return f'Read: {formats.listing(texts)}.'


def describe_test(study: study_lib.Study) -> str:
  """How differences of unpaired runs are tested."""
  return (
    'Differences of means are tested by permuting runs between the two arms '
    f'(up to {permutation.EXACT_SPLITS:,} splits all of them, above that '
    f'{statistics.FLIPS:,} sampled ones); intervals invert the same test. It supposes '
    'that the arms differ by a shift: with unequal spread and unequal numbers of runs '
    'it errs more often than alpha.'
  )


def provenance(study: study_lib.Study) -> Mapping[str, str]:
  """Where the numbers come from."""
  table = study.table
  assert table is not None
  return {
    'table': table.path or 'a frame in memory',
    'layout': _LAYOUTS[table.layout],
    'table digest': table.digest,
    'dlsteroids': study.dlsteroids,
  }
