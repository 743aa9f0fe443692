"""Copies what a published page needs from a workdir: python -m experiments.publish
--workdir=studies/mnist_cnn --page=experiments/results/mnist_cnn
"""

import pathlib
import shutil

from absl import app, flags

FILES = ('runs.csv', 'effects.csv', 'study.json', 'plan.json')
MORE = (
  'attribution',
  'attribution_orders',
  'attribution_interactions',
  'gains',
  'regimes',
  'claims',
)

WORKDIR = flags.DEFINE_string('workdir', None, 'a finished study', required=True)
PAGE = flags.DEFINE_string('page', None, 'the folder of its page', required=True)


def publish(workdir: pathlib.Path, page: pathlib.Path) -> None:
  """report.md becomes the page's README.md; figures and small tables go with it.

  What a person adds, as how the result compares with published ones, lies in notes.md
  beside it and follows the report.
  """
  page.mkdir(parents=True, exist_ok=True)
  text = (workdir / 'report.md').read_text()
  notes = page / 'notes.md'
  if notes.is_file():
    text = f'{text.rstrip()}\n\n{notes.read_text()}'
  home = f'studies/{page.name}'  # where the command puts it for a reader
  (page / 'README.md').write_text(text.replace(str(workdir), home))
  shutil.rmtree(page / 'figures', ignore_errors=True)
  pictures = shutil.ignore_patterns('*.svg', '*.pdf')  # pages show the PNG
  shutil.copytree(workdir / 'figures', page / 'figures', ignore=pictures)
  there = [f'{name}.csv' for name in MORE if (workdir / f'{name}.csv').is_file()]
  for name in (*FILES, *there):
    (page / name).write_text((workdir / name).read_text().replace(str(workdir), home))


def main(argv: list[str]) -> None:
  """The command."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected argument {argv[1]!r}')
  workdir = pathlib.Path(WORKDIR.value)
  if not (workdir / 'report.md').is_file():
    raise app.UsageError(f'{workdir} holds no report.md: run the study first')
  publish(workdir, pathlib.Path(PAGE.value))


if __name__ == '__main__':
  app.run(main)
