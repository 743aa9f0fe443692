"""Digests of jaxprs: equal where the same equations run on the same shapes."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core

_ADDRESS = re.compile(r'0x[0-9a-f]+')


def compute(jaxpr: Any) -> str:
  """The digest of a closed jaxpr and its constants, free of names and addresses.

  Of text that is written here: JAX's own printer takes a tenth of planning, and prints
  a jaxpr that caches made two equations share otherwise than two equal ones.
  """
  return _Digests().of_closed(jaxpr)


class _Digests:
  """Digests of the jaxprs inside one, each computed once."""

  def __init__(self) -> None:
    self._inner: dict[int, str] = {}

  def of_closed(self, jaxpr: Any) -> str:
    digest = hashlib.sha256(self._of(jaxpr.jaxpr).encode())
    for const in jaxpr.consts:
      digest.update(np.asarray(const).tobytes())
    return digest.hexdigest()[:32]

  def _of(self, jaxpr: Any) -> str:
    key = id(jaxpr)  # all live as long as the outermost
    if key not in self._inner:
      text = '\n'.join(self._lines(jaxpr))
      self._inner[key] = hashlib.sha256(text.encode()).hexdigest()[:32]
    return self._inner[key]

  def _lines(self, jaxpr: Any) -> list[str]:
    numbers: dict[Any, int] = {}

    def bind(variables: Sequence[Any]) -> str:
      for variable in variables:
        numbers[variable] = len(numbers)
      return ' '.join(variable.aval.str_short(True) for variable in variables)

    def read(atoms: Sequence[Any]) -> str:
      return ' '.join(
        _literal(atom) if isinstance(atom, core.Literal) else str(numbers[atom])
        for atom in atoms
      )

    lines = [bind(jaxpr.constvars), bind(jaxpr.invars)]
    for equation in jaxpr.eqns:
      inputs = read(equation.invars)
      params = self._params(equation.params) if equation.params else ''
      lines.append(
        f'{equation.primitive.name} {params} {inputs} -> {bind(equation.outvars)}'
      )
    lines.append(read(jaxpr.outvars))
    return lines

  def _params(self, params: dict[str, Any]) -> str:
    parts = [f'{name}={self._value(params[name])}' for name in sorted(params)]
    text = ' '.join(parts)
    return _ADDRESS.sub('', text) if '0x' in text else text

  def _value(self, value: Any) -> str:
    if value is None or isinstance(value, int | str):
      return str(value)
    if isinstance(value, core.ClosedJaxpr):
      return self.of_closed(value)
    if isinstance(value, core.Jaxpr):
      return self._of(value)
    if isinstance(value, tuple | list):
      return f'({",".join(map(self._value, value))})'
    if isinstance(value, frozenset):
      return f'({",".join(sorted(map(repr, value)))})'
    return str(value)


def _literal(literal: Any) -> str:
  value = np.asarray(literal.val)
  return f'{literal.aval.str_short(True)}:{value.tobytes().hex()}'
