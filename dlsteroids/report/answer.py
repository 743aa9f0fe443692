"""What a study came to: its tables, its report, and the answer that points at them."""

import base64
import dataclasses
import html
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import PIL.Image

from dlsteroids.analysis import analyses as analyses_lib
from dlsteroids.analysis import doublings, effects, factorial, looks, summary
from dlsteroids.report import answer_json, claims, current, sentences
from dlsteroids.store import results, tables
from dlsteroids.study import study as study_lib
from dlsteroids.util import environment, errors, files, memoise


class Answer(NamedTuple):
  """A study's results; prints as the findings, in a notebook as the report's head.

  Attributes:
    workdir: of the study.
    report: path of report.html.
    runs: one row per run of the declared condition, as in runs.csv.
    curves: metrics over training, as in curves.csv.
    effects: differences between arms with their verdicts, as in effects.csv.
    failed: whether any run of any condition failed, or is missing from a table.
    follows: whether another process of the same launch holds the frames.
    worth: what the ideas are worth in doublings of compute, of a study that searches
      at several budgets; `worth.worths` has its numbers.

  Example:
    >>> Answer._fields[:3]
    ('workdir', 'report', 'runs')
  """

  workdir: pathlib.Path
  report: pathlib.Path
  runs: pd.DataFrame
  curves: pd.DataFrame
  effects: pd.DataFrame
  failed: bool = False
  follows: bool = False
  worth: doublings.Doublings | None = None

  @property
  def study(self) -> study_lib.Study:
    """The study as study.json describes it."""
    return study_lib.from_json(results.read_json(self.workdir / 'study.json'))

  def findings(self) -> list[str]:
    """The report's sentences, first what it lacks."""
    study = self.study
    state = looks.state(study, self.runs)
    return answer_json.findings(study, self.runs, self.effects, state, self.worth)

  def to_json(self) -> dict[str, Any]:
    """The content of answer.json: docs/answer.schema.json describes it."""
    return answer_json.describe(
      self.study, self.runs, self.effects, str(self.workdir), self.worth
    )

  def per_seed(self, metric: str = '') -> pd.DataFrame:
    """Scores on the test split: one row per seed, one column per arm.

    Args:
      metric: name of a metric; '' is the one that decides.
    """
    study = self.study
    columns = {one.name: one.column for one in study.metrics.values()}
    columns |= {one.column: one.column for one in study.metrics.values()}
    column = columns.get(metric, f'test/{metric}') if metric else study.metric.column
    if column not in self.runs:
      names = [name for name, column in columns.items() if column in self.runs]
      raise errors.UserError(
        f'no metric {metric!r}{errors.did_you_mean(metric, names)}; there are '
        f'{", ".join(names)}'
      )
    declared = self.runs[self.runs['tuned'] == study.tuned]
    frame = declared.pivot_table(column, 'seed', 'arm', sort=False, dropna=False)
    arms = [arm.name for arm in study.arms if arm.name in frame]
    return frame[arms].sort_index()

  def plot(self, name: str = 'effects') -> PIL.Image.Image:
    """A figure of the report as an image, which notebooks display."""
    folder = self.workdir / 'figures'
    names = [path.stem for path in sorted(folder.glob('*.png'))]
    if name not in names:
      raise errors.UserError(
        f'no figure {name!r}{errors.did_you_mean(name, names)}; there are '
        f'{", ".join(names) or "none"}'
      )
    with PIL.Image.open(folder / f'{name}.png') as image:
      image.load()
      return image

  def __repr__(self) -> str:
    if self.follows:
      return f'another process of this launch reports in {self.workdir}'
    return '\n'.join([*self.findings(), f'report: {self.report}'])

  def _repr_html_(self) -> str:
    if self.follows:
      return html.escape(repr(self))
    lines = ''.join(f'<li>{html.escape(line)}</li>' for line in self.findings())
    title = html.escape(self.study.question or self.study.name)
    image = self.workdir / 'figures' / 'effects.png'
    picture = ''
    if image.exists():
      data = base64.b64encode(image.read_bytes()).decode()
      picture = f'<img style="max-width:100%" src="data:image/png;base64,{data}">'
    path = html.escape(str(self.report))
    return f'<b>{title}</b><ul>{lines}</ul>{picture}<p>report: <code>{path}</code></p>'


class Records(NamedTuple):
  """What the runs of a study left.

  Attributes:
    every: one row per run of all conditions, as in runs.csv.
    runs: those of the declared condition.
    curves: their metrics over training, in the tuning state `shown`.
    arrays: of an arm and seed, its stored arrays by name, or None.
    searches: one row per run of the searches for tuned numbers, as in searches.csv.
    shown: 1 if the curves are those of tuned runs, else 0.
  """

  every: pd.DataFrame
  runs: pd.DataFrame
  curves: pd.DataFrame
  arrays: study_lib.ArraysOf
  searches: pd.DataFrame = pd.DataFrame()
  shown: int = 0


@memoise.scoped
def write(
  workdir: pathlib.Path,
  study: study_lib.Study,
  records: Records,
  save: Callable[[study_lib.Study], None],
) -> Answer:
  """Measures what the runs say, and writes tables, figures and report.

  A report that is current is not drawn again.

  Args:
    workdir: of the study.
    study: the study.
    records: what its runs left.
    save: stores the study with this look entered, before anything is shown.
  """
  runs, curves = records.runs, records.curves
  differences = effects.measure(study, runs)
  shown = summary.Tables(runs, curves, differences, shown=records.shown)
  verdicts = sentences.gather(summary.Source(study, shown, records.arrays)).findings
  entries = looks.log(study, runs, environment.now(), verdicts)
  study = dataclasses.replace(study, looks=tuple(entries))
  save(study)
  frames = {'runs': records.every, 'curves': curves, 'effects': differences}
  extra: dict[str, Any] = {}
  if study.design == 'factorial':
    extra = {
      'interactions': factorial.interactions(study, runs),
      'anova': factorial.anova(study, runs),
    }
  analyses = analyses_lib.analyse(
    study, records.every, runs, curves, differences, records.searches
  )
  if len(records.searches):
    frames['searches'] = records.searches
  frames |= analyses.tables()
  if analyses.claims is not None:
    alpha = looks.state(study, runs).alpha
    frames['claims'] = claims.table(study, analyses.claims, alpha)
  for name, frame in frames.items():
    tables.write(workdir / f'{name}.csv', frame)
  shown = shown._replace(compute=analyses, every=records.every, **extra)
  page = workdir / 'report.html'
  inputs = current.digest(workdir, study)
  if not current.is_current(workdir, inputs):
    from dlsteroids.report import report  # with matplotlib, which is slow to import

    report.write(workdir, study, shown, records.arrays)
    current.sign(workdir, inputs)
  failed, worth = bool(study.failures), analyses.doublings
  result = Answer(workdir, page, runs, curves, differences, failed, worth=worth)
  tree = answer_json.describe(study, runs, differences, str(workdir), worth)
  text = json.dumps(tree, ensure_ascii=False, indent=1)
  files.write(workdir / 'answer.json', f'{text}\n')
  return result
