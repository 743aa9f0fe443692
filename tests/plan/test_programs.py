"""Configs that compile but teach nothing. Oracle: the mean of one example is itself."""

import pytest

from dlsteroids import config as config_lib
from dlsteroids.plan import programs as programs_lib
from dlsteroids.util import errors


def make(model, task, size, **changes):
  tree = config_lib.resolve(config_lib.base(model=model, data='digits', task=task))
  pairs = [(f'model.{name}', value) for name, value in changes.items()]
  pairs += [('data.range', 'tanh')] * (task == 'gan')
  return config_lib.override(tree, [('train.batch_size', size), *pairs])


@pytest.mark.parametrize(
  ('model', 'task', 'changes'),
  [
    ('mlp', 'classify', {'norm': 'batch'}),
    ('cnn', 'classify', {'norm': 'batch', 'widths': (4,), 'hidden': (4,)}),
    (
      'dense_gan',
      'gan',
      {
        'generator_norm': 'batch',
        'generator_hidden': (4,),
        'discriminator_hidden': (4,),
      },
    ),
  ],
)
def test_batch_norm_needs_two_examples(model, task, changes):
  metric = 'accuracy' if task == 'classify' else 'classifier_fid'
  programs = programs_lib.Programs(metric)
  with pytest.raises(errors.UserError, match='batches of one example'):
    programs.add(make(model, task, 1, **changes))
  assert programs.add(make(model, task, 2, **changes)).batch_norm


def test_other_norms_train_on_single_examples():
  programs = programs_lib.Programs('accuracy')
  assert not programs.add(make('mlp', 'classify', 1, norm='layer')).batch_norm
