"""The report as one web page: self-contained, without scripts."""

import re

import jinja2
import markupsafe

from dlsteroids.report import blocks, sentences, tables


def _kind(part: blocks.Part) -> str:
  """The name of the template's macro that shows a part."""
  return 'figure' if isinstance(part, blocks.Drawing) else type(part).__name__.lower()


def _keep_intervals(words: str) -> str:
  """Keeps an interval on one line."""
  return re.sub(r'\[[^\[\])]*[\])]', lambda m: m[0].replace(' ', '\u00a0'), words)


_ENVIRONMENT = jinja2.Environment(
  loader=jinja2.PackageLoader('dlsteroids.report', 'templates'),
  autoescape=True,
  trim_blocks=True,
  lstrip_blocks=True,
  undefined=jinja2.StrictUndefined,
  keep_trailing_newline=True,
)
_ENVIRONMENT.filters['keep_intervals'] = _keep_intervals
_ENVIRONMENT.filters['kind'] = _kind
_ENVIRONMENT.filters['trusted'] = markupsafe.Markup  # our own drawings: escaped there
_ENVIRONMENT.globals |= {'marks': sentences.MARKS, 'verdict': tables.VERDICT}


def render(report: blocks.Report) -> str:
  """The page's HTML."""
  return _ENVIRONMENT.get_template('report.html.j2').render(report=report)
