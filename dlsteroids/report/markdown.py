"""The report as Markdown, fit for a pull request."""

import re
from collections.abc import Mapping, Sequence

from dlsteroids.analysis import summary
from dlsteroids.report import answers, collapse, compute, notes, page, samples, sheets
from dlsteroids.report.figures import canvas

_LETTERS = 200  # of an arm's text
_DRAWS = ('samples', 'translations')  # what generators are for: never folded away
_SPECIAL = re.compile(r'([\\`*_{}\[\]|#~])')


def escape(words: str) -> str:
  """Text that Markdown prints as it stands, on one line."""
  words = words.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
  return _SPECIAL.sub(r'\\\1', ' '.join(words.split('\n')))


def render_sheet(sheet: sheets.Sheet) -> str:
  """A pipe table."""
  head = [escape(cell) for cell in sheet.head]
  rule = ['---:' if numeric else '---' for numeric in sheet.numeric]
  rows = [[escape(cell) or ' ' for cell in row] for row in sheet.rows]
  return '\n'.join(f'| {" | ".join(row)} |' for row in (head, rule, *rows))


def render(
  source: summary.Source,
  found: answers.Answers,
  made: sheets.Sheets,
  drawings: Mapping[str, canvas.Drawing],
  sections: Sequence[compute.Section] = (),
  leads: Sequence[str] = (),
) -> str:
  """The whole text; figures are linked as `figures/NAME.png`."""
  study = source.study
  parts = [f'# {escape(notes.ask(study))}', escape(notes.head(source))]
  parts += [f'> **Note.** {escape(text)}' for text in notes.warn(source)]
  parts += [f'**{escape(text)}**' for text in leads]
  parts += _answer(found)
  for section in sections:
    parts += _section(section, drawings)
  if 'effects' in drawings:
    parts.append(_image(drawings['effects']))
  for sheet in made.effects:
    parts += [f'**{escape(sheet.title)}**', render_sheet(sheet)]
  for extra in (made.interactions, made.anova, made.compute, made.problems):
    if extra is not None:
      parts += [f'## {escape(extra.title)}', render_sheet(extra)]
  if made.references is not None:
    parts += [f'## {made.references.title}', render_sheet(made.references)]
    compared = notes.compare_references(source)
    parts += [escape(compared)] if compared else []
  parts += _samples(samples.gather(source, _LETTERS))
  parts += _draws(drawings) + _collapse(collapse.tell(source))
  shown = ('effects', *_DRAWS, *(name for s in sections for name in s.drawings))
  others = [_image(d) for name, d in drawings.items() if name not in shown]
  if others:
    parts += ['<details><summary>More figures</summary>', *others, '</details>']
  parts += ['## Notes', '\n'.join(f'- {escape(t)}' for t in notes.list_notes(source))]
  parts += ['## Run it again', _code(study['command'])]
  parts += ['One run alone:', _code(page.give_replay(study))]
  rows = page.list_provenance(study)
  parts.append(escape('; '.join(f'{name} {value}' for name, value in rows)) + '.')
  return '\n\n'.join(parts) + '\n'


def _section(
  section: compute.Section, drawings: Mapping[str, canvas.Drawing]
) -> list[str]:
  parts = [f'## {escape(section.title)}', *map(escape, section.sentences)]
  parts += [_image(drawings[name]) for name in section.drawings if name in drawings]
  for sheet in section.sheets:
    parts += [f'**{escape(sheet.title)}**', render_sheet(sheet)]
  notes = '\n'.join(f'- {escape(text)}' for text in section.notes)
  return [*parts, notes] if notes else parts


def _answer(found: answers.Answers) -> list[str]:
  if found.refusal:
    return [f'**{escape(found.refusal)}**']
  parts = []
  if found.standing:
    parts += [f'**The verdicts of look {found.look} stand:**', _list(found.standing)]
    parts.append('**Exploratory, at this look:**')
  return [*parts, _list(found.answers)] if found.answers else parts


def _samples(written: list[samples.Sample]) -> list[str]:
  if not written:
    return []
  parts = ['## What they write', 'The prompt stands between ⟦ and ⟧.']
  for sample in written:
    text = f'⟦{sample.prompt}⟧{sample.text}'
    parts += [f'**{escape(sample.arm)}**', _code(text, 'text')]
  return parts


def _draws(drawings: Mapping[str, canvas.Drawing]) -> list[str]:
  there = [drawings[name] for name in _DRAWS if name in drawings]
  parts = [f'## {there[0].title}', *map(_image, there[:1])] if there else []
  return parts + [part for d in there[1:] for part in (f'### {d.title}', _image(d))]


def _collapse(account: collapse.Account | None) -> list[str]:
  if account is None:
    return []
  parts = ['## Did a run collapse?', escape(account.head)]
  if account.lines:
    parts.append('\n'.join(f'- {escape(line)}' for line in account.lines))
  return [*parts, escape(account.rule)]


def _list(found: tuple[answers.Answer, ...]) -> str:
  return '\n'.join(f'- {answers.MARKS[a.verdict]} {escape(a.sentence)}' for a in found)


def _image(drawing: canvas.Drawing) -> str:
  alt = escape(drawing.alt)
  return f'![{alt}](figures/{drawing.name}.png)\n\n*{escape(drawing.caption)}*'


def _code(command: str, language: str = 'sh') -> str:
  fence = '`' * max(3, 1 + max(map(len, re.findall('`+', command)), default=2))
  return f'{fence}{language}\n{command}\n{fence}'
