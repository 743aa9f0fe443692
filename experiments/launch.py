"""Launches a study: python -m experiments.launch --config=configs/digits_cnn.py"""

import sys

from dlsteroids.launch import command


def main() -> None:
  """The console script `dlsteroids`; never returns."""
  sys.exit(command.main(sys.argv))


if __name__ == '__main__':
  main()
