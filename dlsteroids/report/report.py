"""The report of a study: a page, a text for a pull request, and the figures."""

import pathlib

from dlsteroids.analysis import summary
from dlsteroids.report import markdown, outline, page, sentences
from dlsteroids.report.figures import canvas, registry
from dlsteroids.study import study as study_lib
from dlsteroids.util import files, memoise

Tables = summary.Tables


@memoise.scoped
def write(
  workdir: pathlib.Path,
  study: study_lib.Study,
  tables: summary.Tables,
  arrays: study_lib.ArraysOf,
) -> pathlib.Path:
  """Writes `report.html`, `report.md` and `figures/*` (PNG, SVG, PDF) into `workdir`.

  Every file appears whole or not at all, and equal inputs give equal bytes. Arms
  without runs are named as missing; nothing is claimed that the effects do not claim.

  Args:
    workdir: the study's folder.
    study: the study.
    tables: its runs, curves and effects, and the factorial tables if there are any.
    arrays: `(arm, seed, tuned=0)` -> stored arrays of a run, or None.

  Returns:
    the path of `report.html`.
  """
  workdir = pathlib.Path(workdir)
  source = summary.Source(study, tables, arrays)
  findings = sentences.gather(source)
  if findings.refusal:
    effects = sentences.silence(tables.effects)
    source = source._replace(tables=tables._replace(effects=effects))
  drawings = registry.draw(source)
  report = outline.make(source, findings, drawings)
  html, text = page.render(report), markdown.render(report)
  for name in registry.NAMES:
    for suffix in canvas.SUFFIXES:
      path = workdir / 'figures' / f'{name}.{suffix}'
      if name in drawings:
        files.write(path, drawings[name].files[suffix])
      else:  # one of an earlier report would be taken for this one's
        path.unlink(missing_ok=True)
  files.write(workdir / 'report.md', text)
  files.write(workdir / 'report.html', html)
  return workdir / 'report.html'
