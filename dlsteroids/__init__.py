"""Ablation studies with evidence; see README.md."""

__version__ = '0.1.0'


def run(config, workdir, **options):
  """Plans, trains what is missing, reports; see `dlsteroids.launch.study.run`."""
  from dlsteroids.launch import study

  return study.run(config, workdir, **options)


def check(module):
  """What is wrong with a plug-in; see `dlsteroids.launch.check.check`."""
  from dlsteroids.launch.check import check as check_module

  return check_module(module)
