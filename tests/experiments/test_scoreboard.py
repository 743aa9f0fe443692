"""The scoreboard: sums by hand, and a committed page that its tables give again."""

import json
import pathlib
import shutil

import pytest

from dlsteroids.study import claims
from dlsteroids.util import errors
from experiments import pages, scoreboard

HOME = pathlib.Path(scoreboard.__file__).parent
RESULTS = HOME / 'results'


@pytest.fixture(scope='module')
def declared():
  return scoreboard.declared_claims()


@pytest.fixture(scope='module')
def page():
  return pages.read(RESULTS / 'mnist_dropout')


def rows(*outcomes, size=''):
  """A board with a claim an outcome, every second paper the same."""
  board = scoreboard.collect([], {})
  for i, outcome in enumerate(outcomes):
    board.loc[i, ['paper', 'outcome', 'size_outcome', 'verified']] = [
      f'Doe {1990 + i // 2}, figure {i}', outcome, size, bool(i)
    ]  # fmt: skip
  return board


def repeat_a_run(table):
  table.write_text(table.read_text() + table.read_text().splitlines()[1])


def test_the_committed_scoreboard_is_what_the_tables_give(declared):
  """After a page or a claim has changed: python -m experiments.scoreboard."""
  text, table = scoreboard.make(declared, RESULTS, HOME / 'scoreboard')
  assert (HOME / 'scoreboard' / 'scoreboard.csv').read_text() == table
  assert (HOME / 'scoreboard' / 'README.md').read_text() == text


def test_sums_by_hand():
  outcomes = 'agrees', 'agrees', 'differs', 'inconclusive', 'not run yet', 'not run yet'
  counts = scoreboard.count(rows(*outcomes, size='larger'))
  assert (counts.claims, counts.papers) == (4, 2)
  assert (counts.agree, counts.differ, counts.open) == (2, 1, 1)
  assert (counts.waiting, counts.waiting_papers, counts.unverified) == (2, 1, 1)
  assert counts.sizes['larger'] == 4
  assert sum(counts.sizes.values()) == 4
  assert scoreboard.sentences(counts) == [
    '4 published claims from 2 papers: 2 agree with our results, 1 differ, of 1 '
    '(25\u202f%) we cannot tell.',
    '4 sizes can be compared: 4 larger here.',
    'The source of 1 was not read (unverified): their numbers and words are quoted or '
    'remembered.',
    '2 claims of shipped configs, from 1 further paper, are not run yet.',
  ]


def test_no_claims_are_no_division_by_zero():
  counts = scoreboard.count(rows())
  assert scoreboard.sentences(counts) == [
    'No published claim has been held against results yet.'
  ]


def test_every_claim_of_a_shipped_config_has_a_row_and_its_numbers(declared):
  board = scoreboard.collect(
    [pages.read(RESULTS / name) for name in ('mnist_dropout', 'alexnet_relu')], declared
  )
  assert len(board) == sum(len(one.claims) for one in declared.values())
  held = board[board['outcome'] != scoreboard.NOT_RUN].set_index('study')
  assert sorted(held.index) == ['alexnet_relu', 'mnist_dropout']
  dropout = held.loc['mnist_dropout']
  # from effects.csv of the page: without dropout .51 points less [-.66, -.34]
  effects = pages.read(RESULTS / 'mnist_dropout').effects.iloc[0]
  assert dropout['value'] == -effects['delta']
  assert (dropout['low'], dropout['high']) == (-effects['ci_high'], -effects['ci_low'])
  assert dropout['size_ratio'] == pytest.approx(-effects['delta'] / 0.0035)
  assert (dropout['n'], dropout['seeds']) == (8, 8)
  assert held.loc['alexnet_relu', 'size_outcome'] == 'opposite'


def test_undecided_claims_say_how_many_seeds_would_decide(declared):
  board = scoreboard.collect([pages.read(RESULTS / 'lstm_odyssey')], declared)
  held = board[board['outcome'] != scoreboard.NOT_RUN]
  open_ones = held['outcome'] == 'inconclusive'
  assert open_ones.sum() == 2
  assert (held['seeds_needed'].notna() == open_ones).all()
  # of a normal difference with this spread, two-sided at .05 / 8 with 80 % power, and
  # a few more for the sign flips
  row = held[held['claim'].str.startswith('coupled gates')].iloc[0]
  spread = (row['high'] - row['low']) / 2 / 2.306 * 3  # of nine differences
  normal = ((2.734 + 0.842) * spread / 0.01) ** 2
  assert normal <= row['seeds_needed'] <= 1.2 * normal + 3
  text = scoreboard.render(board, {})
  assert text.count(f'about {row["seeds_needed"]:.0f} seeds would tell') == 1


def test_results_are_computed_anew_from_the_runs(declared):
  """effects.csv of this page has -4.49: it predates that the fallback bounds scores."""
  page = pages.read(RESULTS / 'lstm_odyssey')
  board = scoreboard.collect([page], declared)
  row = board[board['claim'] == 'the output activation is critical'].iloc[0]
  runs = page.runs[page.runs['tuned'] == 1].set_index(['arm', 'seed'])['test/nats']
  bounded = runs['output_activation=identity'].clip(upper=page.study.metric.fallback)
  assert row['value'] == pytest.approx((runs['baseline'] - bounded).mean())
  assert row['value'] == pytest.approx(-1.68, abs=0.005)


def test_claims_without_results_wait(declared):
  waiting = scoreboard.collect([], {'mnist_dropout': declared['mnist_dropout']})
  assert waiting['outcome'].tolist() == ['not run yet']
  assert waiting['published'][0].startswith('helps, +0.35')
  text = scoreboard.render(waiting, {'mnist_dropout': '../x.py'})
  assert '[mnist\\_dropout](../x.py)' in text


def test_a_page_of_another_design_leaves_its_claims_waiting(declared, page):
  own = declared['mnist_dropout']
  other = claims.claim('Doe 1999', 'norms help', 'norm', direction='helps')
  board = scoreboard.collect([page], {page.study.name: own._replace(claims=(other,))})
  assert board['outcome'].tolist() == ['not run yet']


def test_a_claim_declared_after_the_run_says_so(declared, page):
  own = declared['mnist_dropout']
  late = own.claims[0]._replace(direction='hurts')
  board = scoreboard.collect(
    [page], {page.study.name: own._replace(claims=(own.claims[0], late))}
  )
  assert board['declared'].tolist() == ['with the run', 'after the run']
  assert board['outcome'].tolist() == ['agrees', 'differs']
  assert scoreboard.render(board, {}).count('declared after the run') == 1


@pytest.mark.parametrize(
  ('break_it', 'message'),
  [
    (lambda page: shutil.rmtree(page), 'no published study in'),
    (lambda page: (page / 'runs.csv').unlink(), 'runs.csv is missing: finish the'),
    (lambda page: (page / 'runs.csv').write_text(''), 'runs.csv is not a table'),
    (lambda page: (page / 'runs.csv').write_text('arm,seed\n'), 'lacks the columns'),
    (lambda page: repeat_a_run(page / 'runs.csv'), 'two runs of arm'),
    (lambda page: (page / 'study.json').write_text('{}'), 'study.json is damaged'),
    (
      lambda page: (page / 'study.json').write_text(json.dumps({'a': 1})),
      'its checksum does not match',
    ),
  ],
)
def test_damaged_pages_are_a_clear_line(tmp_path, break_it, message):
  page = tmp_path / 'mnist_dropout'
  page.mkdir()
  for name in ('study.json', 'runs.csv'):
    shutil.copy(RESULTS / 'mnist_dropout' / name, page)
  break_it(page)
  with pytest.raises(errors.UserError) as caught:
    scoreboard.make({}, tmp_path, tmp_path / 'out')
  assert message in str(caught.value)
  assert not (tmp_path / 'out').exists()
