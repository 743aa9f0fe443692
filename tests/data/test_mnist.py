"""Real data: a small CNN and the perceptron of the sixties on MNIST, over three seeds.

Oracle: published results of the kind (LeCun et al. 1998, table 1: 2-layer nets of 300
hidden units 4.7 % error, LeNet-4 1.1 %), at our few epochs.
"""

import os
import pathlib

import pytest

import dlsteroids
from dlsteroids import config as config_lib
from dlsteroids.study import factors

DATA = pathlib.Path(os.environ.get('DLSTEROIDS_DATA', 'nowhere')) / 'mnist'


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason='needs MNIST in $DLSTEROIDS_DATA/mnist')
def test_the_cnn_reaches_99_percent_and_the_perceptron_stays_clearly_below(tmp_path):
  config = config_lib.base(model='cnn', data='mnist')
  config.study.name = 'mnist_test'
  config.study.seeds = 3
  config.model.widths = (32, 64)
  config.optimizer.learning_rate = 0.02
  config.model.norm = 'batch'
  config.model.dropout = 0.25
  config.train.steps = 5000
  config.train.batch_size = 64
  config.train.evaluations = 2
  config.train.eval_batch = 1000
  perceptron = {
    'model.name': 'mlp',
    'model.activation': 'sigmoid',
    'model.norm': 'none',
    'model.dropout': 0.0,
  }
  network = factors.levels(
    'network', {'cnn': {'model.name': 'cnn'}, 'perceptron': perceptron}
  )
  answer = dlsteroids.run(config, tmp_path / 'study', factors=(network,), say=print)
  scores = answer.runs.pivot_table(index='seed', columns='arm', values='test/accuracy')
  cnn, sigmoid = scores['baseline'], scores['network=perceptron']
  assert len(scores) == 3
  assert cnn.mean() >= 0.99
  assert (cnn >= 0.988).all()
  assert (sigmoid > 0.80).all()  # it learns
  assert (cnn - sigmoid > 0.02).all()
