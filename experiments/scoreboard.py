"""Writes experiments/scoreboard/: every published claim against our results:
python -m experiments.scoreboard

Nothing is trained. The claims are those that the shipped configs declare today, of
other pages those of their study.json; results are the committed tables of the pages.
"""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from absl import app

from dlsteroids.analysis import claims as claims_lib
from dlsteroids.analysis import forecast, looks, reach
from dlsteroids.config import files as config_files
from dlsteroids.report import claims as claim_words
from dlsteroids.report import formats, markdown
from dlsteroids.study import claims as published_lib
from dlsteroids.study import factors as factors_lib
from dlsteroids.study import study as study_lib
from dlsteroids.util import errors, files, memoise
from experiments import pages as pages_lib

HOME = pathlib.Path(__file__).parent
COMMAND = 'python -m experiments.scoreboard'
NOT_RUN = 'not run yet'
WORDS = {  # an outcome as the page has it
  claims_lib.AGREES: 'agrees',
  claims_lib.DIFFERS: 'differs',
  claims_lib.INCONCLUSIVE: 'cannot tell',
}
COLUMNS = (
  *('study', *claim_words.COLUMNS, 'declared', *claim_words.NUMBERS),
  'seeds_needed',  # of claims that hang on a verdict that is inconclusive
)
WITH, AFTER = 'with the run', 'after the run'  # when a claim was declared
READING = (
  'A direction speaks of the component, of a swap its first level. It *agrees* if the '
  'verdict of our study is the same, and *differs* if that is the opposite, or no '
  'difference that matters; a number agrees if our interval over seeds holds it. '
  '*Cannot tell* means that our seeds decide neither; how many would, with 80 % power '
  'at the margin or else at the effect observed, stands beside it. Size: ours as a '
  'multiple of the published one, with its interval; it is compared wherever both are '
  'in the same unit, and decides nothing, since data, nets and training time are not '
  'those of the paper. *Unverified*: the number or the statement was quoted or '
  'remembered, not read in its source. Ours is computed anew from the runs of a study, '
  'and can differ from the page of an old one. '
  '[Definitions](../../docs/statistics.md#published-claims).'
)


class Declared(NamedTuple):
  """What a shipped config claims.

  Attributes:
    file: the config file.
    metric: the column of the metric that decides.
    factors: of the config.
    claims: as declared.
  """

  file: pathlib.Path
  metric: str
  factors: tuple[factors_lib.Factor, ...]
  claims: tuple[published_lib.Claim, ...]


class Counts(NamedTuple):
  """The sums of a scoreboard.

  Attributes:
    claims, papers: that were held against results, and where they were published.
    agree, differ, open: claims by outcome; open ones cannot be told.
    sizes: claims by how their size compares, of those with a published size.
    unverified: claims whose source was not read.
    waiting, waiting_papers: claims that have no results yet; papers of these alone.
  """

  claims: int
  papers: int
  agree: int
  differ: int
  open: int
  sizes: Mapping[str, int]
  unverified: int
  waiting: int
  waiting_papers: int


def declared_claims() -> dict[str, Declared]:
  """The claims of the shipped configs, as configured without a mode, by study."""
  declared = {}
  for file in config_files.shipped().values():
    request = config_files.read(str(file))
    if request.claims:
      study = request.config['study']
      metric = f'test/{study["metric"]}'
      declared[study['name']] = Declared(
        file, metric, request.factors, tuple(request.claims)
      )
  return declared


def collect(
  pages: Iterable[pages_lib.Page], declared: Mapping[str, Declared]
) -> pd.DataFrame:
  """A row a claim with exactly `COLUMNS`: those with results, then those without."""
  frames, waiting = [], dict(declared)
  for page in pages:
    own = declared.get(page.study.name)
    claims = own.claims if own else page.study.claims
    if claims and _fit(claims, page):
      waiting.pop(page.study.name, None)
      frames.append(_hold(page, claims))
  rows = [
    _describe_waiting(name, one, claim)
    for name, one in waiting.items()
    for claim in one.claims
  ]
  board = pd.concat([*frames, pd.DataFrame(rows, columns=list(COLUMNS))])
  board = board.reset_index(drop=True)
  order = board.assign(waits=board['outcome'] == NOT_RUN, at=board.index)
  keys = order.assign(paper=board['paper'].map(name_paper)).sort_values(
    ['waits', 'paper', 'at'], kind='stable'
  )
  return board.loc[keys.index].reset_index(drop=True)


def _fit(claims: Sequence[published_lib.Claim], page: pages_lib.Page) -> bool:
  """Whether a page's study has what the claims are about."""
  study, columns = page.study, [str(name) for name in page.runs]
  try:
    arms = [arm.name for arm in study.arms]
    published_lib.check(claims, study.factors, arms, [*study.metrics, *columns])
  except errors.UserError:
    return False
  return True


@memoise.scoped
def _hold(page: pages_lib.Page, claims: Sequence[published_lib.Claim]) -> pd.DataFrame:
  """The claims held against a page's tables."""
  study = dataclasses.replace(page.study, claims=tuple(claims))
  results = claims_lib.compare(study, page.effects, page.runs, page.gains)
  table = claim_words.table(study, results, looks.state(study, page.runs).alpha)
  before = {_statement(claim) for claim in page.study.claims}
  times = [WITH if _statement(claim) in before else AFTER for claim in claims]
  table = table.assign(
    study=page.folder.name, declared=times, seeds_needed=_needed(page, study)
  )
  return table[list(COLUMNS)]


def _needed(page: pages_lib.Page, study: study_lib.Study) -> list[float]:
  """Seeds that would decide each claim; nan if none or if its verdict is decided."""
  look = looks.state(study, page.runs)
  if not reach.reach(study, look.alpha).reachable:  # `why` says how many seeds it takes
    return [float('nan')] * len(study.claims)
  needs = {
    need.contrast: float(need.needed)
    for need in forecast.needs(study, page.runs, page.effects)
    if need.needed is not None
  }
  contrasts = (
    claims_lib.find_contrast(study, claim) if claim.direction else None
    for claim in study.claims
  )
  return [needs.get(contrast, float('nan')) for contrast in contrasts]


def _statement(claim: published_lib.Claim) -> tuple[Any, ...]:
  """What a claim says of the study, apart from the words for it and its source."""
  return (
    *(claim.factor, claim.level, claim.direction, claim.number, claim.quantity),
    *(claim.metric, claim.arm, claim.reference),
  )


def _describe_waiting(
  name: str, declared: Declared, claim: published_lib.Claim
) -> dict[str, Any]:
  """The row of a claim without results."""
  published = published_lib.published_value(claim)
  return {
    **dict.fromkeys(COLUMNS, ''),
    **dict.fromkeys(('value', 'low', 'high', 'seeds_needed'), float('nan')),
    **dict.fromkeys(('size_ratio', 'size_low', 'size_high'), float('nan')),
    'study': name,
    'paper': claim_words.name_paper(claim),
    'claim': claim.claim,
    'published': claim_words.describe_published(claim, declared.metric),
    'outcome': NOT_RUN,
    'component': claim_words.name_component(declared.factors, claim),
    'direction': claim.direction,
    'quantity': claim.quantity,
    'metric': claim.metric or declared.metric,
    'published_value': float('nan') if published is None else published,
    'setting': claim.setting,
    'verified': claim.verified,
    'n': 0,
    'seeds': 0,
  }


def name_paper(paper: str) -> str:
  """The paper without the place: 'Doe 2017, abstract' is 'Doe 2017'."""
  return paper.split(',')[0].split(' (')[0].strip()


def count(board: pd.DataFrame) -> Counts:
  """The sums of `collect`'s rows."""
  waits = board['outcome'] == NOT_RUN
  papers = board['paper'].map(name_paper)
  held = board[~waits]
  outcomes, sizes = held['outcome'].value_counts(), held['size_outcome'].value_counts()
  return Counts(
    claims=len(held),
    papers=papers[~waits].nunique(),
    agree=int(outcomes.get(claims_lib.AGREES, 0)),
    differ=int(outcomes.get(claims_lib.DIFFERS, 0)),
    open=int(outcomes.get(claims_lib.INCONCLUSIVE, 0)),
    sizes={name: int(sizes.get(name, 0)) for name in claims_lib.SIZES},
    unverified=int((~held['verified'].astype(bool)).sum()),
    waiting=int(waits.sum()),
    waiting_papers=len(set(papers[waits]) - set(papers[~waits])),
  )


def sentences(counts: Counts) -> list[str]:
  """The sums in words."""
  if not counts.claims:
    texts = ['No published claim has been held against results yet.']
  else:
    share = f'{100 * counts.open / counts.claims:.0f}{formats.THIN}%'
    claims = formats.plural(counts.claims, 'published claim')
    texts = [
      f'{claims} from {formats.plural(counts.papers, "paper")}: {counts.agree} agree '
      f'with our results, {counts.differ} differ, of {counts.open} ({share}) we cannot '
      'tell.'
    ]
  sizes = counts.sizes
  if total := sum(sizes.values()):
    ways = formats.those_that_hold(
      {
        f'{sizes[name]} {words}': sizes[name]
        for name, words in (
          (claims_lib.AS_PUBLISHED, 'as published'),
          (claims_lib.SMALLER, 'smaller here'),
          (claims_lib.LARGER, 'larger here'),
          (claims_lib.OPPOSITE, 'opposite here'),
          (claims_lib.INCONCLUSIVE, 'undecided for want of seeds'),
        )
      }
    )
    texts.append(
      f'{formats.plural(total, "size")} can be compared: {formats.listing(ways)}.'
    )
  if counts.unverified:
    texts.append(
      f'The source of {counts.unverified} was not read (unverified): their numbers and '
      'words are quoted or remembered.'
    )
  if counts.waiting:
    papers = formats.plural(counts.waiting_papers, 'further paper')
    texts.append(
      f'{formats.plural(counts.waiting, "claim")} of shipped configs, from {papers}, '
      f'{"is" if counts.waiting == 1 else "are"} not run yet.'
    )
  return texts


def render(board: pd.DataFrame, links: Mapping[str, str]) -> str:
  """The page; `links` has the address of every study's page or config."""
  counts = count(board)
  held, waiting = (
    board[(board['outcome'] == NOT_RUN) == waits] for waits in (False, True)
  )
  first, *rest = sentences(counts)
  parts = ['# Scoreboard of published claims', f'**{markdown.escape(first)}**']
  parts += [markdown.escape(' '.join(rest))] * bool(rest)
  parts += [READING]
  for title, outcome in (
    ('What agrees', claims_lib.AGREES),
    ('What differs', claims_lib.DIFFERS),
    ('What we cannot tell', claims_lib.INCONCLUSIVE),
  ):
    rows = held[held['outcome'] == outcome]
    if len(rows):
      parts += [f'## {title}', _table(rows, links)]
  if len(waiting):
    parts += [
      '## Not run yet',
      'Claims of configs without a published page, or whose page is of another design.',
      _waiting_table(waiting, links),
    ]
  parts += ['## Again', f'```sh\n{COMMAND}\n```']
  return '\n\n'.join(parts) + '\n'


def _table(rows: pd.DataFrame, links: Mapping[str, str]) -> str:
  head = ('Paper', 'Claim', 'Component', 'Published', 'Ours', 'On', 'Size', 'Why')
  cells = []
  for row in rows.to_dict('records'):
    why = row['why']
    if row['seeds_needed'] > row['seeds']:
      why += f': about {row["seeds_needed"]:.0f} seeds would tell'
    if row['declared'] == AFTER:
      why += '; declared after the run'
    names = ('paper', 'claim', 'component', 'published', 'ours', 'ours_on', 'size')
    texts = [markdown.escape(str(row[name])) for name in names]
    cells.append([*texts, markdown.escape(why), _link(row['study'], links)])
  return _pipe((*head, 'Study'), cells)


def _waiting_table(rows: pd.DataFrame, links: Mapping[str, str]) -> str:
  names = ('paper', 'claim', 'component', 'published')
  cells = [
    [
      *(markdown.escape(str(row[name])) for name in names),
      _link(row['study'], links),
    ]
    for row in rows.to_dict('records')
  ]
  return _pipe(('Paper', 'Claim', 'Component', 'Published', 'Config'), cells)


def _link(study: str, links: Mapping[str, str]) -> str:
  name = markdown.escape(study)
  return f'[{name}]({links[study]})' if study in links else name


def _pipe(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """A pipe table of cells that are Markdown."""
  lines = [head, ['---'] * len(head), *rows]
  return '\n'.join(f'| {" | ".join(cell or " " for cell in line)} |' for line in lines)


def make(
  declared: Mapping[str, Declared], home: pathlib.Path, out: pathlib.Path
) -> tuple[str, str]:
  """The page and the table as text, to be written to `out`.

  Args:
    declared: claims of configs, by study.
    home: of the published pages.
    out: the folder that links are relative to.

  Raises:
    UserError: there are no pages, or one that claims something is damaged.
  """
  folders = pages_lib.list_folders(home)
  studies = {folder: pages_lib.read_study(folder) for folder in folders}
  claiming = [
    pages_lib.read(folder)
    for folder, study in studies.items()
    if study.claims or study.name in declared
  ]
  board = collect(claiming, declared)
  links = {name: _relative(one.file, out) for name, one in declared.items()}
  held = set(board.loc[board['outcome'] != NOT_RUN, 'study'])
  links |= {
    page.folder.name: _relative(page.folder / 'README.md', out)
    for page in claiming
    if page.folder.name in held
  }
  return render(board, links), board.to_csv(index=False, float_format='%.6g')


def _relative(path: pathlib.Path, folder: pathlib.Path) -> str:
  return pathlib.Path(os.path.relpath(path, folder)).as_posix()


def main(argv: list[str]) -> int:
  """The command."""
  if len(argv) > 1:
    print(f'unexpected argument {argv[1]!r}', file=sys.stderr)
    return 2
  out = pathlib.Path(pages_lib.OUT.value or HOME / 'scoreboard').absolute()
  try:
    home = pathlib.Path(pages_lib.PAGES.value).absolute()
    page, table = make(declared_claims(), home, out)
  except errors.UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  files.write(out / 'scoreboard.csv', table)
  files.write(out / 'README.md', page)
  print(f'written: {out / "README.md"}')
  return 0


if __name__ == '__main__':
  app.run(main)
