"""The report as Markdown, fit for a pull request."""

import re
from collections.abc import Iterable
from typing import Any

from dlsteroids.report import blocks, sentences

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


def _show(part: Any) -> str:
  match part:
    case blocks.Prose(text, 'notice' | 'alarm' as kind):
      return f'> **{"Warning" if kind == "alarm" else "Note"}.** {escape(text)}'
    case blocks.Prose(text, kind):
      return f'**{escape(text)}**' if kind == 'strong' else escape(text)
    case blocks.Bullets(items):
      return '\n'.join(f'- {escape(text)}' for text in items)
    case blocks.Verdicts(items):
      marks = sentences.MARKS
      return '\n'.join(f'- {marks[verdict]} {escape(text)}' for verdict, text in items)
    case blocks.Tiles(items):
      return '; '.join(escape(': '.join(item[:2])) for item in items) + '.'
    case blocks.Table():
      return render_table(part)
    case blocks.Text(arm, prompt, text):
      return f'**{escape(arm)}**\n\n{_code(f"⟦{prompt}⟧{text}", "text")}'
    case blocks.Code(text):
      return _code(text, 'sh')
    case blocks.Links(items):
      files = ', '.join(f'[{file}]({file}) ({escape(what)})' for file, what in items)
      return f'Beside this page: {files}.'
    case blocks.Drawing():
      image = f'![{escape(part.alt)}](figures/{part.name}.png)'
      return f'{image}\n\n*{escape(part.caption)}*'
    case blocks.Section():
      head, end = f'### {escape(part.title)}', []
      if part.collapsed:
        head = f'<details><summary>{escape(part.title)}</summary>'
        end = ['</details>']
      return '\n\n'.join([head, *_walk(part.parts, part.title), *end])
  raise TypeError(f'no part of a report: {part!r}')


def render_table(table: blocks.Table) -> str:
  """A pipe table."""
  head = [escape(cell) for cell in table.head]
  rule = ['---:' if numeric else '---' for numeric in table.numeric]
  rows = [[escape(cell) or ' ' for cell in row] for row in table.rows]
  return '\n'.join(f'| {" | ".join(row)} |' for row in (head, rule, *rows))


def _code(text: str, language: str) -> str:
  fence = '`' * max(3, 1 + max(map(len, re.findall('`+', text)), default=2))
  return f'{fence}{language}\n{text}\n{fence}'
