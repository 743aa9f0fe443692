"""Designs. Oracle: expansions enumerated by hand."""

import pytest

from dlsteroids import config as config_lib
from dlsteroids.study import designs, factors
from tests.fixtures import study_cases as cases


def test_one_out():
  made = cases.expand('one_out', cases.ACTIVATION, cases.DROPOUT)
  assert made.arms == (
    factors.Arm('baseline', (('activation', 'relu'), ('dropout', '0.5')), (), ()),
    factors.Arm(
      'activation=tanh',
      (('activation', 'tanh'), ('dropout', '0.5')),
      (('model.activation', 'tanh'),),
      (),
    ),
    factors.Arm(
      'activation=sigmoid',
      (('activation', 'sigmoid'), ('dropout', '0.5')),
      (('model.activation', 'sigmoid'),),
      (),
    ),
    factors.Arm(
      'dropout=0.0',
      (('activation', 'relu'), ('dropout', '0.0')),
      (('model.dropout', 0.0),),
      (),
    ),
  )
  assert made.contrasts[-1] == factors.Contrast(
    factor='dropout',
    level='0.0',
    arm='dropout=0.0',
    reference='baseline',
    arm_cells=('dropout=0.0',),
    reference_cells=('baseline',),
    component='reference',
    kind='swap',
  )
  assert [c.arm for c in made.contrasts] == cases.names(made)[1:]
  assert (made.excluded, made.notes) == ((), ())
  assert made.factors == (cases.ACTIVATION, cases.DROPOUT)


def test_one_in():
  made = cases.expand('one_in', cases.ACTIVATION, cases.DROPOUT)
  assert cases.sides(made) == [
    ('activation', 'relu', 'bare+activation', 'bare'),
    ('activation', 'tanh', 'bare+activation=tanh', 'bare'),
    ('dropout', '0.5', 'bare+dropout', 'bare'),
  ]
  assert {c.component for c in made.contrasts} == {'arm'}
  overrides = {arm.name: dict(arm.overrides) for arm in made.arms}
  assert overrides == {
    'bare': {'model.activation': 'sigmoid', 'model.dropout': 0.0},
    'bare+activation': {'model.dropout': 0.0},
    'bare+activation=tanh': {'model.activation': 'tanh', 'model.dropout': 0.0},
    'bare+dropout': {'model.activation': 'sigmoid'},
    'baseline': {},
  }


def test_one_in_adds_to_what_is_required():
  made = cases.expand('one_in', cases.OVERLAP, cases.POOLING, cases.DROPOUT)
  assert cases.sides(made) == [
    ('overlap', 'True', 'bare+overlap+pooling', 'bare+pooling'),
    ('pooling', 'max', 'bare+pooling', 'bare'),
    ('dropout', '0.5', 'bare+dropout', 'bare'),
  ]
  assert made.notes[-1] == 'overlap is added to bare+pooling: it requires pooling'
  assert cases.names(made)[-1] == 'baseline'


@pytest.mark.parametrize('design', ['one_in', 'ladder', 'one_out', 'factorial'])
def test_a_single_factor_has_two_arms(design):
  made = cases.expand(design, cases.DROPOUT)
  bare = {'one_in': 'bare', 'ladder': 'bare'}.get(design, 'dropout=0.0')
  assert set(cases.names(made)) == {'baseline', bare}
  assert len(made.contrasts) == 1


def test_ladder():
  made = cases.expand('ladder', cases.ACTIVATION, cases.POOLING, cases.OVERLAP)
  assert cases.sides(made) == [
    ('activation', 'relu', 'rung1+activation', 'bare'),
    ('pooling', 'max', 'rung2+pooling', 'rung1+activation'),
    ('overlap', 'True', 'baseline', 'rung2+pooling'),
  ]
  assert cases.names(made) == ['bare', 'rung1+activation', 'rung2+pooling', 'baseline']
  assert dict(made.arms[2].overrides) == {'model.overlap': False}
  assert made.arms[1].inapplicable == ('overlap',)
  assert 'the ladder skips activation=tanh' in made.notes


def test_a_ladder_climbs_levels_in_between():
  made = cases.expand(
    'ladder',
    cases.ACTIVATION,
    cases.POOLING,
    only='activation=tanh, pooling, activation',
  )
  assert [arm.name for arm in made.arms] == [
    'bare', 'rung1+activation=tanh', 'rung2+pooling', 'baseline',
  ]  # fmt: skip
  levels = [dict(arm.assignment)['activation'] for arm in made.arms]
  assert levels == ['sigmoid', 'tanh', 'tanh', 'relu']
  steps = [(c.factor, c.level, c.arm, c.reference) for c in made.contrasts]
  assert steps[0] == ('activation', 'tanh', 'rung1+activation=tanh', 'bare')
  assert steps[2] == ('activation', 'relu', 'baseline', 'rung2+pooling')
  assert not any('skips' in note for note in made.notes)


@pytest.mark.parametrize(
  ('only', 'words'),
  [
    ('activation=tanh', 'a rung activation must follow activation=tanh'),
    ('activation,activation=tanh', 'study.only names activation twice'),
    ('activation=tanh,activation=tanh,activation', 'no step up from tanh'),
    (
      'activation=sigmoid,activation',
      'from sigmoid to tanh to relu; activation=sigmoid',
    ),
    ('activation=thn,activation', "unknown level 'thn' of activation; it has"),
    ('activatio=tanh', "unknown factor 'activatio' (did you mean 'activation'?)"),
  ],
)
def test_a_ladder_names_its_mistakes(only, words):
  assert words in cases.message('ladder', cases.ACTIVATION, cases.POOLING, only=only)


def test_ladder_order_is_that_of_the_selection_and_respects_requires():
  made = cases.expand(
    'ladder', cases.OVERLAP, cases.POOLING, cases.DROPOUT, only='pooling, overlap'
  )
  assert cases.names(made) == ['bare', 'rung1+pooling', 'baseline']
  assert cases.message('ladder', cases.OVERLAP, cases.POOLING, cases.DROPOUT) == (
    'design ladder: overlap requires pooling, which comes later in overlap, pooling, '
    'dropout; set study.only=pooling,overlap,dropout'
  )


def test_factorial():
  made = cases.expand('factorial', cases.ACTIVATION, cases.DROPOUT)
  assert cases.names(made) == [
    'baseline',
    'dropout=0.0',
    'activation=tanh',
    'activation=tanh,dropout=0.0',
    'activation=sigmoid',
    'activation=sigmoid,dropout=0.0',
  ]
  assert made.contrasts == (
    factors.Contrast(
      'activation',
      'tanh',
      'activation=relu (mean of 2 cells)',
      'activation=tanh (mean of 2 cells)',
      ('baseline', 'dropout=0.0'),
      ('activation=tanh', 'activation=tanh,dropout=0.0'),
      'arm',
    ),
    factors.Contrast(
      'activation',
      'sigmoid',
      'activation=relu (mean of 2 cells)',
      'activation=sigmoid (mean of 2 cells)',
      ('baseline', 'dropout=0.0'),
      ('activation=sigmoid', 'activation=sigmoid,dropout=0.0'),
      'arm',
    ),
    factors.Contrast(
      'dropout',
      '0.0',
      'dropout=0.5 (mean of 3 cells)',
      'dropout=0.0 (mean of 3 cells)',
      ('baseline', 'activation=tanh', 'activation=sigmoid'),
      ('dropout=0.0', 'activation=tanh,dropout=0.0', 'activation=sigmoid,dropout=0.0'),
      'arm',
    ),
  )


def test_factorial_merges_what_requires_makes_equal():
  made = cases.expand('factorial', cases.POOLING, cases.OVERLAP, cases.DROPOUT)
  assert cases.names(made) == [
    'baseline',
    'dropout=0.0',
    'overlap=False',
    'overlap=False,dropout=0.0',
    'pooling=none',
    'pooling=none,dropout=0.0',
  ]
  cells = {c.factor: list(zip(c.arm_cells, c.reference_cells)) for c in made.contrasts}
  assert cells == {
    # Over both states of overlap: without pooling they are one arm, which counts twice.
    'pooling': [
      ('baseline', 'pooling=none'),
      ('dropout=0.0', 'pooling=none,dropout=0.0'),
      ('overlap=False', 'pooling=none'),
      ('overlap=False,dropout=0.0', 'pooling=none,dropout=0.0'),
    ],
    # Only where pooling is: elsewhere an arm would be compared with itself.
    'overlap': [
      ('baseline', 'overlap=False'),
      ('dropout=0.0', 'overlap=False,dropout=0.0'),
    ],
    'dropout': [
      ('baseline', 'dropout=0.0'),
      ('overlap=False', 'overlap=False,dropout=0.0'),
      ('pooling=none', 'pooling=none,dropout=0.0'),
    ],
  }
  arm = next(arm for arm in made.arms if arm.name == 'pooling=none')
  assert arm.inapplicable == ('overlap',)
  assert dict(arm.assignment)['overlap'] == 'False'
  assert 'pooling=none stands for pooling=none,overlap=False too' in made.notes
  assert (
    'overlap (requires pooling) is inapplicable and set to False in pooling=none; '
    'pooling=none,dropout=0.0'
  ) in made.notes


def test_one_out_lists_what_an_ablation_makes_inapplicable():
  arm = next(
    arm
    for arm in cases.expand('one_out', cases.POOLING, cases.OVERLAP).arms
    if arm.name == 'pooling=none'
  )
  assert arm.inapplicable == ('overlap',)
  assert arm.overrides == (('model.pooling', 'none'), ('model.overlap', False))


def test_requirement_of_a_level_and_of_an_unselected_factor():
  pooling = factors.factor('pooling', 'model.pooling', 'max', 'average', 'none')
  either = cases.OVERLAP._replace(requires=('pooling=max|average',))
  made = cases.expand('one_out', pooling, either)
  assert {arm.name: arm.inapplicable for arm in made.arms} == {
    'baseline': (),
    'pooling=average': (),
    'pooling=none': ('overlap',),
    'overlap=False': (),
  }
  alone = cases.expand('one_in', cases.POOLING, cases.OVERLAP, only='overlap')
  assert cases.sides(alone) == [('overlap', 'True', 'baseline', 'bare')]
  assert alone.arms[0].overrides == (('model.overlap', False),)


def test_excluded_combinations_are_dropped_and_listed():
  dropout = factors.factor(
    'dropout', 'model.dropout', 0.5, 0.0, excludes=((0.0, 'activation', 'tanh'),)
  )
  made = cases.expand('factorial', cases.ACTIVATION, dropout)
  assert 'activation=tanh,dropout=0.0' not in cases.names(made)
  assert len(made.arms) == 5
  assert made.excluded == (
    'dropout=0.0 excludes activation=tanh: dropped activation=tanh,dropout=0.0',
  )
  contrast = made.contrasts[0]
  assert (contrast.arm, contrast.reference) == ('baseline', 'activation=tanh')
  assert contrast.arm_cells == ('baseline',)


def test_explicit_arms():
  made = cases.expand(
    'arms',
    cases.ACTIVATION,
    cases.DROPOUT,
    arms=(
      factors.arm('plain', {'dropout': 0.0}),
      factors.arm('old', {'dropout': 0.0, 'activation': 'tanh'}),
      factors.arm('wide', overrides={'model.width': 64}, kind='add'),
      factors.arm('old wide', {'activation': 'tanh'}, {'model.width': 64}),
      factors.arm(
        'older', {'dropout': 0.0, 'activation': 'sigmoid'}, reference='plain'
      ),
    ),
  )
  assert cases.sides(made) == [
    ('dropout', '0.0', 'plain', 'baseline'),
    ('old', 'activation=tanh,dropout=0.0', 'old', 'baseline'),
    ('wide', 'model.width=64', 'wide', 'baseline'),
    ('old wide', 'activation=tanh,model.width=64', 'old wide', 'baseline'),
    ('activation', 'sigmoid', 'older', 'plain'),
  ]
  assert [c.component for c in made.contrasts].index('arm') == 2
  assert made.arms[4].overrides == (('model.activation', 'tanh'), ('model.width', 64))
  assert cases.expand('one_out', cases.DROPOUT, arms=(factors.arm('x'),)).notes == (
    '1 explicit arms are no part of design one_out',
  )


def test_explicit_arms_merged_by_requires():
  made = cases.expand(
    'arms',
    cases.POOLING,
    cases.OVERLAP,
    arms=(
      factors.arm('none', {'pooling': 'none'}),
      factors.arm('nothing', {'pooling': 'none', 'overlap': False}),
    ),
  )
  assert cases.names(made) == ['baseline', 'none']
  assert 'none stands for nothing too' in made.notes
  assert len(made.contrasts) == 1


def test_selection():
  made = cases.expand(
    'one_out', cases.ACTIVATION, cases.DROPOUT, cases.POOLING, only='pooling,dropout'
  )
  assert cases.names(made) == ['baseline', 'dropout=0.0', 'pooling=none']
  assert made.arms[0].assignment == (('dropout', '0.5'), ('pooling', 'max'))
  assert cases.message('one_out', cases.ACTIVATION, cases.DROPOUT, only='dropot') == (
    "study.only: unknown factor 'dropot' (did you mean 'dropout'?); there are "
    'activation, dropout'
  )
  assert 'names dropout twice' in cases.message(
    'one_out', cases.DROPOUT, only='dropout,dropout'
  )
  # A baseline changed on the command line: the factor that no longer fits is left out.
  changed = config_lib.override(cases.CONFIG, [('model.dropout', 0.3)])
  assert designs.expand(
    'one_out', changed, (cases.DROPOUT, cases.POOLING), only='pooling'
  ).arms
  assert "unknown 'one_ot' (did you mean 'one_out'?)" in cases.message(
    'one_ot', cases.DROPOUT
  )


def test_explain_tells_arms_contrasts_exclusions_and_notes():
  dropout = cases.DROPOUT._replace(excludes=(('0.0', 'pooling', 'none'),))
  assert designs.explain(
    cases.expand('factorial', cases.POOLING, cases.OVERLAP, dropout)
  ) == [
    'design factorial: 5 arms, 3 contrasts',
    '  baseline: the config as it is',
    '  dropout=0.0: model.dropout=0.0',
    '  overlap=False: model.overlap=False',
    '  overlap=False,dropout=0.0: model.overlap=False, model.dropout=0.0',
    '  pooling=none: model.pooling=none, model.overlap=False [inapplicable: overlap]',
    'contrast pooling: pooling=max (mean of 2 cells) - pooling=none (mean of 2 cells)',
    'contrast overlap: overlap=True (mean of 2 cells) - '
    'overlap=False (mean of 2 cells)',
    'contrast dropout: dropout=0.5 (mean of 2 cells) - dropout=0.0 (mean of 2 cells)',
    'excluded: dropout=0.0 excludes pooling=none: dropped pooling=none,dropout=0.0',
    'note: pooling=none stands for pooling=none,overlap=False too',
    'note: overlap (requires pooling) is inapplicable and set to False in pooling=none',
    'note: no Shapley values: dropout=0.0 excludes pooling=none, so the game is '
    'undefined',
  ]
