"""The report as one web page: self-contained, without scripts."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe

from dlsteroids.analysis import pairs, summary
from dlsteroids.report import (
  answers,
  collapse,
  compute,
  facts,
  formats,
  notes,
  samples,
  sheets,
)
from dlsteroids.report.figures import canvas, registry

_LETTERS = 600  # of an arm's text
_ENVIRONMENT = jinja2.Environment(
  loader=jinja2.PackageLoader('dlsteroids.report', 'templates'),
  autoescape=True,
  trim_blocks=True,
  lstrip_blocks=True,
  undefined=jinja2.StrictUndefined,
  keep_trailing_newline=True,
)


def _together(words: str) -> str:
  """Keeps an interval on one line."""
  return re.sub(r'\[[^\]]*\]', lambda m: m[0].replace(' ', '\u00a0'), words)


_ENVIRONMENT.filters['together'] = _together


def render(
  source: summary.Source,
  found: answers.Answers,
  made: sheets.Sheets,
  drawings: Mapping[str, canvas.Drawing],
  sections: Sequence[compute.Section] = (),
  leads: Sequence[str] = (),
) -> str:
  """The page's HTML.

  Args:
    source: the study, its tables and its per-run arrays.
    found: what may be claimed.
    made: the tables.
    drawings: by name; those that are absent leave no trace.
    sections: on compute.
    leads: what the answer begins with.
  """
  study = source.study
  trusted = {  # our own drawings: matplotlib escapes the names in them
    name: drawing._replace(svg=markupsafe.Markup(drawing.svg))
    for name, drawing in drawings.items()
  }
  return _ENVIRONMENT.get_template('report.html.j2').render(
    study=study,
    question=notes.ask(study),
    headline=notes.head(source),
    tiles=_tiles(source),
    warnings=notes.warn(source),
    found=found,
    sections=sections,
    leads=leads,
    marks=answers.MARKS,
    verdict=sheets.VERDICT,
    drawings=dict.fromkeys(registry.NAMES) | trusted,
    **made._asdict(),
    compared=notes.compare_references(source),
    samples=samples.gather(source, _LETTERS),
    collapse=collapse.tell(source),
    notes=notes.list_notes(source),
    config=list_settings(study['config']),
    provenance=list_provenance(study),
    replay=give_replay(study),
  )


def _tiles(source: summary.Source) -> list[tuple[str, str, str]]:
  """The three figures on top: (label, number, what it is)."""
  study, metric = source.study, pairs.deciding(source.study)
  arm, state = summary.intact_arm(study), pairs.declared(study)
  values = summary.scores_of(source, state).value[arm].dropna()
  cost = next(r for r in summary.compute_of(source, state) if r['arm'] == arm)
  runs = source.tables.runs
  mean = float(values.mean()) if len(values) else float('nan')
  spread = 'no runs yet'
  if len(values):
    low, high = float(values.min()), float(values.max())
    spread = f'{formats.value(metric, low)} to {formats.value(metric, high)}'
    spread += f' over {len(values)} seed{"s" if len(values) > 1 else ""}'
  # searches for tuned numbers and other conditions included, where study.json tells
  trained = study.get('trained') or {'runs': len(runs), 'flops': runs['flops'].sum()}
  total = formats.flops(float(trained['flops']))
  shape = f'{len(study["arms"])} arms × {len(study["seeds"])} seeds'
  conditions = len(study.get('conditions') or ())
  told = f' × {conditions} conditions' if conditions > 1 else ''
  told += ', as configured and tuned' if runs['tuned'].nunique() > 1 else ''
  parameters = f'{formats.count(cost["params"])} parameters'
  steps = f'{formats.count(cost["steps"])} steps'
  return [
    (f'{facts.words(study, metric)}, {arm}', formats.value(metric, mean), spread),
    ('compute a run', formats.flops(cost['run']), f'{parameters}, {steps}'),
    ('the whole study', f'{trained["runs"]:,} runs', f'{shape}{told}, {total}'),
  ]


def list_settings(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
  """The configuration by section: paths as the command line takes them, and values."""
  sections: dict[str, list[tuple[str, str]]] = {}

  def walk(value: Any, path: tuple[str, ...]) -> None:
    if isinstance(value, Mapping) and value:
      for key in value:
        walk(value[key], (*path, str(key)))
    else:
      section = path[0] if len(path) > 1 else ''
      words = json.dumps(value, ensure_ascii=False, default=str)
      sections.setdefault(section, []).append(('.'.join(path), words))

  walk(config, ())
  return list(sections.items())


def list_provenance(study: Mapping[str, Any]) -> list[tuple[str, str]]:
  """Where the numbers come from: versions, device, code, data."""
  data = study['data']
  sizes = ', '.join(f'{n:,} {split}' for split, n in data['sizes'].items())
  rows = [
    ('data', f'{data["name"]} ({sizes})'),
    ('data digest', data['digest']),
    ('dlsteroids', study['dlsteroids']),
    ('commit', study['git'] or 'not in a repository'),
  ]
  return rows + [(name, _words(v)) for name, v in study['provenance'].items()]


def _words(value: Any) -> str:
  if isinstance(value, str):
    return value
  if isinstance(value, Sequence):
    return ', '.join(map(_words, value))
  return json.dumps(value, ensure_ascii=False, default=str)


def give_replay(study: Mapping[str, Any]) -> str:
  """The command that runs the last arm's lowest seed again, alone."""
  arm, seed = study['arms'][-1]['name'], min(study['seeds'])
  return f'{study["command"]} --action=replay --arm={shlex.quote(arm)} --seed={seed}'
