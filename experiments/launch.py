"""Launches a study: python -m experiments.launch --config=configs/digits_cnn.py"""

import os
import sys

from dlsteroids.cli import command


def main() -> None:
  """The console script `dlsteroids`; never returns."""
  code = command.main(sys.argv)
  if code > 128:  # by a signal: a program that still compiles would hold the exit
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


if __name__ == '__main__':
  main()
