"""Reports of recurrent networks: texts, units, references, whole pages.

Oracles: the made-up numbers of `sequence_fixture`, `html.parser`, Pillow, and sums
done here by hand.
"""

import dataclasses
import html
import re

import numpy as np
import PIL.Image
import pytest

from dlsteroids.report import facts, formats, latex, notes, samples, sentences, tables
from dlsteroids.study import study as study_lib
from tests.fixtures import report_fixture, report_reader, sequence_fixture, studies

WRITES = {'effects', 'seeds', 'curves_steps', 'curves_flops', 'lag', 'gates'}


@pytest.fixture(scope='module')
def language():
  return sequence_fixture.language()


@pytest.fixture(scope='module')
def forecast():
  return sequence_fixture.forecast()


@pytest.fixture(scope='module')
def written(language, tmp_path_factory):
  folder = tmp_path_factory.mktemp('language')
  return folder, *report_reader.write(language, folder)


@pytest.fixture(scope='module')
def forecasted(forecast, tmp_path_factory):
  folder = tmp_path_factory.mktemp('forecast')
  return folder, *report_reader.write(forecast, folder)


@pytest.mark.parametrize('name', ['written', 'forecasted'])
def test_page_is_well_formed_and_names_its_figures(name, request):
  folder, text, words = request.getfixturevalue(name)
  reader = report_reader.Reader(text)
  assert not reader.open
  assert len(reader.ids) == len(set(reader.ids))
  assert not reader.foreign
  extra = {'forecasts', 'horizon'} if name == 'forecasted' else set()
  assert {path.stem for path in (folder / 'figures').iterdir()} == WRITES | extra
  for stem in WRITES | extra:
    assert f'](figures/{stem}.png)' in words
    image = PIL.Image.open(folder / 'figures' / f'{stem}.png').convert('RGB')
    assert len(image.getcolors(2**24) or []) > 40, stem
    grey = np.asarray(image.convert('L'))
    edges = np.concatenate(
      [grey[:3].ravel(), grey[:, :3].ravel(), grey[:, -3:].ravel()]
    )
    assert (edges == 255).all(), f'{stem}: something is cut off at the edge'
  for svg in re.findall(r'<svg.*?</svg>', text, re.S):
    assert not re.findall(r'(?:fill|stroke): (#[0-9a-f]{6})', svg)
    assert f'id="{stem}' not in svg or 'DejaVu' not in svg
  for block in report_reader.tables_of(re.sub(r'```.*?```', '', words, flags=re.S)):
    assert len({report_reader.count_cells(line) for line in block}) == 1


def test_every_arm_shows_its_text_and_the_prompt_is_marked(language, written):
  _, text, words = written
  shown = re.findall(r'<pre[^>]*><mark>(.*?)</mark>(.*?)</pre>', text, re.S)
  assert len(shown) == len(language.study['arms'])
  for prompt, rest in shown:
    assert html.unescape(prompt) == sequence_fixture.TEXT[:60]
    assert 590 <= len(html.unescape(prompt + rest)) <= 600
  prompt, rest = map(html.unescape, shown[0])
  assert rest.startswith((sequence_fixture.TEXT * 2)[60:300])  # line breaks kept
  blocks = re.findall(r'```text\n(.*?)\n```', words, re.S)
  assert len(blocks) == len(shown)
  assert blocks[0].startswith(f'⟦{sequence_fixture.TEXT[:60]}⟧')
  assert all(len(block) <= 602 for block in blocks)


def test_symbols_that_cannot_be_seen_are_shown_safely(language, tmp_path):
  classes = ['<', '&', '\x00', '\x1b', '\r', '\n', '\u202e', '\x7f', '`', '\ud800']

  def change(arm, seed, arrays):
    arrays['probe/text/prompt'] = np.array([0, 1, 8, 8, 8, 8], np.uint8)
    arrays['probe/text/sample'] = np.array([2, 3, 4, 5, 6, 7, 9, 200], np.uint8)
    return arrays

  study = language.study | {'data': {**language.study['data'], 'classes': classes}}
  case = sequence_fixture.with_arrays(language._replace(study=study), change)
  (first, *_) = samples.gather(report_reader.source_of(case), 600)
  assert first.prompt == '<&````'
  assert first.text == '␀␛␍\n\\u202e␡\\ud800\ufffd'
  text, words = report_reader.write(case, tmp_path)
  assert '<mark>&lt;&amp;````</mark>␀␛␍\n\\u202e␡' in text
  assert '`````text\n⟦<&````⟧␀␛␍\n' in words


def test_words_are_written_with_spaces():
  classes = ['the', 'cat', '<unk>', '.']
  assert samples.decode(np.array([0, 1, 2]), classes) == 'the cat <unk>'
  assert samples.decode(np.array([0, 1]), 'ab') == 'ab'
  assert samples.glyph(' ') == '·'


def test_a_long_prompt_leaves_room_for_the_text(language):
  def change(arm, seed, arrays):
    arrays['probe/text/prompt'] = np.zeros(5000, np.uint8)
    return arrays

  case = sequence_fixture.with_arrays(language, change)
  for sample in samples.gather(report_reader.source_of(case), 200):
    assert len(sample.prompt) == 66
    assert sample.prompt.startswith('…')
    assert len(sample.text) == 134


def test_sentences_name_nats_and_take_less_for_better(language, written):
  table = language.tables.effects
  row = table[table['factor'] == 'forget_gate'].iloc[0]
  said = sentences.sentence(language.study, row)
  assert row['verdict'] == 'helps'
  assert said.startswith(
    'Forget gate helps: removing it (off instead of on) raises test nats per character '
    f'by {row["delta"]:.4f} ['
  )
  reader = report_reader.Reader(written[1])
  assert said in reader.text
  assert 'points' not in reader.text
  assert 'Difference, nats' in reader.text
  mean = language.tables.runs.query('arm == "baseline"')['test/nats'].mean()
  assert f'reaches {mean:.4f} test nats per character' in reader.text
  assert 'Line breaks are symbols like any other.' in reader.text


@pytest.mark.parametrize(
  ('unit', 'column', 'words'),
  [
    ('nats per character', 'test/nats', 'test nats per character'),
    ('character', 'test/bits', 'test bits per character'),
    ('nats per word', 'test/perplexity', 'test perplexity per word'),
    ('nats', 'test/nats', 'test nats'),
    ('', 'test/nats', 'test nats'),
    ('°C', 'test/mse', 'test mse'),
  ],
)
def test_units_of_metrics(unit, column, words):
  data = study_lib.Data('made up', '', facts={'unit': unit})
  study = dataclasses.replace(studies.typed(report_fixture.digits(2).study), data=data)
  assert facts.words(study, column) == words


@pytest.mark.parametrize(
  ('made', 'text'),
  [
    (formats.value('test/nats', 1.40213), '1.4021'),
    (formats.value('bits', 2.0), '2.0000'),
    (formats.value('nats', float('inf')), '∞'),
    (formats.value('test/perplexity', 4.06386), '4.064'),
    (formats.value('test/mse', 0.38412), '0.3841'),
    (formats.delta('test/nats', -0.0213), '−0.0213'),
    (formats.delta('test/nats', 0.31234, unit=True), '+0.3123\u202fnats'),
    (formats.delta('test/bits', -1e-7), '0.0000'),
    (formats.delta('test/mae', 0.01234, unit=True), '+0.0123'),
    (formats.delta('test/mse', -12.3456), '−12.35'),
    (formats.delta('test/mse', 1.5e-6), '+1.5e−06'),
  ],
)
def test_numbers_of_sequences_read_well(made, text):
  assert made == text


def test_references_stand_beside_the_intact_arm(forecast, forecasted):
  sheet = tables.make_references(report_reader.source_of(forecast))
  mine = forecast.tables.runs.query('arm == "baseline"')[['test/mse', 'test/mae']]
  numbers = tuple(formats.number(float(mean)) for mean in mine.mean())
  assert sheet.head == ('Method', 'Seeds', 'Test mse', 'Test mae')
  assert sheet.rows == (
    ('baseline', '8', *numbers),
    ('persistence', '–', '1.294', '0.7130'),
    ('seasonal copy', '–', '0.5120', '0.4330'),
  )
  _, text, words = forecasted
  assert '<h2 id="references">Without gradient descent</h2>' in text
  assert '| persistence | – | 1.294 | 0.7130 |' in words
  told = 'On test mse, the mean of baseline is better than every method without'
  assert told in text
  assert told in words
  # The copy lies near the seeds and is drawn; persistence does not and is not.
  caption = re.search(r'figure-seeds.*?<figcaption>(.*?)</figcaption>', text, re.S)
  assert 'Outside the axis, without gradient descent: persistence 1.294.' in caption[1]
  svg = re.search(r'figure-seeds.*?</svg>', text, re.S)[0]
  assert 'seasonal copy' in svg
  assert 'persistence' not in re.sub(r'aria-label="[^"]*"', '', svg)


def test_a_reference_that_is_not_beaten_is_named(forecast):
  cases = (('lower', 'copy', 9.0), ('higher', 'every thing', 0.0))
  for better, said, worst in cases:
    scores = {'copy': {'test/mse': 0.1}, 'every thing': {'test/mse': 0.5}}
    study = forecast.study | {
      'data': {**forecast.study['data'], 'references': scores},
      'metric': {**forecast.study['metric'], 'better': better, 'fallback': worst},
    }
    case = forecast._replace(study=study)
    text = notes.compare_references(report_reader.source_of(case))
    assert text == (
      f'On test mse, the mean of baseline is not better than {said} (without '
      'gradient descent).'
    )


@pytest.mark.usefixtures('unrendered')
def test_studies_without_facts_or_references_read_as_before(tmp_path):
  case = report_fixture.digits(6, tuned=False)
  source = report_reader.source_of(case)
  assert tables.make_references(source) is None
  assert notes.compare_references(source) == ''
  assert samples.gather(source, 600) == []
  text, words = report_reader.write(case, tmp_path)
  assert 'Without gradient descent' not in text + words
  assert 'What they write' not in text + words


def test_latex_names_nats(language):
  text = latex.table(language.study, language.tables.effects)
  assert r'$\Delta$ (nats)' in text


def test_equal_inputs_give_equal_bytes(forecasted, tmp_path):
  report_reader.write(sequence_fixture.forecast(), tmp_path)
  for name in ('report.html', 'report.md', 'figures/lag.png', 'figures/horizon.png'):
    assert (forecasted[0] / name).read_bytes() == (tmp_path / name).read_bytes(), name
