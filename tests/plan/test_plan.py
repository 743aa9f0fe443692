"""Runs, programs and batches; oracles: definitions of DESIGN.md, and hypothesis."""

import hypothesis
import pytest
from hypothesis import strategies as st

from dlsteroids import config as config_lib
from dlsteroids.plan import layouts, tuning
from dlsteroids.plan import runs as runs_lib
from dlsteroids.store import results
from dlsteroids.study import study as study_lib
from dlsteroids.train import program as program_lib
from dlsteroids.util import errors


def base(**changes):
  tree = config_lib.resolve(config_lib.base(model='mlp', data='digits'))
  pairs = {name.replace('__', '.'): value for name, value in changes.items()}
  return config_lib.override(tree, pairs.items())


def make_run(arm, seed, *rest):
  return runs_lib.make_runs(arm, [seed], *rest)[0]


def make(i, program='p', steps=10):
  config = {'train': {'steps': steps}}
  return runs_lib.Run('arm', i, 0, config, program, f'{program}{steps}:{i}', str(i))


counts = st.lists(st.integers(0, 30), min_size=1, max_size=3)


def cut(runs, width, done=(), narrow=None):
  layout = program_lib.Layout('vmap', width, 2)
  return layouts.batches(runs, done.__contains__, lambda name: layout, narrow)


@hypothesis.given(counts, st.integers(1, 7), st.data())
@hypothesis.settings(max_examples=200, deadline=None)
def test_resuming_with_any_batches_done_reforms_the_others(sizes, width, data):
  runs = [make(i, program) for program, n in zip('abc', sizes) for i in range(n)]
  names = [run.fingerprint for run in runs]
  whole = cut(runs, width)
  layout = program_lib.Layout('vmap', width, 2)
  narrow = layouts.narrow_widths(whole, lambda name: layout)
  ended = data.draw(st.lists(st.sampled_from(whole))) if whole else []
  done = {run.fingerprint for batch in ended for run in batch.runs}
  left = cut(runs, width, done, narrow)
  # exactly what is missing, once
  flat = [run.fingerprint for batch in left for run in batch.runs]
  assert sorted(flat) == sorted(name for name in names if name not in done)
  for batch in left:
    assert 0 < len(batch.runs) <= 2 * width
    assert {run.program for run in batch.runs} == {batch.program}
  # a batch that was not trained has its old name, so its checkpoint is found
  assert {b.name for b in left} == {b.name for b in whole if b not in ended}


def test_runs_of_other_lengths_do_not_share_a_batch():
  runs = [make(0, steps=10), make(1, steps=20), make(2, steps=10)]
  found = cut(runs, 8)
  assert [[run.seed for run in batch.runs] for batch in found] == [[0, 2], [1]]
  assert [batch.steps for batch in found] == [10, 20]


def test_unique_keeps_the_first_of_equal_runs_and_the_order():
  runs = [make(0)._replace(arm='a'), make(1), make(0)._replace(arm='b')]
  found = runs_lib.unique(runs)
  assert [(run.arm, run.seed) for run in found] == [('a', 0), ('arm', 1)]


TRACED = {
  'optimizer__learning_rate': 0.3,
  'train__steps': 7,
  'model__dropout': 0.4,
  'task__label_smoothing': 0.1,
}
STATIC = {
  'model__activation': 'tanh',
  'train__batch_size': 7,
  'optimizer__name': 'adam',
  'data__flip': True,
}
NEITHER = {'study__seeds': 4, 'engine__strategy': 'map', 'study__alpha': 0.1}


@pytest.mark.parametrize('change', [{k: v} for k, v in {**TRACED, **STATIC}.items()])
def test_programs_and_fingerprints_follow_what_they_depend_on(change):
  one, other = base(), base(**change)
  same_program = runs_lib.program_id(one) == runs_lib.program_id(other)
  assert same_program == (next(iter(change)) in TRACED)
  prints = {make_run('a', 0, 0, c, 'd', 'c').fingerprint for c in (one, other)}
  assert len(prints) == 2


@pytest.mark.parametrize('change', [{k: v} for k, v in NEITHER.items()])
def test_what_changes_no_result_enters_no_fingerprint(change):
  one, other = base(), base(**change)
  assert runs_lib.program_id(one) == runs_lib.program_id(other)
  runs = [make_run('a', 0, 0, config, 'd', 'c') for config in (one, other)]
  assert runs[0].fingerprint == runs[1].fingerprint
  assert runs[0].identity == runs[1].identity


def test_seed_data_and_code_enter_the_fingerprint_and_code_not_the_identity():
  config = base()
  first = make_run('a', 0, 0, config, 'd', 'c')
  for seed, data, code in ((1, 'd', 'c'), (0, 'e', 'c'), (0, 'd', 'x')):
    other = make_run('a', seed, 0, config, data, code)
    assert other.fingerprint != first.fingerprint
    assert (other.identity == first.identity) == (code == 'x')


def test_fingerprints_are_digests_of_all_they_depend_on():
  config = base()
  metric = config['study']['metric']
  facts = {'config': config_lib.training(config), 'data': 'd', 'metric': metric}
  runs = runs_lib.make_runs('a', [0, 7, 10**6], 0, config, 'd', 'c')
  identity = config_lib.digest(facts)
  for run, seed in zip(runs, (0, 7, 10**6)):
    assert run == make_run('a', seed, 0, config, 'd', 'c')
    assert run.identity == config_lib.digest([identity, seed])
    content = config_lib.digest({**facts, 'code': 'c'})
    assert run.fingerprint == config_lib.digest([content, seed])
  other = base(study__metric='loss')  # it chooses the step whose scores are stored
  assert make_run('a', 0, 0, other, 'd', 'c').fingerprint != runs[0].fingerprint


def test_seeds_stay_clear_of_the_tuning_seeds():
  assert runs_lib.seeds(base(study__seeds=3, study__first_seed=5)) == [5, 6, 7]
  with pytest.raises(errors.UserError, match='below 1000000'):
    runs_lib.seeds(base(study__first_seed=999_995))


def test_a_grid_is_every_combination_in_order():
  text = 'optimizer.learning_rate=0.1,0.2; model.dropout=0,0.5'
  grid = tuning.parse_grid(text, base())
  assert grid == {'optimizer.learning_rate': (0.1, 0.2), 'model.dropout': (0.0, 0.5)}
  rows = [tuple(point.values()) for point in study_lib.combinations(grid)]
  assert rows == [(0.1, 0.0), (0.1, 0.5), (0.2, 0.0), (0.2, 0.5)]
  assert study_lib.combinations({}) == []


@pytest.mark.parametrize(
  ('text', 'want'),
  [
    ('optimizer.learning_rate=a,b', 'path=number'),
    ('optimizer.learning_rate', 'path=number'),
    ('optimizer.learning_rat=1,2', "did you mean 'optimizer.learning_rate'"),
    ('model.activation=1,2', 'no number that can be tuned'),
    ('optimizer.learning_rate=1,1', 'two or more different'),
    ('optimizer.learning_rate=1,2;optimizer.learning_rate=1,2', 'once'),
  ],
)
def test_a_bad_grid_is_one_line(text, want):
  with pytest.raises(errors.UserError, match=want) as caught:
    tuning.parse_grid(text, base())
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('better', 'scores', 'want'),
  [
    ('higher', [0.1, 0.9, 0.9], 1),  # the first of equals
    ('lower', [0.3, 0.2, 0.2], 1),
    ('higher', [0.5, 0.5, 0.5], 0),
  ],
)
def test_tuning_chooses_the_best_mean_and_the_first_of_equals(better, scores, want):
  grid = [{'x': 0.0}, {'x': 1.0}, {'x': 2.0}]
  metric = study_lib.Metric('loss', better, 0.0)
  goal = tuning.Goal(metric, {'loss': metric}, reach='')
  search = [[f'{i}a', f'{i}b'] for i in range(3)]  # two tuning seeds, far apart
  records = {
    name: results.Record({'values': {'validation/loss': score + away}}, {}, None)
    for names, score in zip(search, scores)
    for name, away in zip(names, (-1.0, 1.0))
  }
  assert tuning.choose(grid, search, results.Index(records, {}), goal) == grid[want]
  del records['2b']
  assert tuning.choose(grid, search, results.Index(records, {}), goal) is None
