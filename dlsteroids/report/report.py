"""The report of a study: a page, a text for a pull request, and the figures."""

import collections
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlsteroids.analysis import summary
from dlsteroids.report import answers, compute, markdown, page, sheets
from dlsteroids.report.figures import registry
from dlsteroids.store import results
from dlsteroids.study import study as study_lib

Tables = summary.Tables
MEMORY = 1 << 30  # bytes of runs' arrays that are kept


def write(
  workdir: pathlib.Path,
  study: study_lib.Study,
  tables: summary.Tables,
  arrays: summary.Arrays,
) -> pathlib.Path:
  """Writes `report.html`, `report.md` and `figures/*.png` into `workdir`.

  Every file appears whole or not at all, and equal inputs give equal bytes. Arms
  without runs are named as missing; nothing is claimed that the effects do not claim.

  Args:
    workdir: the study's folder.
    study: what was compared.
    tables: its runs, curves and effects, and the factorial tables if there are any.
    arrays: `(arm, seed)` -> stored arrays of an untuned run, or None.

  Returns:
    the path of `report.html`.

  Raises:
    OSError: a file can't be written; those written before it stay.
  """
  workdir = pathlib.Path(workdir)
  source = summary.Source(study, tables, _remember(arrays))
  found = answers.gather(source)
  if found.refusal:
    tables = tables._replace(effects=answers.silence(tables.effects))
    source = source._replace(tables=tables)
  drawings = registry.draw(source)
  made = sheets.gather(source)
  analyses = tables.compute or compute.Analyses()
  sections, leads = compute.gather(study, analyses), compute.lead(study, analyses)
  html = page.render(source, found, made, drawings, sections, leads)
  text = markdown.render(source, found, made, drawings, sections, leads)
  folder = workdir / 'figures'
  for name in registry.NAMES:
    path = folder / f'{name}.png'
    if name in drawings:
      results.write_atomically(path, drawings[name].png)
    else:  # one of an earlier report would be taken for this one's
      path.unlink(missing_ok=True)
  results.write_atomically(workdir / 'report.md', text)
  target = workdir / 'report.html'
  results.write_atomically(target, html)
  return target


def _remember(arrays: summary.Arrays, room: int = MEMORY) -> summary.Arrays:
  """Reads a run's arrays once, as long as the latest asked for fit into `room` bytes.

  Several parts of a report look at them.
  """
  known: collections.OrderedDict[Any, Mapping[str, np.ndarray] | None]
  known = collections.OrderedDict()
  size = 0

  def read(*run: Any) -> Mapping[str, np.ndarray] | None:
    nonlocal size
    if run in known:
      known.move_to_end(run)
      return known[run]
    found = known[run] = arrays(*run)
    size += _size(found)
    while size > room and len(known) > 1:
      size -= _size(known.popitem(last=False)[1])
    return found

  return read


def _size(found: Mapping[str, np.ndarray] | None) -> int:
  return sum(value.nbytes for value in (found or {}).values())
