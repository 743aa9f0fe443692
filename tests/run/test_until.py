"""`until='decided'`: which runs are trained by which look, and what is refused."""

import pandas as pd
import pytest

import dlsteroids
from dlsteroids.cli import command
from dlsteroids.plan import manifest
from dlsteroids.run import until
from tests.fixtures import studies_on_disk as disk

FACTORS = [
  dlsteroids.factor('rate', 'optimizer.learning_rate', 0.1, 1e-4),
  dlsteroids.factor('decay', 'optimizer.weight_decay', 0.0, 1e-12),
]


def make_config(looks=2):
  config = dlsteroids.base(model='mlp', data='digits')
  config.train.steps, config.train.evaluations = 60, 1
  config.study.looks, config.model.hidden = looks, (8,)
  return config


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
  """The launches here train the same program."""
  disk.share_programs(monkeypatch)


@pytest.fixture
def undrawn(monkeypatch):
  """Reports have neither figures nor pages."""
  disk.spare_figures(monkeypatch)


def launch(workdir, most, factors=FACTORS, costs=(), config=None, **changes):
  lines = []
  options = {'watch': lambda status: None, 'say': lines.append, **dict(costs)}
  config = config or make_config(**changes)
  answer = dlsteroids.run(
    config, workdir, factors, until='decided', most=most, **options
  )
  return answer, lines


def test_arms_stop_where_their_verdict_stands_and_a_second_command_does_nothing(
  tmp_path, no_figures
):
  """Oracle: which runs the store holds after each launch."""
  text = dlsteroids.plan(make_config(), tmp_path, FACTORS, until='decided', most=10)
  assert 'looks at 8 (level 0.025), 10 (level 0.0083) seeds' in text
  assert 'first look: 24 runs' in text
  assert 'at most: 30 runs' in text
  answer, lines = launch(tmp_path, 10)
  counts = answer.runs['arm'].value_counts().to_dict()
  assert counts == {'baseline': 10, 'rate=0.0001': 8, 'decay=1e-12': 10}
  assert [line.partition(',')[0] for line in lines] == ['look 1 of 2', 'look 2 of 2']
  study = manifest.read_study(tmp_path)
  assert study.until.stopped == {'rate=0.0001': 8}
  assert [(look.seeds, look.complete) for look in study.looks] == [
    (8, True),
    (10, True),
  ]
  files = {p: p.stat().st_mtime_ns for p in tmp_path.glob('results/*')}
  again, _ = launch(tmp_path, 10)
  assert again.effects.equals(answer.effects)
  assert manifest.read_study(tmp_path) == study
  assert {p: p.stat().st_mtime_ns for p in tmp_path.glob('results/*')} == files
  assert 'rate=0.0001 8 (decided)' in (tmp_path / 'report.html').read_text()
  levels = [c['interval']['level'] for c in again.to_json()['contrasts']]
  assert levels == pytest.approx([1 - 0.05 / 2, 1 - 0.05 / 6])
  dlsteroids.plan(make_config(), tmp_path, FACTORS, until='decided', most=9)  # lower
  for most, looks in ((12, 2), (10, 3)):
    with pytest.raises(dlsteroids.UserError, match='declared at 8, 10 seeds'):
      launch(tmp_path, most, looks=looks)


def test_a_bound_on_the_cost_stops_an_arm_and_is_reported(tmp_path, undrawn):
  """Oracle: the FLOPs of the runs by runs.csv, and the store's counts.

  Nothing is decided: both arms hardly differ from the baseline.
  """
  small = dlsteroids.factor('rate', 'optimizer.learning_rate', 0.1, 0.1000001)
  factors = [small, FACTORS[1]]
  look = lambda costs: launch(tmp_path, 10, factors, costs)
  with pytest.raises(
    dlsteroids.UserError, match=r'is below the first look, 8 seeds: 24'
  ):
    look({'most_flops': 1e6})
  assert not list(tmp_path.iterdir())
  answer, lines = look({'most_hours': 1e-9})
  assert answer.runs['arm'].value_counts().to_dict() == dict.fromkeys(
    ('baseline', 'rate=0.1000001', 'decay=1e-12'), 8
  )
  assert len(lines) == 1
  assert 'the bound on the cost leaves no further seeds for baseline' in lines[0]
  assert {one['stopped'] for one in answer.to_json()['until']['arms']} == {'cost'}
  each = answer.runs['flops'].iloc[0]
  answer, _ = look({'most_flops': 28.5 * each})  # 24 runs are there, 4 fit, 6 do not
  counts = answer.runs['arm'].value_counts().to_dict()
  assert counts == {'baseline': 10, 'rate=0.1000001': 10, 'decay=1e-12': 8}
  tree = answer.to_json()['until']
  assert tree['spent_flops'] == answer.runs['flops'].sum() <= tree['most_flops']
  assert tree['arms'] == [
    {'arm': 'baseline', 'seeds': 10, 'stopped': 'bound'},
    {'arm': 'rate=0.1000001', 'seeds': 10, 'stopped': 'bound'},
    {'arm': 'decay=1e-12', 'seeds': 8, 'stopped': 'cost'},
  ]
  assert manifest.read_study(tmp_path).until.stopped == {'decay=1e-12': 8}


@pytest.mark.parametrize(
  ('flops', 'hours', 'words'),
  [
    (25, 0, '25 FLOP pay for 10 seeds of every arm'),
    (90, 0, '90 FLOP pay for every look'),
    (0, 1, '1 h 00 min are less than the first look, which is taken nevertheless'),
    (40, 4, '40 FLOP pay for every look; 4 h 00 min pay for 10 seeds of every arm'),
  ],
)
def test_the_plan_says_how_far_a_bound_reaches(flops, hours, words):
  costs = [until.LookCost(1, 10.0 * look, 7200.0 * look) for look in (1, 2, 3)]
  bound = until.Bound(12, flops, hours).cost
  (line,) = until.describe_bound(bound, (8, 10, 12), costs)
  for space in '\u2009\u202f':
    line = line.replace(space, ' ')
  assert line == f'bound on the cost, applied after each look: {words}'


def test_how_far_hours_reach_is_unknown_before_the_first_run():
  costs = [until.LookCost(1, 10.0, float('nan'))]
  (line,) = until.describe_bound(until.Bound(8, 0, 1).cost, (8,), costs)
  assert line.endswith('is known after the first runs')
  assert until.describe_bound(until.Bound(8).cost, (8,), costs) == []


def test_tuned_values_are_chosen_once_before_the_first_look(tmp_path, undrawn):
  """Oracle: the runs of the search, the choices and each tuned run's learning rate."""
  config = make_config()
  config.study.tune, config.study.tune_seeds = 'optimizer.learning_rate=0.05,0.2', 1
  config.study.tune_extend = 0
  factors = [FACTORS[1]]
  text = dlsteroids.plan(config, tmp_path, factors, until='decided', most=8)
  assert 'first look: 32 runs' in text  # 7 seeds of 2 arms, twice, and 4 of the search
  seen = []

  def watch(status):
    study = manifest.read_study(tmp_path)
    if study and study.tuning and study.tuning.choices:
      seen.append(study.tuning.choices)

  answer, lines = launch(tmp_path, 8, factors, {'watch': watch}, config)
  assert [line.partition(',')[0] for line in lines] == ['look 1 of 2', 'look 2 of 2']
  study = manifest.read_study(tmp_path)
  assert seen
  assert all(choices == study.tuning.choices for choices in seen)
  searches = pd.read_csv(tmp_path / 'searches.csv')
  assert len(searches) == 4
  best = {}
  for arm, rows in searches.groupby('arm'):
    best[arm] = rows.loc[
      rows['validation/accuracy'].idxmax(), 'point/optimizer.learning_rate'
    ]
  chosen = {c.arm: c.numbers['optimizer.learning_rate'] for c in study.tuning.choices}
  assert chosen == best
  tuned = answer.runs[answer.runs['tuned'] == 1]
  assert tuned['arm'].value_counts().to_dict() == {'baseline': 8, 'decay=1e-12': 8}


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (['--until=decided'], 'needs a bound: --most=40'),
    (['--most=40'], '--most goes with --until'),
    (['--until=done', '--most=40'], 'should be one of <decided>'),
    (['--until=decided', '--most=0'], '--most must be at least 1'),
    (['--most_flops=1e9'], '--most_flops goes with --until'),
    (['--until=decided', '--most_hours=2'], 'needs a bound: --most=40'),
    (
      ['--until=decided', '--most=9', '--most_hours=-2'],
      '--most_hours must be a finite number above 0, not -2.0',
    ),
    (['--until=decided', '--most=9', '--most_flops=nan'], 'must be a finite number'),
    (['--until=decided', '--most=9', '--executor=ray'], 'neither --executor'),
    (['--until=decided', '--most=9', '--action=status'], 'goes with --action=run'),
  ],
)
def test_flags_that_do_not_fit(words, message, capsys):
  assert command.main(['dlsteroids', 'digits_cnn:smoke', *words]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert message in line


def test_looks_must_be_declared(tmp_path):
  with pytest.raises(dlsteroids.UserError, match=r'study\.looks=4'):
    launch(tmp_path, 40, looks=1)
  with pytest.raises(dlsteroids.UserError, match='--most=5 is below the first look'):
    launch(tmp_path, 5)
  with pytest.raises(dlsteroids.UserError, match=r'expected .decided'):
    dlsteroids.run(make_config(), tmp_path, FACTORS, until='done', most=40)
  assert not list(tmp_path.iterdir())
