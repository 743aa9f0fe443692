"""Launches a study: python -m experiments.launch --config=configs/digits_cnn.py"""

from dlsteroids.cli import command

if __name__ == '__main__':
  command.script()
