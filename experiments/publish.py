"""Copies what a published page needs from a workdir: python -m experiments.publish
--workdir=studies/mnist_cnn --page=experiments/results/mnist_cnn
"""

import json
import pathlib
import shutil

from absl import app, flags

from dlsteroids.store import results

SEALED = ('study.json', 'plan.json')  # JSON with a checksum
TABLES = (
  *('runs.csv', 'effects.csv', 'attribution.csv', 'attribution_orders.csv'),
  *('attribution_interactions.csv', 'gains.csv', 'regimes.csv', 'claims.csv'),
  *('searches.csv', 'frontier.csv', 'worth.csv'),
)

WORKDIR = flags.DEFINE_string('workdir', None, 'a finished study', required=True)
PAGE = flags.DEFINE_string('page', None, 'the folder of its page', required=True)


def publish(workdir: pathlib.Path, page: pathlib.Path) -> None:
  """report.md becomes the page's README.md; figures and small tables are copied.

  What a person adds, such as how the result compares with published ones, stands in
  notes.md beside it and follows the report. Paths of this machine's workdir become
  those of the reader's; study.json and plan.json are sealed again.
  """
  page.mkdir(parents=True, exist_ok=True)
  text = (workdir / 'report.md').read_text(encoding='utf-8')
  notes = page / 'notes.md'
  if notes.is_file():
    text = f'{text.rstrip()}\n\n{notes.read_text(encoding="utf-8")}'
  home = f'studies/{page.name}'  # where the command puts it for a reader
  rename = lambda text: text.replace(str(workdir), home)
  (page / 'README.md').write_text(rename(text), encoding='utf-8')
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
