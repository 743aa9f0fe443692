"""Figures of the report.

They are drawn on matplotlib's objects and never shown, so no backend of pyplot is
needed. A notebook's MPLBACKEND may name one that is not installed here, or nothing at
all; on import matplotlib would refuse that.
"""

import contextlib
import os
import sys

if 'matplotlib' not in sys.modules:
  _backend = os.environ.pop('MPLBACKEND', None)
  try:
    import matplotlib
  finally:
    if _backend is not None:
      os.environ['MPLBACKEND'] = _backend
  if _backend is not None:
    with contextlib.suppress(ValueError):
      matplotlib.rcParams['backend'] = _backend  # for plots of the user's own
