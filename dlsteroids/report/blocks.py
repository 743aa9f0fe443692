"""The report as one tree of sections, which the page and the Markdown walk alike."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias


class Prose(NamedTuple):
  """A paragraph: 'plain', 'lead', 'small', or a box: 'notice', 'strong', 'alarm'."""

  text: str
  kind: str = 'plain'


class Bullets(NamedTuple):
  """A list of sentences."""

  items: tuple[str, ...]


class Verdicts(NamedTuple):
  """Verdicts with their sentences, `(verdict, sentence)` each."""

  items: tuple[tuple[str, str], ...]


class Tiles(NamedTuple):
  """Large numbers on top of the page: `(label, number, what it is)` each."""

  items: tuple[tuple[str, str, str], ...]


class Table(NamedTuple):
  """A table: its title, its columns, which of them hold numbers, and its rows."""

  title: str
  head: tuple[str, ...]
  numeric: tuple[bool, ...]
  rows: tuple[tuple[str, ...], ...]


class Text(NamedTuple):
  """A text that a model wrote: its prompt, and how it continues."""

  arm: str
  prompt: str
  text: str


class Code(NamedTuple):
  """A command to copy."""

  text: str


class Links(NamedTuple):
  """Files beside the report, `(file, what it holds)` each."""

  items: tuple[tuple[str, str], ...]


class Drawing(NamedTuple):
  """A finished figure.

  Attributes:
    name: of its file, without suffix.
    title: a short heading.
    caption: how to read it.
    alt: what it shows, for those who can't see it.
    svg: an `<svg>` element for embedding; no external references.
    narrow: another one, for screens of a telephone's width; '' if there is none.
    files: bytes of the files in the light scheme, by suffix: 'png', 'svg', 'pdf'.
  """

  name: str
  title: str
  caption: str
  alt: str
  svg: str
  narrow: str
  files: Mapping[str, bytes]

  @property
  def png(self) -> bytes:
    return self.files['png']


class Section(NamedTuple):
  """A part of the report with a heading of its own."""

  title: str
  parts: Sequence['Part']  # a section among them is a subsection
  anchor: str = ''  # of links to it; '' for a subsection
  collapsed: bool = False  # whether a reader opens it first


_Leaf: TypeAlias = Prose | Bullets | Verdicts | Tiles | Table | Text | Code | Links
Part: TypeAlias = _Leaf | Drawing | Section


class Report(NamedTuple):
  """The whole report, under the study's question; `head` is above all sections."""

  title: str
  name: str
  head: tuple[Prose, ...]
  sections: tuple[Section, ...]
