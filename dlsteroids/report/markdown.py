"""The report as Markdown, fit for a pull request."""

import functools
import re
from collections.abc import Iterable
from typing import Any

from dlsteroids.report import blocks, sentences
from dlsteroids.report.figures import canvas

_SPECIAL = re.compile(r'([\\`*_{}\[\]|#~])')


def escape(words: str) -> str:
  """Text that Markdown prints as it stands, on one line."""
  words = words.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
  return _SPECIAL.sub(r'\\\1', ' '.join(words.split('\n')))


def render(report: blocks.Report) -> str:
  """The whole text; figures are linked as `figures/NAME.png`."""
  parts = [f'# {escape(report.title)}', *map(_show, report.head)]
  for section in report.sections:
    parts.append(f'## {escape(section.title)}')
    parts += _walk(section.parts, section.title)
  return '\n\n'.join(parts) + '\n'


def _walk(parts: Iterable[Any], title: str) -> list[str]:
  """The parts of a section called `title`, which need not head its table again."""
  texts = []
  for part in parts:
    if isinstance(part, blocks.Table) and part.title != title:
      texts.append(f'**{escape(part.title)}**')
    texts.append(_show(part))
  return texts


@functools.singledispatch
def _show(part: Any) -> str:
  raise TypeError(f'no part of a report: {part!r}')


@_show.register
def _(part: blocks.Prose) -> str:
  text = escape(part.text)
  if part.kind in ('notice', 'alarm'):
    return f'> **{"Warning" if part.kind == "alarm" else "Note"}.** {text}'
  return f'**{text}**' if part.kind == 'strong' else text


@_show.register
def _(part: blocks.Bullets) -> str:
  return '\n'.join(f'- {escape(text)}' for text in part.items)


@_show.register
def _(part: blocks.Verdicts) -> str:
  return '\n'.join(
    f'- {sentences.MARKS[verdict]} {escape(text)}' for verdict, text in part.items
  )


@_show.register
def _(part: blocks.Tiles) -> str:
  return '; '.join(escape(': '.join(item[:2])) for item in part.items) + '.'


@_show.register
def render_table(part: blocks.Table) -> str:
  """A pipe table."""
  head = [escape(cell) for cell in part.head]
  rule = ['---:' if numeric else '---' for numeric in part.numeric]
  rows = [[escape(cell) or ' ' for cell in row] for row in part.rows]
  return '\n'.join(f'| {" | ".join(row)} |' for row in (head, rule, *rows))


@_show.register
def _(part: blocks.Text) -> str:
  return f'**{escape(part.arm)}**\n\n{_code(f"⟦{part.prompt}⟧{part.text}", "text")}'


@_show.register
def _(part: blocks.Code) -> str:
  return _code(part.text, 'sh')


@_show.register
def _(part: blocks.Links) -> str:
  files = ', '.join(f'[{file}]({file}) ({escape(what)})' for file, what in part.items)
  return f'Beside this page: {files}.'


@_show.register
def _(part: canvas.Drawing) -> str:
  image = f'![{escape(part.alt)}](figures/{part.name}.png)'
  return f'{image}\n\n*{escape(part.caption)}*'


@_show.register
def _(part: blocks.Section) -> str:
  texts = _walk(part.parts, part.title)
  if part.collapsed:
    head = f'<details><summary>{escape(part.title)}</summary>'
    return '\n\n'.join([head, *texts, '</details>'])
  return '\n\n'.join([f'### {escape(part.title)}', *texts])


def _code(text: str, language: str) -> str:
  fence = '`' * max(3, 1 + max(map(len, re.findall('`+', text)), default=2))
  return f'{fence}{language}\n{text}\n{fence}'
