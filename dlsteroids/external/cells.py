"""Cells of a table: numbers, numbers that are not finite, and cells left empty."""

import math
from typing import Any

import pandas as pd

EMPTY = ('', 'none', 'null', 'n/a', '#n/a', 'na', '<na>', '-', '--')


def is_empty(cell: Any) -> bool:
  """Whether a cell holds nothing; a NaN is a number that is not finite."""
  if cell is None or cell is pd.NA or cell is pd.NaT:
    return True
  return isinstance(cell, str) and cell.strip().lower() in EMPTY


def number(cell: Any) -> float | None:
  """A cell's number, infinities and NaN included; None of an empty cell.

  Raises:
    ValueError: a cell of text.
  """
  if is_empty(cell):
    return None
  if isinstance(cell, str):
    text = cell.strip()
    if text.endswith('%'):
      return float(text[:-1]) / 100
    return float(text)
  if isinstance(cell, bool):
    return float(cell)
  try:
    return float(cell)
  except TypeError as error:
    raise ValueError(str(cell)) from error


def is_percent(cell: Any) -> bool:
  """Whether a cell is text such as '91.2%'."""
  return isinstance(cell, str) and cell.rstrip().endswith('%')


def is_number(cell: Any) -> bool:
  """Whether `number` reads a cell that is not empty."""
  try:
    return number(cell) is not None
  except ValueError:
    return False


def label(cell: Any) -> str:
  """A cell as a seed or a status: as `text`, '' also of 'none' and the like."""
  return '' if is_empty(cell) else text(cell)


def text(cell: Any) -> str:
  """A cell as a name: '3' of 3.0, '' of a blank cell or of a frame's NaN.

  Words that stand for no number, such as 'none', are names: of an arm without a norm.
  """
  if not isinstance(cell, str) and is_empty(cell):
    return ''
  if isinstance(cell, float) and math.isnan(cell):
    return ''
  if isinstance(cell, float) and math.isfinite(cell) and cell == int(cell):
    return str(int(cell))
  return ' '.join(str(cell).split())
