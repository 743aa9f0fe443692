"""answer.json and --json; oracles: the schema in docs/, the frames, hand counts."""

import json
import pathlib

import jsonschema
import pytest

from dlsteroids.cli import command
from dlsteroids.report import answer_json, next_steps
from tests.fixtures import report_fixture, studies

SCHEMA = json.loads(
  (pathlib.Path(__file__).parents[2] / 'docs' / 'answer.schema.json').read_text('utf-8')
)

TINY = """
import dlsteroids


def get_config():
  print('a config that prints')
  config = dlsteroids.base(model='mlp', data='digits')
  config.study.name, config.study.seeds = 'tiny', 6
  config.train.steps, config.train.evaluations = 20, 2
  config.model.hidden = (8,)
  return config


def get_factors(config):
  return [dlsteroids.factor('activation', 'model.activation', 'relu', 'tanh')]
"""


def check(tree):
  """The tree as a program reads it, after the schema has accepted it."""
  jsonschema.Draft202012Validator.check_schema(SCHEMA)
  text = json.dumps(tree, allow_nan=False)
  jsonschema.validate(json.loads(text), SCHEMA)
  return json.loads(text)


def describe(case):
  return check(
    answer_json.describe(
      studies.typed(case.study), case.tables.runs, case.tables.effects, 'work'
    )
  )


@pytest.mark.parametrize('make', ['digits', 'factorial'])
def test_contrasts_are_the_familys_rows(make):
  case = getattr(report_fixture, make)()
  tree = describe(case)
  effects = case.tables.effects
  deciding = effects[effects['p_holm'].notna()]
  assert [one['verdict'] for one in tree['contrasts']] == deciding['verdict'].tolist()
  first, row = tree['contrasts'][0], deciding.iloc[0]
  assert (first['delta'], first['p_holm']) == (row['delta'], row['p_holm'])
  assert first['interval']['low'] == row['ci_low']
  assert tree['metric']['unit'] == 'share'
  assert tree['compared']['runs']['ended'] == tree['compared']['runs']['planned']
  assert len(tree['findings']) == len(tree['contrasts'])


def test_the_better_side_follows_the_sign():
  case = report_fixture.digits()
  for one in describe(case)['contrasts']:
    shown = one['verdict'] in ('helps', 'hurts')
    assert one['better'] == (
      ('arm' if one['delta'] > 0 else 'reference') if shown else None
    )


def test_a_design_that_cannot_show_anything_has_no_verdict_but_a_step():
  case = report_fixture.digits(seeds=4)
  tree = describe(case)
  assert not tree['reach']['reachable']
  assert {one['verdict'] for one in tree['contrasts']} == {None}
  assert {one['p'] for one in tree['contrasts']} == {None}
  (step,) = tree['next']
  assert (step['action'], step['seeds']) == ('add_seeds', tree['reach']['seeds_needed'])


def test_what_is_inconclusive_says_how_many_seeds_would_decide_it():
  case = report_fixture.digits()
  study = studies.typed(case.study)
  steps = next_steps.plan(study, case.tables.runs, case.tables.effects)
  effects = case.tables.effects
  open_arms = effects[effects['verdict'] == 'inconclusive']['arm'].tolist()
  assert [step.arm for step in steps] == open_arms
  assert all(step.action == next_steps.ADD_SEEDS for step in steps)


def test_the_command_prints_json_alone(tmp_path, capsys, no_figures):
  """`plan`, `run`, `status` and `report` of a study of two short arms."""
  path = tmp_path / 'tiny.py'
  path.write_text(TINY, encoding='utf-8')
  work = [str(path), f'--workdir={tmp_path / "work"}', '--json']
  kinds = {'plan': 'plan', 'run': 'answer', 'status': 'status', 'report': 'answer'}
  for action, kind in kinds.items():
    code = command.main(['dlsteroids', action, *work])
    out = capsys.readouterr().out
    assert code == 0
    tree = check(json.loads(out))
    assert (tree['kind'], tree['study']) == (kind, 'tiny')
    if kind == 'plan':
      counted = f'programs to compile: {tree["programs"]} '
      assert any(line.startswith(counted) for line in tree['lines'])
  stored = json.loads((tmp_path / 'work' / 'answer.json').read_text('utf-8'))
  assert stored == tree
  assert command.main(['dlsteroids', 'report', work[0], '--workdir=x', '--json']) == 2
  assert capsys.readouterr().out == ''
