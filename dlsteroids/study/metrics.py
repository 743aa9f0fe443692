"""What the name of a metric says about its unit."""

_INFORMATION = ('nats', 'bits', 'perplexity')  # of one symbol on average


def base_name(column: str) -> str:
  """'accuracy' of 'test/accuracy' and of 'final/test/accuracy'."""
  return column.rsplit('/', 1)[-1]


def is_share(column: str) -> bool:
  """Whether a metric or its column is a share of examples, in [0, 1]."""
  return base_name(column).endswith(('accuracy', 'error_rate'))


def is_information(column: str) -> bool:
  """Whether a metric or its column measures how unexpected a symbol is on average."""
  return base_name(column) in _INFORMATION
