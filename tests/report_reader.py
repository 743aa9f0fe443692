"""How the tests read a written report: its HTML tags, its Markdown tables."""

import html.parser
import pathlib
import re

from dlsteroids.results import report, summary
from tests import report_fixture

VOID = {'meta', 'br', 'hr', 'img', 'link', 'input'}


class Reader(html.parser.HTMLParser):
  """Checks that tags nest, and collects tags, attributes, ids and visible text."""

  def __init__(self, text: str):
    super().__init__()
    self.open: list[str] = []
    self.tags: list[str] = []
    self.links: list[str] = []
    self.ids: list[str] = []
    self.words: list[str] = []
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    for name, value in attrs:
      if name in ('href', 'src', 'xlink:href', 'action', 'data'):
        self.links.append(value or '')
      if name == 'id':
        self.ids.append(value or '')
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.handle_starttag(tag, attrs)
    if tag not in VOID:
      self.open.pop()

  def handle_endtag(self, tag):
    assert self.open, f'</{tag}> closes nothing'
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != 'style':
      self.words.append(data)

  @property
  def text(self) -> str:
    return ' '.join(' '.join(self.words).split())


def write(case: report_fixture.Case, folder: pathlib.Path) -> tuple[str, str]:
  path = report.write(folder, case.study, case.tables, case.arrays)
  assert path == folder / 'report.html'
  return path.read_text(), (folder / 'report.md').read_text()


def source_of(case: report_fixture.Case) -> summary.Source:
  return summary.Source(case.study, case.tables, case.arrays)


def tables_of(text: str) -> list[list[str]]:
  blocks, block = [], []
  for line in [*text.splitlines(), '']:
    if line.startswith('|'):
      block.append(line)
    elif block:
      blocks.append(block)
      block = []
  return blocks


def count_cells(line: str) -> int:
  assert line.startswith('| ')
  assert line.endswith(' |')
  return len(re.findall(r'(?<!\\)\|', line)) - 1
