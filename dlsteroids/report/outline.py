"""The report's outline: its sections, their order, and what they hold."""

import functools
import itertools
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlsteroids.analysis import analyses, effects, looks, probes, reach, summary
from dlsteroids.report import (
  attribution,
  blocks,
  claims,
  collapse,
  doublings,
  facts,
  formats,
  gains,
  next_steps,
  notes,
  regimes,
  samples,
  sentences,
  table_of_runs,
  tables,
)
from dlsteroids.report.blocks import Prose, Section
from dlsteroids.report.figures import registry
from dlsteroids.study import study as study_lib

FILES = (  # written beside the report
  ('runs.csv', 'every run, its scores and costs'),
  ('effects.csv', 'every contrast'),
  ('study.json', 'the study as it was planned'),
  ('answer.json', 'the answer for programs'),
)
_LETTERS = 600  # of an arm's text
Drawings = Mapping[str, blocks.Drawing]
_json = functools.partial(json.dumps, ensure_ascii=False, default=str)


def make(
  source: summary.Source, findings: sentences.Findings, drawings: Drawings
) -> blocks.Report:
  """The whole report as a tree; sections without content are left out."""
  study, result = source.study, source.tables.compute or analyses.Analyses()
  worth, answer = result.doublings, _answer(source, findings, result)
  tree: list[Section | None] = [answer]
  has_frontiers = worth is not None and not worth.refusal
  if worth and has_frontiers:  # ideas available come before ideas mandatory
    tree = [doublings.section(study, worth), _at_one_budget(source, answer)]
  elif worth:
    tree.append(doublings.section(study, worth))
  if result.attribution:
    tree.append(attribution.section(study, result.attribution))
  if result.regimes:
    tree.append(regimes.section(study, result.regimes))
  if result.gains:
    whose = summary.RUNS[source.tables.shown]
    tree.append(gains.section(study, result.gains, result.anytime, whose))
  if result.claims is not None:
    alpha = looks.state(study, source.tables.runs).alpha
    tree.append(claims.section(claims.table(study, result.claims, alpha)))
  tree += [
    _effects(source),
    _next_steps(source),
    _interactions(source),
    Section('Every seed', (), 'seeds'),
    _references(source),
    Section('What they draw', (), 'pictures'),
    Section('Translations', (), 'translations'),
    _game(source),
    Section('Learning', (), 'learning'),
    _compute(source),
    Section('What is mistaken for what', (), 'confusion'),
    _texts(source),
    Section('What they forecast', (), 'forecasts'),
    Section('The black box, opened', (), 'box'),
    _notes(source),
    _rerun(study),
  ]
  sections = [_with_figures(one, drawings) for one in tree if one is not None]
  head = [Prose(notes.headline(source), 'lead')]
  line = sentences.bottom_line(findings, 'part' if study.table is None else 'arm')
  if worth:
    line = doublings.headline(study, worth)
    if has_frontiers:
      head = [Prose(doublings.reached(study, worth), 'lead')]
  head += [Prose(line, 'strong')] if line else []
  head += [Prose(text, 'notice') for text in notes.warn(source)]
  return blocks.Report(
    notes.question(study),
    study.name,
    tuple(head),
    tuple(section for section in sections if section.parts),
  )


def _with_figures(section: Section, drawings: Drawings) -> Section:
  """The section with its figures after its paragraphs, as `registry` assigns them."""
  figures = [
    drawings[figure.name]
    for figure in registry.FIGURES
    if figure.section == section.anchor and figure.name in drawings
  ]
  parts = list(section.parts)
  place = sum(1 for _ in itertools.takewhile(lambda p: isinstance(p, Prose), parts))
  title = section.title
  shown: list[Any] = [Section(one.title, (one,)) for one in figures]
  if len(figures) == 1:
    title = title if section.anchor != 'translations' else figures[0].title
    shown = figures
  return section._replace(title=title, parts=(*parts[:place], *shown, *parts[place:]))


def _answer(
  source: summary.Source, findings: sentences.Findings, result: analyses.Analyses
) -> Section:
  parts: list[Any] = _alarms(source)
  if findings.refusal:
    parts.append(Prose(findings.refusal, 'strong'))
  else:
    strong = sentences.contradictions(source.study, source.tables.effects)
    strong += regimes.flips(source.study, result.regimes) if result.regimes else ()
    parts += [Prose(text, 'strong') for text in strong]
    if findings.standing:
      title = f'The verdicts that stand, of look {findings.look}'
      parts.append(Section(title, (_verdicts(findings.standing),)))
    now: Any = _verdicts(findings.findings)
    if not findings.findings:
      now = Prose('The study compares no arms yet.')
    if findings.standing:
      now = Section('Exploratory, at this look', (now,))
    parts += [now] if findings.findings or not findings.unanswered else []
  parts.append(blocks.Tiles(tuple(_tiles(source))))
  return Section('The answer', parts, 'answer')


def _at_one_budget(source: summary.Source, answer: Section) -> Section:
  """The verdicts where they are not the whole answer, which is a frontier."""
  text = (
    'The arms as they are at the declared budget, each at what the search chose for '
    'it: here an idea is mandatory, and costs where it does not pay. Above, ideas are '
    'available: a set of them does what the best of its subsets does.'
  )
  parts = (Prose(text), Prose(notes.headline(source)), *answer.parts)
  return answer._replace(title='Ideas mandatory, at one budget', parts=parts)


def _alarms(source: summary.Source) -> list[Any]:
  """What stands instead of verdicts on arms most of whose runs diverged."""
  parts: list[Any] = []
  for arm in effects.diverged_arms(source.study, source.tables.runs):
    if arm.most:
      parts.append(Prose(notes.describe_divergence(arm), 'alarm'))
      if source.study.table:
        continue
      parts += [
        Prose('To replay one of them, with finite checks:'),
        blocks.Code(replay_command(source.study, arm.arm, arm.seeds[0])),
      ]
  return parts


def _verdicts(findings: Iterable[sentences.Finding]) -> blocks.Verdicts:
  return blocks.Verdicts(tuple((one.verdict, one.sentence) for one in findings))


def _tiles(source: summary.Source) -> list[tuple[str, str, str]]:
  """The three figures on top: (label, number, what it is)."""
  study, runs, column = source.study, source.tables.runs, source.study.metric.column
  arm = summary.intact_arm(study)
  values = summary.scores_of(source, study.tuned).value[arm].dropna()
  cost = next(r for r in summary.compute_of(source, study.tuned) if r['arm'] == arm)
  mean, low, high = (
    formats.value(column, float(v)) for v in (values.mean(), values.min(), values.max())
  )
  seeds = formats.plural(len(values), 'seed' if study.paired else 'run')
  spread = f'{low} to {high} over {seeds}' if len(values) else 'no runs yet'
  # searches for tuned numbers and other conditions included, where study.json tells
  trained = study.trained or {'runs': len(runs), 'flops': runs['flops'].sum()}
  conditions = len(study.conditions)
  shape = f'{len(study.arms)} arms × {len(study.seeds)} seeds'
  shape += f' × {conditions} conditions' * (conditions > 1)
  shape += ', as configured and tuned' * (runs['tuned'].nunique() > 1)
  counts = formats.count(cost['params']), formats.count(cost['steps'])
  size = '{} parameters, {} steps'.format(*counts)
  total = formats.flops(float(trained['flops']))
  if study.table:
    floor = reach.noise_floor(study, runs, study.tuned)
    scatter = formats.delta(column, floor, unit=True).lstrip('+')
    return [
      (f'{facts.words(study, column)}, {arm}', mean, spread),
      ('noise floor', scatter, 'SD of differences between runs of one arm'),
      ('the table', formats.plural(len(runs), 'run'), f'{len(study.arms)} arms'),
    ]
  return [
    (f'{facts.words(study, column)}, {arm}', mean, spread),
    ('compute a run', formats.flops(cost['run']), size),
    ('the whole study', f'{int(trained["runs"]):,} runs', f'{shape}, {total}'),
  ]


def _parts(*parts: Any) -> list[Any]:
  """The parts that there are: no None, no list without items."""
  return [part for part in parts if part and part != blocks.Bullets(())]


def _effects(source: summary.Source) -> Section:
  effect_tables = tables.make_effects(source)
  paired = ', paired by seed' if source.study.paired else ', of means'
  text = (
    f'Difference: arm − reference{paired}. The verdict and P(better), the share '
    'of pairs of runs in which the component’s side is better, speak of the component, '
    'or of the change where one level stands in place of another. An interval with an '
    'asterisk is Student-t, descriptive only.'
  )
  others = tables.make_other_effects(source)
  last = '' if source.study.table else ' and the last step'
  title = f'Other metrics{last} (descriptive)'
  rest = Section(title, others, collapsed=True) if others else None
  parts = _parts(*effect_tables, Prose(text, 'small'), rest)
  return Section('Effects', parts if effect_tables else (), 'effects')


def _next_steps(source: summary.Source) -> Section:
  steps = next_steps.plan(source.study, source.tables.runs, source.tables.effects)
  steps = [step for step in steps if step.action == next_steps.ADD_SEEDS and step.arm]
  lines = blocks.Bullets(tuple(step.sentence for step in steps))
  note = (
    'Seeds that are added after this report are a further look: verdicts stay '
    'exploratory unless as many looks were declared beforehand.'
  )
  parts = _parts(lines, Prose(note, 'small'))
  return Section('What would decide it', parts if steps else (), 'next')


def _interactions(source: summary.Source) -> Section:
  column, frames = source.study.metric.column, source.tables
  text = (
    'What a component adds when another is present, minus what it adds when that one '
    'is absent. All of it is descriptive.'
  )
  parts = _parts(
    Prose(text),
    tables.make_frame('Pairwise interactions', frames.interactions, column),
    tables.make_frame('Analysis of variance, blocked by seed', frames.anova, column),
  )
  return Section('Interactions', parts if len(parts) > 1 else (), 'interactions')


def _references(source: summary.Source) -> Section | None:
  table = tables.make_references(source)
  if table is None:
    return None
  compared = notes.compare_references(source)
  text = (
    'The trained arm’s numbers are means over seeds; the others are computed once, '
    'without gradient descent, and have no spread.'
  )
  parts = _parts(Prose(compared) if compared else None, table, Prose(text, 'small'))
  return Section(table.title, parts, 'references')


def _game(source: summary.Source) -> Section:
  account, parts = collapse.tell(source), []
  if account:
    lines = blocks.Bullets(account.lines)
    texts = _parts(Prose(account.head), lines, Prose(account.rule, 'small'))
    parts.append(Section('Did a run collapse?', texts))
  return Section('The game', parts, 'game')


def _compute(source: summary.Source) -> Section:
  study = source.study
  parts: list[Any] = [tables.make_compute(source)] if study.table is None else []
  if study.table and study.table.flops:
    parts.append(tables.make_flops(source))
  problems = tables.make_problems(source)
  if problems:
    text = (
      'A diverged run counts at the metric’s fallback score; a failed one drops its'
    )
    parts.append(Section(problems.title, (problems, Prose(f'{text} pair.', 'small'))))
  return Section('Compute' if study.table is None else 'Runs', parts, 'compute')


def _texts(source: summary.Source) -> Section:
  written = samples.gather(source, _LETTERS)
  text = (
    f'Texts by the runs ({probes.name_runs(source)}); the prompt, which was given, is '
    'marked.'
  )
  return Section('What they write', (Prose(text), *written) if written else (), 'texts')


def _notes(source: summary.Source) -> Section:
  parts: list[Any] = [blocks.Bullets(tuple(notes.list_notes(source)))]
  if deviations := regimes.deviations(source.study):
    title = 'Not as equal as their regime says'
    parts.append(Section(title, (blocks.Bullets(deviations),)))
  if choices := tables.make_choices(source.study):
    parts.append(Section(choices.title, (choices,), collapsed=True))
  if compute := source.tables.compute:
    best = tables.make_expected_best(source.study, compute.expected_best)
    parts += [Section(best.title, (best,), collapsed=True)] if best else []
  return Section('Notes', parts, 'notes')


def _rerun(study: study_lib.Study) -> Section:
  exact, origin = 'The exact configuration', 'Where the numbers come from'
  if study.table:
    return _judge_again(study, origin)
  settings, provenance = (
    tables.make(title, [dict(zip(words, row)) for row in rows], words)
    for title, words, rows in (
      (exact, ('Option', 'Value'), list_settings(study.config)),
      (origin, ('What', 'Value'), list_provenance(study)),
    )
  )
  parts = (
    Prose('The same command trains only what is missing and writes this report.'),
    blocks.Code(study.command),
    Prose('One run alone, with finite checks and full logs:'),
    blocks.Code(replay_command(study, study.arms[-1].name, min(study.seeds))),
    blocks.Links(FILES),
    Section(exact, (settings,), collapsed=True),
    Section(origin, (provenance,), collapsed=True),
  )
  return Section('Run it again', parts, 'again')


def _judge_again(study: study_lib.Study, origin: str) -> Section:
  """The last section of a report on runs trained elsewhere."""
  rows = table_of_runs.provenance(study).items()
  words = ('What', 'Value')
  table = tables.make(origin, [dict(zip(words, row)) for row in rows], words)
  parts = [Section(origin, (table,), collapsed=True)]
  again: list[Any] = [
    Prose('The same command judges the table as it is then:'),
    blocks.Code(study.command),
  ]
  files = tuple(file for file in FILES if file[0] != 'curves.csv')
  links = [blocks.Links(files)]
  return Section(
    'Judge again', (*(again if study.command else []), *links, *parts), 'again'
  )


def list_settings(config: Mapping[str, Any], path: str = '') -> list[tuple[str, str]]:
  """Every option with its value: paths as the command line takes them."""
  rows = []
  for key, value in config.items():
    if isinstance(value, Mapping) and value:
      rows += list_settings(value, f'{path}{key}.')
    else:
      rows.append((f'{path}{key}', _json(value)))
  return rows


def list_provenance(study: study_lib.Study) -> list[tuple[str, str]]:
  """Where the numbers come from: versions, device, code, data."""
  data = study.data
  sizes = ', '.join(f'{n:,} {split}' for split, n in data.sizes.items())
  return [
    ('data', f'{data.name} ({sizes})'),
    ('data digest', data.digest),
    ('dlsteroids', study.dlsteroids),
    ('commit', study.git or 'not in a repository'),
    *((name, _words(value)) for name, value in study.provenance.items()),
  ]


def _words(value: Any) -> str:
  if isinstance(value, Sequence) and not isinstance(value, str):
    return ', '.join(map(_words, value))
  return value if isinstance(value, str) else _json(value)


def replay_command(study: study_lib.Study, arm: str, seed: int) -> str:
  """The command that trains one run again, alone."""
  return f'{study.command} --action=replay --arm={shlex.quote(arm)} --seed={seed}'
