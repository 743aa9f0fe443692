"""`python -m dlsteroids`: the command line."""

from dlsteroids.cli import command

if __name__ == '__main__':
  command.script()
