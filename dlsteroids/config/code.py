"""The code a run depends on, as digests of syntax trees."""

import ast
import functools
import hashlib
import importlib.util
import pathlib
from collections.abc import Iterable


def digests(names: Iterable[str]) -> dict[str, str]:
  """Digest of the code of modules and of the first-party modules they import.

  First-party: dlsteroids and the top-level packages of `names`. The digest is of the
  syntax tree without comments and docstrings, so only changes of code count.
  """
  names = list(names)
  packages = {'dlsteroids', *(name.partition('.')[0] for name in names)}
  found: dict[str, str] = {}
  while names:
    name = names.pop()
    if name in found or name == 'dlsteroids' or name.partition('.')[0] not in packages:
      continue
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin or not spec.origin.endswith('.py'):
      continue
    is_package = spec.submodule_search_locations is not None
    text = pathlib.Path(spec.origin).read_bytes()
    found[name], imports = read(text, name, is_package)
    names += [m for m in imports if exists(m)]
    if '.' in name:
      names.append(name.rpartition('.')[0])
  return dict(sorted(found.items()))


@functools.cache
def read(text: bytes, name: str, is_package: bool) -> tuple[str, list[str]]:
  """Digest of the code of a module, and the names that it imports."""
  tree = strip_docstrings(ast.parse(text))
  digest = hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:32]
  return digest, imported(tree, name, is_package)


def exists(name: str) -> bool:
  try:
    return importlib.util.find_spec(name) is not None
  except (ImportError, AttributeError, ValueError):
    return False


def imported(tree: ast.AST, name: str, is_package: bool) -> list[str]:
  """Absolute names of everything a module's syntax tree imports."""
  names = []
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      parent = node.module or ''
      if node.level:
        up = node.level - 1 if is_package else node.level
        stem = name.rsplit('.', up)[0] if up else name
        parent = f'{stem}.{node.module}' if node.module else stem
      names += [parent, *(f'{parent}.{alias.name}' for alias in node.names)]
  return names


def strip_docstrings(tree: ast.AST) -> ast.AST:
  for node in ast.walk(tree):
    body = getattr(node, 'body', None)
    if (
      isinstance(
        node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
      )
      and body
      and isinstance(body[0], ast.Expr)
      and isinstance(body[0].value, ast.Constant)
      and isinstance(body[0].value.value, str)
    ):
      node.body = body[1:] or [ast.Pass()]
  return tree
