"""Reports of networks that make images: pictures, the game, collapse, their words.

Oracles: the made-up images and numbers of `picture_fixture`, found again pixel by pixel
in the figures as Pillow reads them; plain loops; sums done here by hand.
"""

import base64
import io
import re
import warnings

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from dlsteroids.analysis import collapse
from dlsteroids.report import collapse as collapse_words
from dlsteroids.report import facts, formats, notes, tables
from dlsteroids.report.figures import (
  adversarial,
  canvas,
  generated,
  registry,
  tiles,
  translations,
)
from tests.fixtures import (
  picture_fixture,
  report_fixture,
  report_reader,
  sequence_fixture,
)

DRAWN = {'samples', 'film', 'interpolation', 'neighbours', 'game'}
COMMON = {'effects', 'seeds', 'curves_steps', 'curves_flops'}
FEW = dict(list(picture_fixture.PAINTERS.items())[:3])


@pytest.fixture(scope='module')
def gan():
  return picture_fixture.gan()


@pytest.fixture(scope='module')
def cyclegan():
  return picture_fixture.cyclegan(side=16, channels=(3, 1))


@pytest.fixture(scope='module')
def painted(gan, tmp_path_factory):
  folder = tmp_path_factory.mktemp('gan')
  return folder, *report_reader.write(gan, folder)


@pytest.fixture(scope='module')
def translated(cyclegan, tmp_path_factory):
  folder = tmp_path_factory.mktemp('cyclegan')
  return folder, *report_reader.write(cyclegan, folder)


def draw(make, case):
  """One drawing; a warning is an error."""
  with canvas.style(), warnings.catch_warnings():
    warnings.simplefilter('error')
    return make(report_reader.source_of(case))


def read(drawing):
  """A drawing's PNG as uint8 [H, W, 3]."""
  return np.asarray(PIL.Image.open(io.BytesIO(drawing.png)).convert('RGB'))


def find(picture, image, zoom):
  """Where `image`, each pixel `zoom` times, stands in a picture: [(top, left)]."""
  if image.shape[-1] == 1:
    image = np.repeat(image, 3, -1)
  tile, picture = (
    x.astype(np.int64) @ [65536, 256, 1]
    for x in (np.kron(image, np.ones((zoom, zoom, 1), np.uint8)), picture)
  )
  high, wide = tile.shape
  common = np.bincount(picture.ravel() % 65521, minlength=65521)
  y, x = np.unravel_index(common[tile % 65521].argmin(), tile.shape)  # a rare pixel
  tops, lefts = np.nonzero(picture == tile[y, x])
  places = np.stack([tops - y, lefts - x], 1)
  room = np.array(picture.shape) - tile.shape
  places = places[((places >= 0) & (places <= room)).all(1)]
  for y, x in np.random.default_rng(0).integers((high, wide), size=(20, 2)):
    places = places[picture[places[:, 0] + y, places[:, 1] + x] == tile[y, x]]
  return [
    (top, left)
    for top, left in places.tolist()
    if (picture[top : top + high, left : left + wide] == tile).all()
  ]


def only(picture, image, zoom):
  [place] = find(picture, image, zoom)
  return place


# Pixels


@pytest.mark.parametrize(
  ('side', 'channels', 'zoom'), [(8, 1, 8), (28, 1, 2), (32, 3, 2), (64, 3, 1)]
)
def test_samples_are_exact_and_the_same_noise_stands_at_the_same_place(
  side, channels, zoom
):
  case = picture_fixture.gan(2, side, channels, FEW)
  drawing = draw(generated.draw_samples, case)
  picture = read(drawing)
  shifts, firsts = set(), []
  for arm in FEW:
    images = case.arrays(arm, 0)['probe/sample/images']
    first, later = (only(picture, images[i], zoom) for i in (0, 13))
    firsts.append(first)
    shifts.add((later[0] - first[0], later[1] - first[1]))
  assert len(shifts) == 1
  assert firsts[0][0] == firsts[1][0] < firsts[2][0]  # the intact arm comes first
  assert firsts[0][1] == firsts[2][1] < firsts[1][1]
  assert 'same noise' in drawing.caption
  # On the page, too: its pictures are twice as fine, and smoothly scaled.
  embedded = re.findall(r'base64,\s*([^"]*)"', drawing.svg)
  assert len(embedded) == len(FEW)
  shown = PIL.Image.open(io.BytesIO(base64.b64decode(embedded[0]))).convert('RGB')
  image = case.arrays('baseline', 0)['probe/sample/images'][0]
  assert find(np.asarray(shown), image, 2 * zoom) == [(2 * tiles.EDGE, 2 * tiles.EDGE)]
  assert 'pixelated' not in drawing.svg


def test_film_has_a_row_an_arm_and_a_column_an_evaluation(gan):
  drawing = draw(generated.draw_film, gan)
  picture = read(drawing)
  films = {a['name']: gan.arrays(a['name'], 0)['probe/film'] for a in gan.study['arms']}
  kept = (0, 1, 3, 4, 5, 6, 8, 9)  # of ten, as evenly as can be
  tops = []
  for film in films.values():
    places = [only(picture, film[i, 0], 8) for i in kept]
    assert len({top for top, _ in places}) == 1
    assert places == sorted(places)
    tops.append(places[0][0])
    assert not find(picture, film[2, 0], 8)
    under = only(picture, film[9, 2], 8)
    assert under[1] == places[-1][1]
    assert under[0] == places[-1][0] + 64 + 2
  assert tops == sorted(tops)
  labels = re.findall(r'>\s*(?:step )?([\d,]+)\s*</text>', drawing.svg)
  assert labels == [f'{100 * (i + 1):,}' for i in kept]


def test_film_of_arms_that_differ_in_steps_names_each_ones(gan):
  curves = gan.tables.curves.copy()
  longer = curves['arm'] == 'upsampling=resize'
  curves.loc[longer, 'step'] *= 3
  bad = gan.tables._replace(curves=curves[curves['arm'] != 'loss=hinge'])
  drawing = draw(generated.draw_film, gan._replace(tables=bad))
  assert drawing.svg.count('step 100<') == 3
  assert drawing.svg.count('step 300<') == 1
  assert drawing.svg.count('evaluation no. 1<') == 1  # its steps are not known


@pytest.mark.parametrize('evaluations', [1, 3])
def test_short_films(gan, evaluations):
  def cut(arm, seed, arrays):
    return {**arrays, 'probe/film': arrays['probe/film'][:evaluations]}

  curves = gan.tables.curves
  curves = curves[curves['step'] <= 100 * evaluations]
  case = sequence_fixture.with_arrays(gan, cut)
  case = case._replace(tables=gan.tables._replace(curves=curves))
  drawing = draw(generated.draw_film, case)
  assert drawing.svg.count('<image') == evaluations * len(gan.study['arms'])


def test_interpolation_goes_from_one_to_another(gan):
  picture = read(draw(generated.draw_interpolation, gan))
  ways = gan.arrays('baseline', 0)['probe/sample/interpolation']
  for way in ways.reshape(4, 8, *ways.shape[1:]):
    places = [only(picture, image, 8) for image in way]
    assert [left - places[0][1] for _, left in places] == [66 * i for i in range(8)]
    assert len({top for top, _ in places}) == 1


def test_neighbours_stand_below_and_the_ratio_is_said(gan):
  drawing = draw(generated.draw_neighbours, gan)
  picture, arrays = read(drawing), gan.arrays('baseline', 0)
  for i in (0, 5):
    made = only(picture, arrays['probe/sample/images'][i], 15)
    near = only(picture, arrays['probe/sample/nearest'][i], 15)
    assert near == (made[0] + 8 * 15 + 8, made[1])
    assert f'{arrays["probe/sample/distances"][i]:.2f}' in drawing.svg
  mine, theirs, ratio = arrays['probe/sample/memory']
  assert ratio > 1
  assert f'images {mine:.2f}, of unseen test images {theirs:.2f}' in drawing.caption
  assert f'a ratio of {ratio:.2f}: generated ones lie no nearer' in drawing.caption
  assert 'other arms: generator_norm=none (0.89)' in drawing.caption


@pytest.mark.parametrize('ratio', [0.8, float('nan')])
def test_memory_in_words(gan, ratio):
  def change(arm, seed, arrays):
    return {**arrays, 'probe/sample/memory': np.array([3.2, 4.0, ratio])}

  case = sequence_fixture.with_arrays(gan, change)
  said = draw(generated.draw_neighbours, case).caption
  assert ('hints at memorising' in said) == (ratio == 0.8)
  assert 'nan' not in said


def test_translations_stand_under_their_inputs(cyclegan):
  picture = read(draw(translations.draw_translations, cyclegan))
  last = 0
  for way in ('x', 'y'):
    name = f'probe/translation/{way}'
    every = {a['name']: cyclegan.arrays(a['name'], 0) for a in cyclegan.study['arms']}
    given = only(picture, every['baseline'][f'{name}/input'][1], 4)  # once for all
    tops = [given[0]]
    for arrays in every.values():
      for kind in ('translated', 'again'):
        place = only(picture, arrays[f'{name}/{kind}'][1], 4)
        assert place[1] == given[1]
        tops.append(place[0])
    truth = only(picture, every['baseline'][f'{name}/truth'][1], 4)
    tops.append(truth[0])
    assert tops == sorted(tops)
    assert len(set(tops)) == len(tops)
    assert given[1] > last
    last = given[1]


def test_translations_of_other_inputs_one_way_and_without_truth(cyclegan):
  def change(arm, seed, arrays):
    found = {k: v for k, v in arrays.items() if '/y/' not in k and 'truth' not in k}
    if arm != 'baseline' and not seed:
      found['probe/translation/x/input'] = 255 - found['probe/translation/x/input']
    return found

  case = sequence_fixture.with_arrays(cyclegan, change)
  drawing = draw(translations.draw_translations, case)
  assert drawing.svg.count('<image') == 3 * 4
  assert 'upright → turned' in drawing.svg
  assert 'turned → upright' not in drawing.svg
  assert 'ruth' not in drawing.caption


def test_large_images_are_averaged():
  images = picture_fixture.paint(2, 100, 3, 'large')
  small, zoom = tiles.fit(images, 40)
  assert zoom == 1
  by_hand = [images[1, 3 * i : 3 * i + 3, :3].mean((0, 1)) for i in range(33)]
  np.testing.assert_array_equal(small[1, :, 0], np.round(by_hand))
  assert small.shape == (2, 33, 33, 3)
  tall = tiles.fit(images[:, :10, :90], 90)
  assert tall[0].shape[1:3] == (10, 90)


def test_at_most_twelve_arms_are_shown_and_the_others_named():
  costs = {'baseline': (0.0, [])}
  costs |= {f'part{i}=none': (1.0, [f'model.part{i}', 'none']) for i in range(13)}
  case = picture_fixture.gan(1, 8, 1, costs)
  for make in (
    generated.draw_samples,
    generated.draw_film,
    adversarial.draw_game,
  ):
    drawing = draw(make, case)
    assert drawing.caption.endswith(' Not shown: part11=none and part12=none.')
    assert 'part10=none' in drawing.svg
    assert 'part11=none' not in drawing.svg


# The game


def test_game_ends_at_the_means_over_seeds(gan):
  drawing = draw(adversarial.draw_game, gan)
  curves = gan.tables.curves
  for arm in FEW:
    last = curves[(curves['arm'] == arm) & (curves['step'] == 1000)]
    real, fake = (
      formats.number(last[last['metric'] == name]['value'].mean(), 2)
      for name in ('d_real', 'd_fake')
    )
    assert f'{arm} ends at D(x) {real} and D(G(z)) {fake}' in drawing.alt


def with_facts(case, **told):
  data = {**case.study['data'], 'facts': told}
  return case._replace(study=case.study | {'data': data})


@pytest.mark.parametrize(
  ('told', 'chances'),
  [
    ({'non_saturating': True, 'hinge': False}, 3),
    ({'non_saturating': True, 'hinge': True}, 4),
    (True, 3),  # of the configured loss only: two arms have another
    (False, 0),
    (None, 0),
  ],
)
def test_half_is_marked_where_d_speaks_of_chances(gan, told, chances):
  drawing = draw(adversarial.draw_game, with_facts(gan, logistic=told))
  assert len(re.findall(r'>\s*½\s*</text>', drawing.svg)) == chances
  assert ('Dashed: ½' in drawing.caption) == (chances > 0)
  assert ('scores' in drawing.caption) == (chances < 5)


def test_game_of_broken_numbers(gan):
  curves = gan.tables.curves.copy()
  wild = curves['metric'].isin(['g_loss', 'd_real']) & (curves['step'] > 500)
  curves.loc[wild & (curves['seed'] == 0), 'value'] = np.inf
  curves.loc[wild & (curves['seed'] == 1), 'value'] = -1e30
  tables = gan.tables._replace(curves=curves)
  drawing = draw(adversarial.draw_game, gan._replace(tables=tables))
  assert 'inf' not in drawing.alt + drawing.svg
  only_losses = curves[~curves['metric'].str.startswith('d_')]
  tables = tables._replace(curves=only_losses)
  assert draw(adversarial.draw_game, gan._replace(tables=tables)) is None


# Collapse


def collapsed_by_hand(values, classes):
  """(first step, whether at the last) by a plain loop over (step, diversity, seen)."""
  bad = []
  for step, diversity, seen in values:
    bad.append((step, diversity < 0.2 or bool(classes and seen <= classes / 2)))
  if all(is_bad for _, is_bad in bad):
    return (bad[0][0], True) if bad else None
  begun = False
  for step, is_bad in bad:
    if begun and is_bad:
      return step, bad[-1][1]
    begun = begun or not is_bad
  return None


@pytest.mark.parametrize('classes', [0, 7, 10])
def test_collapse_is_found_as_by_a_plain_loop(classes):
  random = np.random.default_rng(classes)
  rows, expected = [], {}
  for arm in ('a', 'b'):
    for seed in range(60):
      often = random.choice([0.05, 0.3, 1.0])
      values = [
        (
          10 * (i + 1),
          random.choice([0.1, 0.2, 0.9], p=[often, 0, 1 - often]),
          random.choice([2, 4, 9], p=[often / 4, 0, 1 - often / 4]),
        )
        for i in range(random.integers(1, 6))
      ]
      found = collapsed_by_hand(values, classes)
      if found:
        expected[arm, seed] = found
      for step, diversity, seen in values:
        for split in ('validation', 'test'):  # test says otherwise
          numbers = {'diversity': diversity, 'classes': seen, 'd_loss': 0.0}
          numbers = numbers if split == 'validation' else {'diversity': 0.9 - diversity}
          rows += [(arm, seed, step, split, m, v) for m, v in numbers.items()]
  shuffled = random.permutation(len(rows))
  names = ['arm', 'seed', 'step', 'split', 'metric', 'value']
  curves = pd.DataFrame(rows, columns=names).iloc[shuffled]
  runs = pd.DataFrame({'arm': 'b', 'seed': [3, 4], 'tuned': [0, 1], 'best_step': 25})
  runs['status'] = 'diverged'
  found = collapse.find(curves, runs[runs['tuned'] == 0], 'validation', classes)
  assert found[-1] == collapse.Fault('b', 3, 25, diverged=True)
  seen = {(f.arm, f.seed): (f.step, f.lasting) for f in found[:-1]}
  assert len(seen) == len(found) - 1
  assert seen == expected
  assert 5 < len(expected) < 115


def test_limits_of_the_rule():
  def words(diversity, seen, classes=10):
    low = collapse._too_low({'diversity': diversity, 'classes': seen}, classes)
    text = collapse_words.describe(collapse.Fault('a', 0, 1, *low), classes)
    return text[text.index('(') + 1 : -1]

  assert words(0.2, 6) == ''
  assert words(0.199, 6) == 'diversity 0.20'
  assert words(0.9, 5) == '5 of 10 classes'
  assert words(0.04, 1) == 'diversity 0.04, 1 of 10 classes'
  assert words(0.9, 1, 0) == words(float('nan'), 9) == ''
  assert words(0.9, 3, 7) == '3 of 7 classes'
  assert words(0.9, 4, 7) == ''


def test_report_names_collapsed_and_diverged_runs(gan, painted):
  _, page, text = painted
  arm, seed, step = picture_fixture.COLLAPSED
  said = f'Collapsed: {arm}, seed {seed} from step {step} (diversity 0.04, 3 of 10'
  fallen = 'Diverged: loss=wasserstein, seed 2 at step 650.'
  read_page = report_reader.Reader(page).text
  read_text = text.replace('\\', '')
  for words in (said, fallen, 'Of 40 runs, 1 collapsed and 1 diverged.'):
    assert words in read_page
    assert words in read_text
  assert 'before tuning' not in read_page
  told = gan.study | {'tune': {'grid': {'lr': [1.0]}}}
  source = report_reader.source_of(gan)._replace(study=told)
  assert collapse_words.tell(source).head.endswith('These are the runs as configured.')
  for words in ('diversity is below 0.2 of', 'at most 5 of 10 classes'):
    assert words in read_page
    assert words in read_text


def test_no_collapse_and_recovery_are_said(gan):
  curves, runs = gan.tables.curves, gan.tables.runs
  good = curves[curves['seed'] != 1].copy()
  tables = gan.tables._replace(
    curves=good, runs=runs[(runs['seed'] != 1) & (runs['status'] == 'ok')]
  )
  account = collapse_words.tell(report_reader.source_of(gan._replace(tables=tables)))
  assert account.head == 'No run collapsed or diverged, of 34 runs.'
  assert account.lines == ()
  low = (good['metric'] == 'diversity') & (good['step'] == 600)
  good.loc[low & (good['arm'] == 'baseline') & (good['seed'] == 4), 'value'] = 0.1
  account = collapse_words.tell(report_reader.source_of(gan._replace(tables=tables)))
  assert account.lines == (
    'Collapsed: baseline, seed 4 from step 600 (diversity 0.10), no longer at the end.',
  )


# Words


@pytest.mark.parametrize(
  ('made', 'text'),
  [
    (formats.name('test/classifier_fid'), 'test classifier-FID'),
    (formats.name('classifier_kid'), 'classifier-KID'),
    (formats.name('final/test/error_rate'), 'final test error rate'),
    (formats.name('test/psnr_x'), 'test PSNR x'),
    (formats.name('ssim'), 'SSIM'),
    (formats.value('test/classifier_fid', 12.345), '12.3'),
    (formats.value('classifier_fid', 1234.5), '1,234'),
    (formats.value('classifier_kid', -0.00041234), '−0.000412'),
    (formats.value('test/precision', 0.91234), '0.912'),
    (formats.value('recall', 1.0), '1.000'),
    (formats.value('classes', 10.0), '10'),
    (formats.value('test/classes', 9.6667), '9.7'),
    (formats.value('diversity', float('nan')), '–'),
    (formats.value('classifier_fid', float('inf')), '∞'),
    (formats.delta('classifier_fid', 12.345), '+12.3'),
    (formats.delta('classifier_fid', -1234.5, unit=True), '−1,234'),
    (formats.delta('classifier_kid', 0.0), '0'),
    (formats.delta('recall', -0.0312), '−0.031'),
    (formats.delta('recall', -0.0001), '0.000'),
    (formats.delta('classes', -0.3333), '−0.3'),
    (formats.delta('classes', 0.01), '0'),
    (facts.words({'data': {}}, 'test/classifier_kid'), 'test classifier-KID'),
  ],
)
def test_names_and_numbers_of_image_quality(made, text):
  assert made == text


def test_plain_fid_is_written_nowhere(painted):
  _, page, text = painted
  for words in (report_reader.Reader(page).text, text, page):
    assert 'classifier-FID' in words
    bare = re.sub(r'classifier-FID|classifier-KID|FID and KID of papers', '', words)
    assert not re.search(r'\bFID\b|\bKID\b|Classifier fid|classifier fid', bare)


def test_notes_tell_what_quality_is_measured_with(gan, painted):
  said = ' '.join(notes.list_notes(report_reader.source_of(gan)))
  for words in (
    'measured on features of digits: cnn trained on digits, 98.33 % right of 360 test',
    'As many are generated as there are real ones: 180 validation and 360 test images.',
    'Precision and recall use 3 nearest neighbours.',
    'from 10\u202f% of an even share on',
    'real ones: test classifier-FID 3.95; test classifier-KID −0.000412',
    'The Fréchet distance of fewer images is larger (Bińkowski et al. 2018).',
  ):
    assert words in said
    assert words.replace('\u202f', ' ') in ' '.join(
      report_reader.Reader(painted[1]).text.replace('\u202f', ' ').split()
    )
  assert said.count('98.33') == 1
  bare = {'extractor': 'mine', 'accuracy': 0.5}
  said = ' '.join(
    notes.list_notes(report_reader.source_of(with_facts(gan, quality=bare)))
  )
  assert 'features of mine. It classifies 50.00\u202f% of its test images' in said


def test_real_images_are_the_floor_not_a_method(gan, painted):
  source = report_reader.source_of(gan)
  sheet = tables.make_references(source)
  assert sheet.title == 'Beside real images'
  mean = gan.tables.runs.query('arm == "baseline"')['test/classifier_fid'].mean()
  assert sheet.rows[0][:3] == ('baseline', '8', formats.number(mean, 3))
  assert sheet.rows[1][:3] == ('real against real', '–', '3.95')
  assert notes.compare_references(source) == (
    'Real images against other real ones score 3.95 test classifier-FID, about the '
    f'best that as many images can reach; the mean of baseline is {mean:.1f}, '
    f'{mean / 3.951:.1f} times that.'
  )
  assert 'Without gradient descent' not in painted[1] + painted[2]
  assert 'Dashed: real images against real ones.' in painted[1]
  both = {**gan.study['data']['references'], 'copying': {'test/classifier_fid': 1.0}}
  study = gan.study | {'data': {**gan.study['data'], 'references': both}}
  said = notes.compare_references(report_reader.source_of(gan._replace(study=study)))
  assert said.endswith('is not better than copying (without gradient descent).')


# Whole pages


@pytest.mark.parametrize('name', ['painted', 'translated'])
def test_pages_are_whole(name, request):
  folder, page, text = request.getfixturevalue(name)
  reader = report_reader.Reader(page)
  assert not reader.open
  assert len(reader.ids) == len(set(reader.ids))
  assert not reader.foreign
  drawn = DRAWN if name == 'painted' else {'translations', 'game'}
  assert {path.stem for path in (folder / 'figures').iterdir()} == COMMON | drawn
  assert len(re.findall('<svg', page)) == len(COMMON | drawn) + 1  # narrow effects
  for stem in drawn:
    assert f'id="figure-{stem}"' in page
    assert f'](figures/{stem}.png)' in text
    grey = np.asarray(PIL.Image.open(folder / f'figures/{stem}.png').convert('L'))
    edges = np.concatenate([grey[:3].ravel(), grey[-3:].ravel(), grey[:, -3:].ravel()])
    assert (edges == 255).all(), f'{stem}: something is cut off at the edge'
  before = text[: text.index(f'figures/{"samples" if name == "painted" else "tr"}')]
  assert before.count('<details>') == before.count(
    '</details>'
  )  # it is not folded away
  assert ('Did a run collapse?' in page) == (name == 'painted')
  for svg in re.findall(r'<svg.*?</svg>', page, re.S):
    assert not re.findall(r'(?:fill|stroke): (#[0-9a-f]{6})', svg)


def test_names_from_outside_are_escaped(cyclegan, tmp_path):
  name = '<img src=x> & "$1$" | `y`'
  arms = [{**a, 'name': name} if i else a for i, a in enumerate(cyclegan.study['arms'])]
  told = {
    'domains': ['<b>', '</svg><i>'],
    'quality': {'extractor': '<u>', 'note': '<s>'},
  }
  case = with_facts(cyclegan, **told)
  case.study.update(arms=arms[:2], contrasts=[])
  curves = case.tables.curves.replace({'identity=off': name})
  low = curves[curves['metric'] == 'd_real'].assign(metric='diversity', value=0.0)
  low['split'] = 'validation'
  curves = pd.concat([curves, low])
  runs = case.tables.runs.replace({'identity=off': name})
  tables = case.tables._replace(curves=curves, runs=runs, effects=pd.DataFrame())
  inner = lambda arm, seed, tuned=0: cyclegan.arrays(
    'identity=off' if arm == name else arm, seed
  )
  page, text = report_reader.write(case._replace(tables=tables, arrays=inner), tmp_path)
  reader = report_reader.Reader(page)
  assert not reader.open
  assert not {'img', 'b', 'i', 'u', 's'} & set(reader.tags)
  said = (
    f'Collapsed: {name}, seed 0 from step 100 (diversity 0.00), its first evaluation;'
  )
  assert said in reader.text
  assert 'collapsed (24 of them passed at no evaluation)' in reader.text
  prose = re.sub(r'```.*?```', '', text, flags=re.S)
  assert '<img' not in prose
  assert '</svg>' not in prose
  assert '&lt;img src=x&gt; &amp; "$1$" \\| \\`y\\`' in prose


def test_studies_without_pictures_have_none(tmp_path):
  case = report_fixture.digits(2, tuned=False)
  source = report_reader.source_of(case)
  assert collapse_words.tell(source) is None
  found = registry.draw(source)
  assert not (DRAWN | {'translations'}) & set(found)
  assert not [text for text in notes.list_notes(source) if 'mages' in text]


def test_arrays_that_are_no_images_leave_no_trace(gan, cyclegan):
  for case in (gan, cyclegan):
    for value in (np.zeros((0, 8, 8, 1), np.uint8), np.zeros(3, np.uint8)):
      spoil = lambda arm, seed, arrays, v=value: dict.fromkeys(arrays, v)
      broken = sequence_fixture.with_arrays(case, spoil)
      for make in (
        generated.draw_samples,
        generated.draw_film,
        generated.draw_interpolation,
        generated.draw_neighbours,
        translations.draw_translations,
      ):
        assert draw(make, broken) is None
  nothing = sequence_fixture.with_arrays(gan, lambda arm, seed, arrays: {})
  assert draw(generated.draw_film, nothing) is None


def test_equal_inputs_give_equal_bytes(painted, tmp_path):
  report_reader.write(picture_fixture.gan(), tmp_path)
  names = [f'figures/{name}.png' for name in sorted(DRAWN)]
  for name in ('report.html', 'report.md', *names):
    assert (painted[0] / name).read_bytes() == (tmp_path / name).read_bytes(), name
