"""Copies what a published page needs from a workdir: python -m experiments.publish
--workdir=studies/mnist_cnn --page=experiments/results/mnist_cnn

Or one page over several studies of the same arms on different data sets, from their
workdirs or their published pages: python -m experiments.publish --summary
--workdir=studies/digits_cnn,studies/mnist_cnn --page=experiments/results/cnn_data_sets
"""

import json
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Sequence

from absl import app, flags, logging

from dlsteroids.analysis import data_sets as data_sets_lib
from dlsteroids.report import data_sets as data_sets_words
from dlsteroids.report import markdown
from dlsteroids.report.figures import canvas, forest
from dlsteroids.store import results, tables
from dlsteroids.util import errors, files
from experiments import pages as pages_lib

SEALED = ('study.json', 'plan.json')  # JSON with a checksum
SUMMARY_TABLES = ('cells', 'means', 'matrix')  # of `analysis.data_sets.DataSets`
TABLES = (
  *('runs.csv', 'effects.csv', 'attribution.csv', 'attribution_orders.csv'),
  *('attribution_interactions.csv', 'gains.csv', 'regimes.csv', 'claims.csv'),
  *('searches.csv', 'frontier.csv', 'worth.csv'),
)
_FILES = re.compile(r'^Beside this page: (.*)\.$', re.M)  # as reports list them
_FILE = re.compile(r'\[([^\]]+)\]\(\1\) \([^)]*\)')

WORKDIRS = flags.DEFINE_list(
  'workdir', None, 'a finished study; with --summary several', required=True
)
PAGE = flags.DEFINE_string('page', None, 'the folder of its page', required=True)
SUMMARY = flags.DEFINE_boolean('summary', False, 'one page over several studies')


def publish(workdir: pathlib.Path, page: pathlib.Path) -> None:
  """report.md becomes the page's README.md; figures and small tables are copied.

  What a person adds, such as how the result compares with published ones, stands in
  notes.md beside it and follows the report. Paths of this machine's workdir become
  those of the reader's; study.json and plan.json are sealed again. Of the files that
  the report lists the page lists those that are copied.
  """
  page.mkdir(parents=True, exist_ok=True)
  text = (workdir / 'report.md').read_text(encoding='utf-8')
  notes = page / 'notes.md'
  if notes.is_file():
    text = f'{text.rstrip()}\n\n{notes.read_text(encoding="utf-8")}'
  home = f'studies/{page.name}'  # where the command puts it for a reader
  rename = lambda text: text.replace(str(workdir), home)
  shutil.rmtree(page / 'figures', ignore_errors=True)
  pictures = shutil.ignore_patterns('*.svg', '*.pdf')  # pages show the PNG
  shutil.copytree(workdir / 'figures', page / 'figures', ignore=pictures)
  for name in TABLES:
    if (workdir / name).is_file():
      (page / name).write_text(
        rename((workdir / name).read_text(encoding='utf-8')), encoding='utf-8'
      )
  for name in SEALED:
    tree = results.read_json(workdir / name)
    results.write_json(page / name, json.loads(rename(json.dumps(tree))))
  text = _list_files(rename(text), page)
  (page / 'README.md').write_text(text, encoding='utf-8')


def _list_files(text: str, page: pathlib.Path) -> str:
  """The text with those of the files that its report lists that the page holds."""

  def keep(line: re.Match[str]) -> str:
    present = [m[0] for m in _FILE.finditer(line[1]) if (page / m[1]).is_file()]
    return f'Beside this page: {", ".join(present)}.' if present else ''

  return _FILES.sub(keep, text)


def compare(folders: Sequence[pathlib.Path]) -> data_sets_lib.DataSets:
  """The studies of workdirs or published pages, held side by side.

  Raises:
    UserError: a folder holds no study, or the studies cannot be held side by side.
  """
  read = [pages_lib.read(folder) for folder in folders]
  cases = [
    data_sets_lib.Case(one.study.name, one.study, one.runs, one.effects) for one in read
  ]
  try:
    return data_sets_lib.compare(cases)
  except ValueError as error:
    raise errors.UserError(str(error)) from error


def summarise(folders: Sequence[pathlib.Path], page: pathlib.Path) -> None:
  """One page over several studies of the same arms, each on a data set of its own.

  README.md with figures/, and the tables cells.csv, means.csv and matrix.csv. What a
  person adds stands in notes.md.

  Raises:
    UserError: what `compare` says; nothing is written then.
  """
  result = compare(folders)
  with canvas.style():
    drawing = forest.draw_data_sets(result)
  drawings = [drawing] if drawing else []
  command = (
    'python -m experiments.publish --summary \\\n  --workdir='
    f'{",".join(map(str, folders))} \\\n  --page={page}'
  )
  links = [
    *(('cells.csv', 'every effect'), ('means.csv', 'means over data sets')),
    ('matrix.csv', 'arms against arms'),
  ]
  for case, folder in zip(result.cases, folders):
    readme = folder / 'README.md'
    if readme.is_file():
      address = pathlib.Path(os.path.relpath(readme, page)).as_posix()
      links.append((address, f'the study {case.name}'))
  text = markdown.render(data_sets_words.make(result, drawings, command, links))
  notes = page / 'notes.md'
  if notes.is_file():
    text = f'{text.rstrip()}\n\n{notes.read_text(encoding="utf-8")}'
  shutil.rmtree(page / 'figures', ignore_errors=True)
  for one in drawings:
    files.write(page / 'figures' / f'{one.name}.png', one.png)
  for name in SUMMARY_TABLES:
    tables.write(page / f'{name}.csv', getattr(result, name))
  files.write(page / 'README.md', text)


def main(argv: list[str]) -> int:
  """The command."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected argument {argv[1]!r}')
  logging.set_verbosity(logging.WARNING)  # fonts that are embedded are many lines
  workdirs = [pathlib.Path(name) for name in WORKDIRS.value]
  page = pathlib.Path(PAGE.value)
  if SUMMARY.value:
    try:
      summarise(workdirs, page)
    except errors.UserError as error:
      print(f'error: {error}', file=sys.stderr)
      return 1
    return 0
  if len(workdirs) > 1:
    raise app.UsageError('a page is of one study; --summary is of several')
  if not (workdirs[0] / 'report.md').is_file():
    raise app.UsageError(f'{workdirs[0]} holds no report.md: run the study first')
  publish(workdirs[0], page)
  return 0


if __name__ == '__main__':
  app.run(main)
