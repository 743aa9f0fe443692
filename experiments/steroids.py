"""Writes experiments/steroids/README.md from published studies of frontiers:
python -m experiments.steroids

Nothing is trained: every number is computed from the committed runs.csv, searches.csv
and study.json of the pages, every figure drawn from them. Studies that divide the gain
in log-error, at one width and few budgets, stand below as a second reading.
"""

import itertools
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from absl import app, logging

from dlsteroids.analysis import attribution, frontier
from dlsteroids.analysis import doublings as doublings_lib
from dlsteroids.report import attribution as attribution_words
from dlsteroids.report import blocks, facts, formats, markdown
from dlsteroids.report import doublings as words
from dlsteroids.report import notes as report_notes
from dlsteroids.report.figures import canvas
from dlsteroids.report.figures import doublings as figures
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors, files
from experiments import pages as pages_lib

HOME = pathlib.Path(__file__).parent
STUDIES = {  # page: (family, data in words), as the answer names them
  'steroids_cnn_frontier': ('CNN', 'MNIST'),
  'steroids_cnn_frontier_cifar': ('CNN', 'cifar10-jpeg'),
  'steroids_cnn_frontier_digits': ('CNN', 'scanned digits'),
  'steroids_lstm_frontier': ('text', 'tiny Shakespeare'),
  'steroids_lstm_frontier_docs': ('text', 'Python’s documentation'),
  'steroids_gan_frontier': ('GAN', 'MNIST'),
  'steroids_gan_frontier_digits': ('GAN', 'scanned digits'),
}
LOG_ERROR = {
  'steroids_cnn': ('CNN', 'scanned digits'),
  'steroids_cnn_mnist': ('CNN', 'MNIST'),
  'steroids_lstm': ('LSTM', 'Python’s documentation'),
  'steroids_lstm_shakespeare': ('LSTM', 'tiny Shakespeare'),
  'steroids_gan': ('GAN', 'scanned digits'),
  'steroids_gan_mnist': ('GAN', 'MNIST'),
}
INTRODUCTION = (
  'A bare model, such as the perceptron with one hidden layer of 1986, is given more '
  'and more training compute, and so is a model with ideas that came later. At every '
  'budget width, batch size and learning rate are searched for each set of ideas, at '
  'equal FLOPs. What an idea is worth is then how many times the compute may be '
  'halved, with the idea, on the way to the same test error: its worth in doublings. '
  'Intervals are of 95 %.',
)
LIMITS = (
  'Scale: nets of thousands to hundreds of thousands of parameters, seconds to '
  'minutes of one processor a run. '
  'What an idea is worth can grow or fall with scale, and some ideas exist for its '
  'sake alone.',
  'Ideas: those named with each study. Others, such as depth, dropout and batch norm '
  'on MNIST, were left out for want of hours, of the full model as of the bare one.',
  'Data: small and clean sets. Convolution, dropout and augmentation answer to larger '
  'images and to harder ones.',
  'The ends: worth depends on what is called bare and what is called full; nothing is '
  'said beyond the budgets that were trained.',
  'Today’s training serves the bare model, too: Adam, initial values, GANs’ LeakyReLU '
  'and averaged weights, and the search for its numbers are not of its time, and not '
  'counted as ideas.',
  'Compute is the nominal training FLOPs of one run. What the search cost, and what '
  'finding the ideas cost, is not in it.',
)
SECOND_READING = (
  'Before frontiers there were studies of one width and few budgets, all combinations '
  'of ideas at equal FLOPs, the learning rate alone tuned. They divide the fall of the '
  'logarithm of the error between compute and ideas by Shapley values. There the ideas '
  'are mandatory even where they hurt: a small budget is too short for nets that cost '
  'more a step, so that ideas first may bring less than nothing. The answer depends on '
  'the ends that were chosen, and decides nothing above.'
)


class Family(NamedTuple):
  """One published study of frontiers.

  Attributes:
    page: its folder.
    name, data: as the answer calls them.
    study: what was asked.
    runs, searches: its tables.
    result: its frontiers and what they are worth.
  """

  page: str
  name: str
  data: str
  study: study_lib.Study
  runs: pd.DataFrame
  searches: pd.DataFrame
  result: doublings_lib.Doublings


def read(folder: pathlib.Path) -> list[Family]:
  """The published studies of frontiers, in the order of `STUDIES`.

  Raises:
    UserError: none is there, or one has no frontiers.
  """
  families = []
  for page, (name, data) in STUDIES.items():
    if not (folder / page / 'study.json').is_file():
      continue
    study, runs = read_study(folder / page)
    searches = pd.read_csv(folder / page / 'searches.csv')
    result = doublings_lib.measure(study, runs, searches)
    if result.refusal:
      why = words.sentences(study, result)[0]
      raise errors.UserError(f'{folder / page}: {why}')
    families.append(Family(page, name, data, study, runs, searches, result))
  if not families:
    raise errors.UserError(f'no published study of frontiers in {folder}')
  return families


def read_study(page: pathlib.Path) -> tuple[study_lib.Study, pd.DataFrame]:
  """What a page asked, and its runs of every condition."""
  return pages_lib.read_study(page), pd.read_csv(page / 'runs.csv')


def hardest(family: Family) -> frontier.TargetWorth:
  """The least error at which something is known of the ideas' worth."""
  return words.pick_targets(family.result)[-1]


def is_decided(family: Family) -> bool:
  """Whether it is certain there that the ideas save compute, or that they cost it."""
  return words.is_certain(hardest(family).together)


def answer(families: Sequence[Family]) -> tuple[str, ...]:
  """The title's question in three sentences: worth, growth, and compute beside it."""
  texts = (verdict(families), growth(families), ways(families))
  return tuple(text for text in texts if text)


def verdict(families: Sequence[Family]) -> str:
  """How much the ideas save in each family at the hardest targets."""
  worths = [hardest(family).together for family in families]
  save = sum(words.is_certain(w) and max(w.low, w.ci_low) > 0 for w in worths)
  none = sum(max(worth.high, worth.ci_high) <= 0 for worth in worths)
  if save:
    start = 'It depends.' if none else 'Not only.'
  else:
    start = 'At this scale, yes.' if none == len(worths) else 'Not decided.'
  parts = [saved(family) for family in families if is_decided(family)]
  open_ = [_who(family) for family in families if not is_decided(family)]
  if open_:
    parts.append(f'Not decided: {formats.listing(open_)}.')
  return ' '.join([start, *parts])


def saved(family: Family) -> str:
  """What all ideas save at the hardest target, in factors and in doublings."""
  target, result = hardest(family), family.result
  worth, goal = target.together, words.name_target(family.study, result, target)
  ideas = words.call_ideas(result, target)
  start = formats.sentence_case(_who(family))
  used = words.used_ideas(result, target)
  verb = ('cut', 'cost') if len(used) > 1 else ('cuts', 'costs')
  if max(worth.high, worth.ci_high) <= 0:
    return (
      f'{start}: {ideas} {verb[1]} compute on the way to {goal} '
      f'({words.describe(worth)}).'
    )
  at_least = worth.kind != frontier.MEASURED
  factor = 2.0 ** (worth.low if at_least else worth.value)
  return (
    f'{start}: {ideas} {verb[0]} the training compute on the way to {goal} '
    f'{"more than " if at_least else ""}{factor:.{0 if factor >= 10 else 1}f}-fold '
    f'({words.describe(worth)}{singles(family, target)}).'
    f'{words.say_unused(result, target)}'
  )


def singles(family: Family, target: frontier.TargetWorth) -> str:
  """'; convolution 1.8, ReLU 1.2'; where some are not used, what all are worth then.

  '' of one idea.
  """
  worths = words.single_worths(family.result, target)
  if len(worths) < 2 or any(worth.kind != frontier.MEASURED for worth in worths):
    return ''
  listed = [
    f'{words.call_idea(idea)} {words.number(worth.value)}'
    for idea, worth in zip(family.result.ideas, worths)
    if not words.is_unused(worth)
  ]
  if len(listed) == len(worths):
    return f'; {", ".join(listed)}'
  return f'; with every idea mandatory {words.cell(target.mandatory)}'


def _who(family: Family) -> str:
  return f'{family.name} on {family.data}'


def growth(families: Sequence[Family]) -> str:
  """Whether ideas pay more where more is asked; '' where nothing is decided."""
  parts = []
  for family in families:
    result = family.result.growth
    slope = None if result is None else result.per_doubling
    if not is_decided(family) or slope is None or not math.isfinite(slope.ci_low):
      continue
    value, low, high = map(words.signed, slope)
    says = 'more' if slope.ci_low > 0 else 'less' if slope.ci_high < 0 else 'uncertain'
    single = words.singly(family.study, family.result)
    parts.append(
      f'{_who(family)} {says}, {value} [{low}, {high}]'
      f'{f" ({single})" if single else ""}'
    )
  if not parts:
    return ''
  return (
    'Whether they are worth more where more is asked, in doublings for every doubling '
    f'of the full model’s compute: {"; ".join(parts)}.'
  )


def ways(families: Sequence[Family]) -> str:
  """How far it is from the bare model's least budget, without ideas and with them."""
  parts: list[str] = []
  for family in families:
    way = words.find_way(family.result)
    if way is not None and is_decided(family):
      alone, aided = words.number(way.bare), words.number(way.full)
      amounts = f'{alone} and {aided}'
      if not parts:
        amounts = (
          f'{alone} doublings of compute without the ideas and {aided} with them'
        )
      parts.append(f'{amounts} ({_who(family)})')
  if not parts:
    return ''
  return (
    'Compute does the rest: from the bare model’s smallest budget to those targets it '
    f'takes {"; ".join(parts)}. What share of the way belongs to the ideas depends on '
    'where it begins and ends, and on which of the two comes first.'
  )


def table(families: Sequence[Family]) -> blocks.Table:
  """The ideas of every family that is decided at its two targets, of others at one."""
  head = ('Study', 'Target', 'Full model', 'Bare model', 'Worth of all ideas', 'Most')
  rows = []
  for family in families:
    decided = is_decided(family)
    picked = words.pick_targets(family.result)
    for target in picked if decided else picked[-1:]:
      worth = words.cell(target.together)
      rows.append(
        (
          formats.sentence_case(_who(family)),
          words.name_target(family.study, family.result, target),
          words.describe_cost(target.full),
          words.describe_cost(target.bare),
          worth if decided else f'not decided: {worth}',
          largest(family, target) if decided else '',
        )
      )
  return blocks.Table('', head, (False, False, True, True, True, False), tuple(rows))


def largest(family: Family, target: frontier.TargetWorth) -> str:
  """The idea that is worth most there, of those that were measured."""
  single = words.single_worths(family.result, target)
  worths = {
    words.call_idea(idea): worth
    for idea, worth in zip(family.result.ideas, single)
    if worth.kind == frontier.MEASURED
  }
  if not worths:
    return 'undetermined'
  idea = max(worths, key=lambda one: worths[one].value)
  return f'{idea} {words.cell(worths[idea])}'


def section(family: Family, drawings: Sequence[blocks.Drawing]) -> blocks.Section:
  """One family: the frontier's figure, what ideas are worth, what it took."""
  part = words.section(family.study, family.result)
  parts: list[Any] = [blocks.Prose(f'{setting(family)} {examples(family)}')]
  parts += drawings
  parts += [*part.parts, blocks.Bullets(tuple(edges(family)))]
  parts += [blocks.Prose(text) for text in crossings(family)]
  parts += [alone(family), arms(family)]
  title = f'{formats.sentence_case(family.name)}: {family.data}'
  kept = tuple(p for p in parts if not isinstance(p, blocks.Bullets) or p.items)
  return blocks.Section(title, kept, family.page)


def names_of_arms(family: Family) -> dict[str, str]:
  """What the page calls each arm, bare first: by the ideas that it has."""
  ideas, names = family.result.ideas, {}
  for toolbox, arm in sorted(doublings_lib.arms_of_toolboxes(family.study).items()):
    own = [words.call_idea(idea) for i, idea in enumerate(ideas) if toolbox >> i & 1]
    if not family.result.is_game:  # a rung takes the place of the one before
      own = own[-1:]
    names[arm] = ' + '.join(own) or 'bare'
  return names


def means_alone(family: Family) -> pd.DataFrame:
  """Mean errors by FLOPs (rows) and what an arm has (columns), bare first.

  Every arm stands for itself: ideas are mandatory, and what a subset does is not used.
  """
  study = family.study
  runs = family.runs[(family.runs['tuned'] == 1) & (family.runs['status'] == 'ok')]
  means = runs.groupby(['budget', 'arm'])[study.metric.column].mean().unstack()
  names = names_of_arms(family)
  work = study.arm('baseline').at[0].flops
  means.index = pd.Index([work * budget for budget in means.index], name='flops')
  return means[list(names)].rename(columns=names)


def alone(family: Family) -> blocks.Table:
  """What every arm reaches by itself at every budget."""
  means, column = means_alone(family), family.study.metric.column
  rows = tuple(
    (
      formats.flops(float(flops)),
      *('' if math.isnan(v) else formats.value(column, v) for v in row),
    )
    for flops, row in zip(means.index, means.to_numpy())
  )
  head = ('Compute a run', *map(str, means.columns))
  title = f'{formats.sentence_case(facts.words(family.study, column))} of every arm'
  return blocks.Table(title, head, (True,) * len(head), rows)


def crossings(family: Family) -> list[str]:
  """At which budgets each rung of a ladder is better than the one before it."""
  if family.result.is_game:
    return []
  means, parts = means_alone(family), []
  for before, idea in itertools.pairwise(means.columns):
    gain = family.study.metric.sign * (means[idea] - means[before]).dropna()
    better, worse = (
      [formats.flops(float(flops)) for flops in gain[chosen].index]
      for chosen in (gain > 0, gain <= 0)
    )
    at = f'better at {formats.listing(better)}, worse at {formats.listing(worse)}'
    at = 'worse at every budget' if not better else at
    parts.append(f'{idea} {at if worse else "better at every budget"}')
  return [
    'Each arm by itself against the one before it, in means over seeds: '
    f'{"; ".join(parts)}.'
  ]


def edges(family: Family) -> list[str]:
  """Which searches ended at an end of what they may try."""
  return report_notes.edges(family.study.tuning)


def undecided(family: Family) -> list[str]:
  """A family of which nothing is certain, in a paragraph."""
  target = hardest(family)
  sizes = family.study.data.sizes
  return [
    f'{setting(family)} {words.together(family.study, family.result, target)} '
    f'{words.reached(family.study, family.result)} The test split has '
    f'{sizes["test"]:,} examples, the training split {sizes["train"]:,}.'
  ]


def setting(family: Family) -> str:
  """What was trained, and what it took."""
  study = family.study
  full = study.arm('baseline').at[0]
  budgets = sorted({condition.budget for condition in study.conditions})
  every = [*family.runs['flops'], *family.searches['flops']]
  hours = (family.runs['wall_s'].sum() + family.searches['wall_s'].sum()) / 3600
  ideas = formats.listing([words.name_idea(idea) for idea in family.result.ideas])
  low, high = (formats.flops(full.flops * end) for end in (budgets[0], budgets[-1]))
  return (
    f'Ideas: {ideas}. {len(study.arms)} sets of them at budgets from {low} to {high} a '
    f'run, {len(study.seeds)} seeds that the search did not see; {len(every):,} runs '
    f'with those of the searches, {formats.flops(sum(every))} in {hours:.1f} hours of '
    f'training and evaluation, {formats.flops(sum(every) / hours / 3600)} a second.'
  )


def examples(family: Family) -> str:
  """The sizes of the data's splits."""
  sizes = family.study.data.sizes
  return f'Examples: {", ".join(f"{n:,} {split}" for split, n in sizes.items())}.'


def arms(family: Family) -> blocks.Table:
  """What each arm is at width ×1: options, parameters, the work of a step."""
  study = family.study
  own = {
    name: study.arm(arm).overrides or _options_of_full(study)
    for arm, name in names_of_arms(family).items()
  }
  rows = []
  for arm, name in names_of_arms(family).items():
    options = ', '.join(f'{path}={value}' for path, value in own[name])
    work = formats.flops(study.arm(arm).flops_per_step)
    rows.append((name, options, f'{study.arm(arm).params:,}', work))
  head = ('Arm', 'Options', 'Parameters', 'A step')
  return blocks.Table('What each arm is', head, (False, False, True, True), tuple(rows))


def _options_of_full(study: study_lib.Study) -> list[tuple[str, Any]]:
  """The config's values of every option that another arm sets."""
  paths = {path: None for arm in study.arms for path, _ in arm.overrides}
  found = []
  for path in sorted(paths, key=lambda path: path != 'model.name'):
    group, _, option = path.partition('.')
    if option in study.config[group]:
      found.append((path, study.config[group][option]))
  return found


def provenance(family: Family) -> str:
  """Data, seeds, commit, hardware, versions, in a line."""
  study = family.study
  return '; '.join(
    [
      f'data {study.data.name}',
      f'seeds {min(study.seeds)} to {max(study.seeds)}',
      f'commit {study.git}',
      f'{study.provenance["device"]}, {study.provenance["cores"]} cores',
      *(f'{name} {study.provenance[name]}' for name in ('jax', 'flax', 'python')),
    ]
  )


def source(family: Family) -> list[str]:
  """Where a family's numbers come from, and the command that trains them."""
  link = f'[the whole report](../results/{family.page}/README.md)'
  return [f'{provenance(family)}; {link}.', f'```sh\n{family.study.command}\n```']


def draw(family: Family) -> list[blocks.Drawing]:
  """The frontiers, and the worth of each idea."""
  with canvas.style():
    drawn = [
      figures.draw_frontiers(family.study, family.result),
      figures.draw_worth(family.study, family.result),
    ]
  return [one._replace(name=f'{family.page}_{one.name}') for one in drawn if one]


def second_reading(folder: pathlib.Path) -> list[str]:
  """The older division of log-error: a table of contributions, and the sentences."""
  parts = ['## A second reading: log-error at one width', SECOND_READING]
  head = ('Study', 'Compute first', 'then the ideas', 'The ideas first', 'then compute')
  rows, links = [], []
  for page, (name, data) in LOG_ERROR.items():
    if not (folder / page / 'study.json').is_file():
      continue
    study, runs = read_study(folder / page)
    result = attribution.attribute(study, runs)
    if result.refusal:
      why = attribution_words.describe(result.refusal)
      raise errors.UserError(f'{folder / page}: {why}')
    links.append(f'[{name} on {data}](../results/{page}/README.md)')
    orders = attribution.at_headline(result, result.orders)
    cells = [attribution_words.tell_row(study, result.scale, row) for row in orders]
    what = attribution_words.name_scale(study, result.scale)
    rows.append((f'{name} on {data}, {what}', *cells))
  listed = blocks.Table('', head, (False, True, True, True, True), tuple(rows))
  whole = f'Their whole reports: {", ".join(links)}.'
  return [*parts, markdown.render_table(listed), whole] if rows else []


def waiting(families: Sequence[Family]) -> list[str]:
  """The studies that are ready to run and have no page yet."""
  done = {family.page for family in families}
  lines = [
    f'dlsteroids {page.replace("_frontier", ":frontier")}  # {name} on {data}'
    for page, (name, data) in STUDIES.items()
    if page not in done
  ]
  if not lines:
    return []
  commands = '\n'.join(lines)
  return [
    'Not run yet; with `dlsteroids plan` in front each says what it takes:',
    f'```sh\n{commands}\n```',
  ]


def write(
  families: Sequence[Family], pages: pathlib.Path, out: pathlib.Path
) -> pathlib.Path:
  """README.md and figures/ in `out`."""
  folder = out / 'figures'
  folder.mkdir(parents=True, exist_ok=True)
  for old in folder.glob('*.png'):
    old.unlink()
  sections = []
  decided = [family for family in families if is_decided(family)]
  for family in decided:
    drawings = draw(family)
    for drawing in drawings:
      files.write(folder / f'{drawing.name}.png', drawing.png)
    sections.append(section(family, drawings))
  head = (
    *(blocks.Prose(text, 'strong') for text in answer(families)),
    *map(blocks.Prose, INTRODUCTION),
  )
  title = 'Is deep learning just neural networks on steroids?'
  text = markdown.render(blocks.Report(title, 'steroids', head, ()))
  parts = [text.rstrip(), markdown.render_table(table(families))]
  for family, one in zip(decided, sections):
    whole = markdown.render(blocks.Report('', '', (), (one,)))
    parts += [whole.removeprefix('# ').strip(), *source(family)]
  if open_ := [family for family in families if not is_decided(family)]:
    parts.append('## Not decided')
  for family in open_:
    parts += [f'### {family.name}: {family.data}', *undecided(family), *source(family)]
  notes = out / 'notes.md'
  if notes.is_file():  # what a person adds
    parts.append(notes.read_text(encoding='utf-8').strip())
  parts += second_reading(pages)
  parts += ['## Limits of the claim', '\n'.join(f'- {text}' for text in LIMITS)]
  parts += [
    '## Again',
    'The commands above run the studies; `python -m experiments.publish` copies their '
    'tables, and this page is made of those by',
    '```sh\npython -m experiments.steroids\n```',
    *waiting(families),
  ]
  path = out / 'README.md'
  files.write(path, '\n\n'.join(parts) + '\n')
  return path


def main(argv: list[str]) -> int:
  """The command."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected argument {argv[1]!r}')
  logging.set_verbosity(logging.WARNING)  # fonts that are embedded are many lines
  pages = pathlib.Path(pages_lib.PAGES.value)
  out = pathlib.Path(pages_lib.OUT.value or HOME / 'steroids')
  try:
    path = write(read(pages), pages, out)
  except errors.UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  print(f'written: {path}')
  return 0


if __name__ == '__main__':
  app.run(main)
