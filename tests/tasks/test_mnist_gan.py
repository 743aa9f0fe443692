"""A DCGAN on MNIST draws every digit in every seed; without batch norm it is worse.

Oracle: real images against real ones, on the classifier that comes with the package.
"""

import os
import pathlib

import numpy as np
import pytest

from dlsteroids import config as config_lib
from tests.fixtures import tiny
from tests.test_configs import load

DATA = pathlib.Path(os.environ.get('DLSTEROIDS_DATA', 'nowhere')) / 'mnist'
TIMES = 400  # the floor, which is 0.15; with only 600 steps of a narrow net


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason='needs $DLSTEROIDS_DATA/mnist')
def test_all_digits_are_drawn_and_batch_norm_matters():
  intact = config_lib.resolve(load('dcgan_mnist.py').get_config())
  dataset = config_lib.find('data', 'mnist').load(intact['data'])
  distances = {}
  for norm in ('batch', 'none'):
    config = config_lib.override(intact, [('model.generator_norm', norm)])
    bench = tiny.make_bench(config, 'map', 2, devices=2, dataset=dataset)
    result = bench.train(
      [bench.slot(seed) for seed in range(3)], deciding='classifier_fid'
    )
    values = [record['values'] for record in result.records.values()]
    distances[norm] = [value['test/classifier_fid'] for value in values]
    if norm == 'batch':
      assert [value['test/classes'] for value in values] == [10.0] * 3
  print(distances)
  floor = bench.program.member.task.references['real against real']
  assert max(distances['batch']) <= TIMES * floor['test/classifier_fid']
  pairs = list(zip(distances['batch'], distances['none']))
  assert all(worse > better for better, worse in pairs)
  assert np.mean(distances['none']) > 1.1 * np.mean(distances['batch'])
