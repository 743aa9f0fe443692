"""The pilot of a plan, as a user types it."""

import re

import pytest

from dlsteroids.cli import command
from tests.fixtures import studies_on_disk as disk


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  return disk.write(tmp_path_factory.mktemp('pilot'))


def run(config, capsys, *words):
  work = config.parent / 'work'
  code = command.main(['launch', f'--config={config}', f'--workdir={work}', *words])
  said = capsys.readouterr()
  return code, said.out, said.err


def test_a_pilot_measures_noise_and_its_runs_are_not_wasted(config, capsys):
  code, out, _ = run(config, capsys, '--action=plan', '--pilot=4', '--effect=0.05')
  assert code == 0
  assert disk.trained(config.parent / 'work') == 4
  lines = {line.partition(':')[0]: line for line in out.splitlines()}
  assert '4 runs of baseline: mean' in lines['pilot']
  assert 'points' in lines['pilot']
  assert (
    'seeds are too few' in lines['detectable with 2 seeds and 1 contrasts, 80% power']
  )
  wanted = next(line for line in out.splitlines() if line.startswith('to detect'))
  assert all(word in wanted for word in (' seeds, ', ' runs, ', 'FLOP'))
  # two of the study's runs were the pilot's
  assert ' 2 stored, 2 to train' in out
  # asked again, nothing is trained
  code, again, _ = run(config, capsys, '--action=plan', '--pilot=4', '--effect=0.05')
  assert disk.trained(config.parent / 'work') == 4
  without_free = lambda text: re.sub(
    r'; [^;]* free', '', text
  )  # memory, of this moment
  assert without_free(again) == without_free(out)


def test_more_power_takes_more_seeds(config, capsys):
  def seeds(*words):
    _, out, _ = run(
      config, capsys, '--action=plan', '--pilot=4', '--effect=0.05', *words
    )
    line = next(line for line in out.splitlines() if line.startswith('to detect'))
    return int(line.partition('power: ')[2].split()[0])

  assert seeds('--power=0.99') > seeds('--power=0.5')


@pytest.mark.parametrize(
  ('words', 'expected'),
  [
    (('--action=plan', '--pilot=2'), '--pilot must be at least 4 seeds, not 2'),
    (('--action=plan', '--pilot=4', '--effect=-1'), '--effect must not be negative'),
    (('--action=plan', '--pilot=4', '--power=2'), '--power must lie in (0, 1), not 2'),
    (('--pilot=4',), '--pilot goes with --action=plan'),
    (('--action=report', '--power=0.9'), '--power goes with --action=plan'),
    (('--action=plan', '--effect=0.1'), '--effect goes with --pilot'),
  ],
)
def test_mistakes_are_one_line(config, capsys, words, expected):
  code, out, err = run(config, capsys, *words)
  assert code == 2
  assert not out
  assert err.startswith('dlsteroids: ')
  assert err.count('\n') == 1
  assert expected in err
