"""Writes experiments/steroids/README.md from the published steroids studies:
python -m experiments.steroids

Nothing is trained: every number is computed from the committed runs.csv and study.json
of the pages, every figure drawn from them.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from absl import app, flags

from dlsteroids.analysis import attribution
from dlsteroids.report import attribution as attribution_words
from dlsteroids.report import blocks, facts, formats, markdown
from dlsteroids.report import notes as report_notes
from dlsteroids.report.figures import attribution as attribution_figures
from dlsteroids.report.figures import canvas
from dlsteroids.study import study as study_lib
from dlsteroids.util import files

HOME = pathlib.Path(__file__).parent
FAMILIES = {  # page: (family, data in words)
  'steroids_cnn': ('CNN', 'scanned digits'),
  'steroids_lstm': ('LSTM', 'text'),
  'steroids_gan': ('GAN', 'drawing digits'),
  'steroids_cnn_mnist': ('CNN', 'MNIST'),
  'steroids_cnn_cifar': ('CNN', 'cifar10-jpeg'),
  'steroids_lstm_shakespeare': ('LSTM', 'tiny Shakespeare'),
  'steroids_gan_mnist': ('GAN', 'drawing MNIST'),
}
LIMITS = (
  'Scale: nets of thousands of parameters, seconds of one processor a run. What an '
  'idea is worth can grow with scale, and some ideas exist for its sake alone.',
  'Data: small and clean sets. Convolution, dropout and augmentation answer to larger '
  'images and to harder ones.',
  'The ends: a share depends on what is called bare, on what is called full and on '
  'the ratio of the budgets. That ratio was declared before the runs (for the digits '
  'after a pilot on other seeds); the figures of shares show the others.',
  'The list: compute here is the training FLOPs of one model. Optimizers, initial '
  'values and what tuning knows today serve the bare model, too: it is a perceptron of '
  'the sixties with the training of today.',
  'Tuning: {rates} learning rates for every combination at every budget, chosen on '
  'validation; nothing else was tuned for anyone.',
)

SCALE = (
  'Shares are of the reduction of the logarithm of the error, means and 95 % intervals '
  'over seeds.'
)

PAGES = flags.DEFINE_string('pages', str(HOME / 'results'), 'where the studies lie')
OUT = flags.DEFINE_string('out', str(HOME / 'steroids'), 'folder to write')


class Family(NamedTuple):
  """One published study and its attribution."""

  page: str
  name: str
  data: str
  study: study_lib.Study
  runs: pd.DataFrame
  found: attribution.Attribution


def read(folder: pathlib.Path) -> list[Family]:
  """The published studies, in the order of `FAMILIES`.

  Raises:
    UsageError: none is there, or one cannot be divided.
  """
  families = []
  for page, (name, data) in FAMILIES.items():
    if not (folder / page / 'study.json').is_file():
      continue
    tree = json.loads((folder / page / 'study.json').read_text())
    study = study_lib.from_json(tree)
    runs = pd.read_csv(folder / page / 'runs.csv', keep_default_na=True)
    found = attribution.attribute(study, runs)
    if found.refusal:
      why = attribution_words.describe(found.refusal)
      raise app.UsageError(f'{folder / page}: {why}')
    families.append(Family(page, name, data, study, runs, found))
  if not families:
    raise app.UsageError(f'no published steroids study in {folder}')
  return families


def row_of(family: Family, player: str) -> dict[str, Any]:
  """A player's row at the headline ratio on the headline's scale."""
  rows = attribution.at_headline(family.found, family.found.players)
  return next(row for row in rows if row['player'] == player)


def share(row: dict[str, Any]) -> str:
  """'38 % [31, 44]', or 'not divided'."""
  number, interval = attribution_words.tell_share(row, 0)
  return f'{number} {interval}' if number else 'not divided'


class Told(NamedTuple):
  """What a family answers: rows of compute given to the bare model, the ideas then, and
  of both, and the best idea, averaged over all orders (Shapley)."""

  alone: dict[str, Any]
  then: dict[str, Any]
  compute: dict[str, Any]
  ideas: dict[str, Any]
  best: dict[str, Any]


def tell(family: Family) -> Told | None:
  """None if its gain cannot be divided."""
  compute = row_of(family, 'compute')
  orders = attribution.at_headline(family.found, family.found.orders)
  if formats.missing(compute['share']) or not orders:
    return None
  rows = attribution.at_headline(family.found, family.found.players)
  names = [factor.name for factor in family.study.factors]
  ideas = (row for row in rows if row['player'] in names)
  best = max(ideas, key=lambda row: row['share'])
  return Told(orders[0], orders[1], compute, row_of(family, 'ideas'), best)


def answer(families: Sequence[Family]) -> str:
  """The title question in one paragraph."""
  parts, told = [], [tell(family) for family in families]
  for family, found in zip(families, told):
    who = f'{family.name} on {family.data}'
    if found is None:
      parts.append(f'{who}: the gain cannot be distinguished from zero.')
      continue
    name = attribution_words.name_player(family.found, 'compute')
    best = attribution_words.name_player(family.found, found.best['player'])
    parts.append(
      f'{who}: {name} alone {share(found.alone)} of the gain, the ideas then '
      f'{share(found.then)}; over all orders compute {share(found.compute)}, ideas '
      f'{share(found.ideas)}, first of them {best} {share(found.best)}.'
    )
  return f'{verdict(told)} {" ".join(parts)} {SCALE}'


def verdict(told: Sequence[Told | None]) -> str:
  """What the shares of compute alone, given to the bare models, say together."""
  found = [one for one in told if one is not None]
  if not found:
    return 'These studies are inconclusive.'
  most = sum(one.alone['share_low'] > 0.5 for one in found)
  least = sum(one.alone['share_high'] < 0.5 for one in found)
  counts = {'mostly': most, 'mostly not': least}
  start = next((word for word, n in counts.items() if n == len(found)), 'it depends')
  text = (
    f'At this scale, {start}: compute alone, given to the bare model, brings more than '
    f'half of the gain in {most} of {len(found)} studies, less than half in {least}.'
  )
  if max(one.compute['share_low'] for one in found) > 1:
    text += (
      ' Where compute has more than 100 % over all orders, the ideas cost more than '
      'they bring while there is little compute.'
    )
  return text


def limits(families: Sequence[Family]) -> list[str]:
  """What the answer may not be taken for."""
  sizes = sorted(
    {
      len(grid)
      for family in families
      if family.study.tuning
      for grid in family.study.tuning.grid.values()
    }
  )
  rates = ' to '.join(dict.fromkeys((str(sizes[0]), str(sizes[-1])))) if sizes else 'no'
  return [text.format(rates=rates) for text in LIMITS]


def table(families: Sequence[Family]) -> blocks.Table:
  """Every player of every family."""
  head = ('Family', 'Player', 'Share of the gain', 'Contribution', 'p')
  rows = []
  for family in families:
    for row in attribution.at_headline(family.found, family.found.players):
      amount = attribution_words.tell_amount(
        family.study, family.found.scale, row['phi'], attribution_words.width_of(row)
      )
      name = attribution_words.name_player(family.found, row['player'])
      what = f'{family.name}, {family.data}'
      rows.append((what, name, share(row), amount, formats.p_value(row['p'])))
  return blocks.Table('', head, (False, False, True, True, True), tuple(rows))


def describe(family: Family) -> list[str]:
  """A family's section."""
  study = family.study
  column = study.metric.column
  mine = family.runs[
    (family.runs['arm'] == 'baseline')
    & (family.runs['tuned'] == study.tuned)
    & (family.runs['regime'] == study.regime)
    & (family.runs['budget'] == 1)
    & (family.runs['size'] == 1)
  ]
  cost = study.arm('baseline').at[0]
  parts = [
    f'## {family.name}: {family.data}',
    f'The full model reaches {formats.value(column, float(mine[column].mean()))} '
    f'{facts.words(study, column)} (mean of {len(mine)} seeds) at '
    f'{formats.flops(cost.flops)} a run with {cost.params:,} parameters; every '
    f'combination of ideas spends as many FLOPs. {len(study.arms)} combinations at '
    f'{len(study.conditions)} budgets, {len(family.runs):,} runs.',
  ]
  parts += attribution_words.sentences(study, family.found)
  parts += report_notes.edges(study.tuning)
  for name in ('waterfall', 'shares'):
    path = f'figures/{family.page}_{name}.png'
    parts.append(f'![{family.name}, {name}]({path})')
  details = '; '.join(
    [
      f'data {study.data.name}',
      f'seeds {min(study.seeds)} to {max(study.seeds)}',
      f'commit {study.git}',
      f'{study.provenance["device"]}, {study.provenance["cores"]} cores',
      *(f'{name} {study.provenance[name]}' for name in ('jax', 'flax', 'python')),
    ]
  )
  link = f'[the whole report](../results/{family.page}/README.md)'
  return [*parts, f'{details}; {link}.', f'```sh\n{study.command}\n```']


def write(families: Sequence[Family], out: pathlib.Path) -> pathlib.Path:
  """README.md and figures/ in `out`."""
  figures = out / 'figures'
  figures.mkdir(parents=True, exist_ok=True)
  for old in figures.glob('*.png'):
    old.unlink()
  for family in families:
    with canvas.style():
      drawn = {
        'waterfall': attribution_figures.draw_waterfall(family.study, family.found),
        'shares': attribution_figures.draw_shares(family.study, family.found),
      }
    for name, drawing in drawn.items():
      if drawing is not None:
        files.write(figures / f'{family.page}_{name}.png', drawing.png)
  parts = [
    '# Is deep learning just neural networks on steroids?',
    'How much of the gain since the perceptron is compute, and how much is each idea? '
    'Every combination of ideas was trained at several budgets, all at equal FLOPs, '
    'with a learning rate tuned for each at each budget. The gain from the bare model '
    'at the small budget to the full one at the large budget is divided by Shapley '
    'values: a player’s share is what it adds, averaged over all orders in which ideas '
    'and compute may come. Two of these orders stand beside them: compute first, given '
    'to the bare model, then the ideas; and the ideas first.',
    f'**{answer(families)}**',
    markdown.render_table(table(families)),
  ]
  for family in families:
    parts += describe(family)
  notes = out / 'notes.md'
  if notes.is_file():  # what a person adds
    parts.append(notes.read_text().strip())
  told = '\n'.join(f'- {text}' for text in limits(families))
  parts += ['## Limits of the claim', told]
  parts += [
    '## Again',
    'The commands above run the studies; `python -m experiments.publish` copies their '
    'tables, and this page is made of those by',
    '```sh\npython -m experiments.steroids\n```',
  ]
  path = out / 'README.md'
  kept = [part for part in parts if not part.startswith('![') or exists(part, out)]
  files.write(path, '\n\n'.join(kept) + '\n')
  return path


def exists(image: str, out: pathlib.Path) -> bool:
  return (out / image.rpartition('(')[2].rstrip(')')).is_file()


def main(argv: list[str]) -> None:
  """The command."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected argument {argv[1]!r}')
  families = read(pathlib.Path(PAGES.value))
  print(f'written: {write(families, pathlib.Path(OUT.value))}')


if __name__ == '__main__':
  app.run(main)
