"""Published claims as values. Oracle: the values and messages written out by hand."""

import json
import math

import pytest

from dlsteroids.study import claims, factors
from dlsteroids.util import errors

FACTORS = (
  factors.factor('activation', 'model.activation', 'relu', 'tanh', 'identity'),
  factors.factor('dropout', 'model.dropout', 0.5, 0.0),
)
ARMS = ('baseline', 'activation=tanh', 'dropout=0.0', 'lean')
METRICS = ('accuracy', 'loss')


def make(factor='dropout', level='', **changes):
  if not changes.keys() & {'direction', 'number'}:
    changes['direction'] = 'helps'
  return claims.claim('Doe 1999', 'it matters', factor, level, **changes)


def refuse(one):
  with pytest.raises(errors.UserError) as caught:
    claims.check([one], FACTORS, ARMS, METRICS)
  return str(caught.value)


def test_a_claim_is_the_value_written_by_hand():
  made = claims.claim(
    'Srivastava 2014',
    'dropout lowers the error',
    'dropout',
    0.0,
    direction='helps',
    number=0.01,
    metric='accuracy',
    tolerance=0.001,
  )
  assert made == claims.Claim(
    paper='Srivastava 2014',
    claim='dropout lowers the error',
    factor='dropout',
    level='0.0',
    direction='helps',
    number=0.01,
    quantity='delta',
    metric='accuracy',
    arm='',
    reference='',
    tolerance=0.001,
    published_delta=None,
    setting='',
    verified=True,
  )
  hash(made)
  assert claims.Claim(**json.loads(json.dumps(made._asdict()))) == made


@pytest.mark.parametrize(
  'one',
  [
    make(),
    make(level='0.0', metric='loss'),
    make('activation', 'tanh', direction='no difference'),
    make('activation', 'relu', metric='test/accuracy'),  # the level a ladder puts in
    make('lean'),
    make(number=1, quantity='gain'),
    make('', number=0.98, quantity='level'),
    make('activation', number=0.98, quantity='level', arm='activation=tanh'),
    make('activation', 'tanh', number=6.0, quantity='ratio', metric='best_step'),
    make(number=-0.1, metric='final/test/loss', tolerance=0),
    make(arm='activation=identity', reference='bare'),  # not in this selection
  ],
)
def test_what_is_well_said_passes(one):
  claims.check([one], FACTORS, ARMS, METRICS)
  claims.check([one], iter(FACTORS), iter(ARMS), iter(METRICS))


def test_no_claims_pass():
  claims.check((), (), (), ())


def test_unknown_names_are_told_with_the_nearest():
  start = 'claim of Doe 1999 (it matters): '
  assert refuse(make('droput')) == (
    f"{start}unknown factor 'droput' (did you mean 'dropout'?); there are activation, "
    'dropout'
  )
  assert refuse(make('activation', 'tan')) == (
    f"{start}unknown level 'tan' of activation (did you mean 'tanh'?); it has relu, "
    'tanh, identity'
  )
  assert refuse(make(metric='acuracy')) == (
    f"{start}unknown metric 'acuracy' (did you mean 'accuracy'?); there are accuracy, "
    'loss'
  )
  assert refuse(make(metric='best_step')) == (
    f"{start}unknown metric 'best_step'; there are accuracy, loss"
  )
  assert refuse(make(number=2.0, quantity='ratio', metric='best_stp')) == (
    f"{start}unknown metric 'best_stp' (did you mean 'best_step'?); there are "
    'accuracy, loss, steps, params, flops, wall_s, best_step, reach_step'
  )
  assert refuse(make(arm='dropout=0')) == (
    f"{start}unknown arm 'dropout=0' (did you mean 'dropout=0.0'?); there are "
    'baseline, activation=tanh, dropout=0.0, lean'
  )
  assert refuse(make(reference='base')).startswith(f"{start}unknown reference 'base'")


def test_levels_must_say_which():
  assert refuse(make('activation')).endswith(
    ': activation has more than two levels; name one of relu, tanh, identity'
  )
  assert refuse(make('lean', 'x')).endswith(": level 'x' has no place, lean is an arm")
  assert refuse(make('')).endswith("unknown factor ''; there are activation, dropout")


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'direction': 'help'},
      "unknown direction 'help' (did you mean 'helps'?); use helps, hurts, no "
      'difference',
    ),
    (
      {'direction': None},
      'unknown direction None; use helps, hurts, no difference',
    ),
    (
      {'quantity': 'gains'},
      "unknown quantity 'gains' (did you mean 'gain'?); use delta, gain, level, ratio",
    ),
    (
      {'direction': ''},
      'it needs a direction (helps, hurts, no difference) or a number',
    ),
    ({'number': math.nan}, 'number is a finite number, not nan'),
    ({'number': '6x'}, "number is a finite number, not '6x'"),
    ({'number': True}, 'number is a finite number, not True'),
    (
      {'number': 1.0, 'tolerance': math.inf},
      'tolerance is a finite number, not inf',
    ),
    (
      {'number': 1.0, 'tolerance': -0.1},
      'tolerance=-0.1 is at least 0 and belongs to a number',
    ),
    ({'tolerance': 0.1}, 'tolerance=0.1 is at least 0 and belongs to a number'),
    ({'number': 0.0, 'quantity': 'ratio'}, 'a ratio is above 0, not 0.0'),
    ({'number': -2.0, 'quantity': 'gain'}, 'a gain is above 0, not -2.0'),
    (
      {'number': 1.0, 'quantity': 'level', 'direction': 'helps'},
      "quantity 'level' is an arm's own value: a number and no direction",
    ),
    (
      {'quantity': 'level'},
      "quantity 'level' is an arm's own value: a number and no direction",
    ),
    ({'metric': None}, "metric is a name or '', not None"),
    ({'arm': 3}, "arm is a name or '', not 3"),
    ({'setting': 'two\nlines'}, "setting is one line of text, not 'two\\nlines'"),
    ({'setting': None}, 'setting is one line of text, not None'),
    ({'verified': 'no'}, "verified is True or False, not 'no'"),
    ({'published_delta': math.inf}, 'published_delta is a finite number, not inf'),
    (
      {'number': 1.0, 'published_delta': 1.0},
      'a number that decides and a published_delta that does not; use one',
    ),
    (
      {'published_delta': 2.0, 'quantity': 'gain'},
      "a published_delta goes with quantity 'delta', not 'gain'",
    ),
  ],
)
def test_what_is_wrong_with_a_claim_alone(changes, message):
  with pytest.raises(errors.UserError) as caught:
    make(**changes)
  assert str(caught.value) == f'claim of Doe 1999 (it matters): {message}'
  # and however it was made
  plain = {'direction': 'helps'} if 'number' not in changes else {}
  one = claims.Claim('Doe 1999', 'it matters', 'dropout', **{**plain, **changes})
  assert refuse(one) == str(caught.value)


@pytest.mark.parametrize('text', ['', ' ', 'two\nlines', None])
def test_papers_and_claims_are_a_line_each(text):
  with pytest.raises(errors.UserError, match='claim: paper is one line of text'):
    claims.claim(text, 'it matters', 'dropout', direction='helps')
  with pytest.raises(errors.UserError, match='claim: claim is one line of text'):
    claims.claim('Doe 1999', text, 'dropout', direction='helps')
