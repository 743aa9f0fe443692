"""Designs given bad input. Oracle: the messages, written out by hand."""

import pytest

from dlsteroids import config as config_lib
from dlsteroids.study import factors
from tests.fixtures import study_cases as cases


def test_excluded_intact_bare_and_rungs():
  never = lambda own, its: cases.DROPOUT._replace(excludes=((own, 'pooling', its),))
  assert (
    cases.message('one_out', never('0.5', 'max'), cases.POOLING)
  ) == 'the intact model itself is excluded: dropout=0.5 excludes pooling=max'
  for design in ('one_in', 'ladder'):
    assert 'the bare model, every factor at its last level, is excluded (drop' in (
      cases.message(design, never('0.0', 'none'), cases.POOLING)
    )
  assert 'rung 1, adding dropout, is excluded (dropout=0.5 excludes pooling=none)' in (
    cases.message('ladder', never('0.5', 'none'), cases.POOLING)
  )
  assert 'leaves nothing to compare: dropout=0.0 excludes pooling=max' in (
    cases.message('one_out', never('0.0', 'max'), cases.POOLING, only='dropout')
  )


@pytest.mark.parametrize(
  ('arms', 'text'),
  [
    ((factors.arm('x', {'dropout': 0.5}),), 'arms baseline and x are the same'),
    ((factors.arm('x', overrides={'model.width': 16}),), 'baseline and x are the same'),
    ((factors.arm('baseline'),), "two arms are called 'baseline'"),
    (
      (factors.arm('x', {'dropout': 0.0}), factors.arm('y', {'dropout': 0.0})),
      'arms x and y are the same',
    ),
    (
      (factors.arm('x', {'drop': 0.0}),),
      "unknown factor 'drop' (did you mean 'dropout",
    ),
    ((factors.arm('x', {'dropout': 0.1}),), "unknown level '0.1' of dropout"),
    (
      (factors.arm('x', overrides={'model.dropout': 0.1}),),
      'arm x: model.dropout belongs to factor dropout',
    ),
    (
      (factors.arm('x', overrides={'study.seeds': 9}),),
      'no run depends on study.seeds',
    ),
    (
      (factors.arm('x', {'dropout': 0.0}, reference='y'),),
      "arm x: unknown reference 'y'; there are baseline",
    ),
    (
      (factors.arm('x', overrides={'model.widht': 9}),),
      "arm x: unknown config path 'model.widht' (did you mean 'model.width'?)",
    ),
    ((), 'the config file gives no arms'),
  ],
)
def test_explicit_arms_mistakes(arms, text):
  assert text in cases.message('arms', cases.DROPOUT, arms=arms)


@pytest.mark.parametrize(
  ('chosen', 'text'),
  [
    (
      [factors.factor('dropout', 'model.dropout', 0.3, 0.0)],
      'factor dropout: its intact level says model.dropout=0.3, the config says 0.5',
    ),
    (
      [factors.factor('x', 'model.dropuot', 0.5, 0.0)],
      "factor x, level 0.5: unknown config path 'model.dropuot' (did you mean",
    ),
    (
      [factors.factor('x', 'model.width', 16, 8.0)],
      'factor x, level 8.0: config.model.width expects int',
    ),
    (
      [factors.factor('x', 'model.overlap', True, 0)],
      'config.model.overlap expects bool',
    ),
    ([factors.factor('x', 'model.width', 16, True)], 'config.model.width expects int'),
    ([factors.factor('x', 'model.kernel', (3, 3), (1, 'a'))], 'config.model.kernel[1]'),
    (
      [factors.levels('x', {'a': {}, 'b': {'model.width': 16}})],
      'factor x, level b: it changes nothing, the config says model.width=16 already',
    ),
    (
      [factors.factor('x', 'model.dropout', 0.5, 0, 0.0)],
      'factor x: levels 0 and 0.0 are equal (model.dropout=0.0)',
    ),
    (
      [cases.DROPOUT, factors.factor('x', 'model.dropout', 0.5, 0.1)],
      'factors dropout and x both set model.dropout',
    ),
    ([cases.DROPOUT, cases.DROPOUT], "two factors are called 'dropout'"),
    ([factors.factor('x', 'study.seeds', 10, 5)], 'no run depends on study.seeds'),
    (
      [cases.OVERLAP],
      "factor overlap, requires: unknown factor 'pooling'; there are overlap",
    ),
    (
      [cases.POOLING, cases.OVERLAP._replace(requires=('pooling=mean',))],
      "unknown level 'mean' of pooling; it has max, none",
    ),
    (
      [cases.POOLING, cases.OVERLAP._replace(requires=('pooling=none',))],
      'the intact level is pooling=max; the intact model must meet every requirement',
    ),
    (
      [cases.POOLING._replace(requires=('overlap',)), cases.OVERLAP],
      'requires goes in a circle: pooling requires overlap requires pooling',
    ),
    (
      [cases.DROPOUT._replace(excludes=(('0.0', 'dropout', '0.5'),))],
      'dropout is the factor itself',
    ),
    ([], 'the config file gives no factors'),
  ],
)
def test_factors_mistakes(chosen, text):
  assert text in cases.message('one_out', *chosen)


def test_undeclared_duplicates_are_named():
  # An option that the plug-in's resolution ignores: two levels, one model.
  def override(config, pairs):
    result = config_lib.override(config, pairs)
    if result['model']['pooling'] == 'none':
      result['model']['overlap'] = False
    return result

  text = cases.message(
    'factorial', cases.POOLING, cases.OVERLAP._replace(requires=()), override=override
  )
  assert text.startswith(
    'arms pooling=none and pooling=none,overlap=False are the same model'
  )


def test_explosion_is_counted():
  many = [factors.factor(f'f{i}', f'model.x{i}', 0, 1) for i in range(9)]
  assert cases.message('factorial', *many) == (
    'design factorial: 512 arms, more than 256 (9 factors); select factors '
    '(study.only=f0,f1), give them fewer levels, or use design one_out (10 arms) or '
    'ladder (10 arms) or fraction (32 arms) or permutations (62 arms)'
  )
  long = factors.factor('long', 'model.x0', *range(300))
  assert cases.message('one_out', long) == (
    'design one_out: 300 arms, more than 256 (1 factor); select factors '
    '(study.only=long), give them fewer levels'
  )
  wide = [factors.factor(f'f{i}', f'model.x{i}', *range(9)) for i in range(9)]
  assert '387420489 arms' in cases.message('factorial', *wide)
  # What requires merges is not counted: 1 + 2^7 combinations are left of 2^8.
  tree = [many[0], *(f._replace(requires=('f0',)) for f in many[1:8])]
  assert len(cases.expand('factorial', *tree).arms) == 129
