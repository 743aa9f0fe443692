"""Copies what a published page needs from a workdir: python -m experiments.publish
--workdir=studies/mnist_cnn --page=experiments/results/mnist_cnn
"""

import pathlib
import shutil

from absl import app, flags

FILES = ('runs.csv', 'effects.csv', 'study.json', 'plan.json')

WORKDIR = flags.DEFINE_string('workdir', None, 'a finished study', required=True)
PAGE = flags.DEFINE_string('page', None, 'the folder of its page', required=True)


def publish(workdir: pathlib.Path, page: pathlib.Path) -> None:
  """report.md becomes the page's README.md; figures and small tables go with it."""
  page.mkdir(parents=True, exist_ok=True)
  shutil.copyfile(workdir / 'report.md', page / 'README.md')
  shutil.rmtree(page / 'figures', ignore_errors=True)
  shutil.copytree(workdir / 'figures', page / 'figures')
  for name in FILES:
    shutil.copyfile(workdir / name, page / name)


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
