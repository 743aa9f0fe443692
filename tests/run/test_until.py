"""`until='decided'`: which runs are trained by which look, and what is refused."""

import pytest

import dlsteroids
from dlsteroids.cli import command
from dlsteroids.plan import manifest

FACTORS = [
  dlsteroids.factor('rate', 'optimizer.learning_rate', 0.1, 1e-4),
  dlsteroids.factor('decay', 'optimizer.weight_decay', 0.0, 1e-12),
]


def make_config(looks=2):
  config = dlsteroids.base(model='mlp', data='digits')
  config.train.steps, config.train.evaluations = 60, 1
  config.study.looks, config.model.hidden = looks, (8,)
  return config


def launch(workdir, most, **changes):
  lines = []
  options = {'watch': lambda status: None, 'say': lines.append}
  config = make_config(**changes)
  answer = dlsteroids.run(
    config, workdir, FACTORS, until='decided', most=most, **options
  )
  return answer, lines


def test_arms_stop_where_their_verdict_stands_and_a_second_command_does_nothing(
  tmp_path,
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


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (['--until=decided'], 'needs a bound: --most=40'),
    (['--most=40'], '--most goes with --until'),
    (['--until=done', '--most=40'], 'should be one of <decided>'),
    (['--until=decided', '--most=0'], '--most must be at least 1'),
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
