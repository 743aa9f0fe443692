"""Programs: traced once a machine; configs that compile but teach nothing.

Oracles: a trace; the mean of one example is itself.
"""

import jax
import pytest

from dlsteroids import config as config_lib
from dlsteroids.config import code as code_lib
from dlsteroids.plan import code_cache, facts_cache
from dlsteroids.plan import programs as programs_lib
from dlsteroids.train import inspect
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


def test_facts_are_traced_once_a_machine_and_again_for_other_code(
  monkeypatch, tmp_path
):
  monkeypatch.setenv('DLSTEROIDS_CACHE', str(tmp_path))
  config = config_lib.resolve(config_lib.base(model='mlp', data='digits'))
  traces, results = [], []

  def describe(*args, trace=inspect.describe):
    traces.append(args)
    results[:] = results or [trace(*args)]  # as every trace of these would be
    return results[0]

  monkeypatch.setattr(inspect, 'describe', describe)
  first, second = (programs_lib.Programs('accuracy') for _ in range(2))
  facts = first.add(config)
  assert second.add(config) == facts
  assert len(traces) == 1
  (member,) = second.members.values()
  assert member.scalars == list(facts.scalars)  # without a trace of the step

  (entry,) = (tmp_path / facts_cache.FOLDER).iterdir()
  text, count = entry.read_text(), str(facts.params)
  assert text.count(f' {count},') == 1
  for damaged in (text[:-2], text.replace(f' {count},', f' 1{count},')):
    entry.write_text(damaged)  # traced again
    traces.clear()
    assert programs_lib.Programs('accuracy').add(config) == facts
    assert len(traces) == 1

  changes = [
    (facts_cache, 'START', 0.0),  # code may be edited since
    (facts_cache, 'installed', lambda: ['einops-0.9.dist-info']),
    (code_cache, 'read', lambda names: code_lib.Code('another digest', {})),
  ]
  for place, name, value in changes:
    traces.clear()
    with monkeypatch.context() as patch:
      patch.setattr(place, name, value)
      assert programs_lib.Programs('accuracy').add(config) == facts
    assert len(traces) == 1
  traces.clear()
  with jax.default_matmul_precision('highest'):
    programs_lib.Programs('accuracy').add(config)
  assert len(traces) == 1
