"""Ablation studies with evidence; see README.md."""

__version__ = '0.1.0'


def run(config, workdir, **options):
  """Plans, trains what is missing, reports; see `dlsteroids.run.launch.run`."""
  from dlsteroids.run import launch

  return launch.run(config, workdir, **options)


def check(module):
  """What is wrong with a plug-in; see `dlsteroids.plan.check.check`."""
  from dlsteroids.plan.check import check as check_module

  return check_module(module)
