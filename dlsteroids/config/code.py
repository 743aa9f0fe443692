"""The code that a run depends on, as digests of what it says, not of where it lies.

Every first-party module that a run can reach counts: dlsteroids itself, the user's
plug-ins and whatever they import outside the standard library and site-packages.
Comments, docstrings, layout, file names, the names of first-party modules and the table
of the options that enter no fingerprint do not count, so moving or renaming a module
leaves stored runs valid:

- a module's own digest is of its syntax tree, in which every name bound by a
  first-party import is a placeholder, numbered by first use;
- a run's digest follows from those of its modules by Weisfeiler-Lehman refinement of
  the import graph: each round hashes a module with the digests of what its
  placeholders stand for.

A module without source (`__main__` of a notebook or of standard input) is read from
memory: bytecode, constants and whatever global values they name.
"""

import ast
import functools
import hashlib
import importlib.machinery
import importlib.util
import pathlib
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dlsteroids.config import digests as digests_lib
from dlsteroids.config import hidden_imports, interactive, launch_options, plugins
from dlsteroids.util import environment, errors

VERSIONED = environment.LIBRARIES  # their versions are provenance
INERT = (launch_options.__name__,)  # what they say changes no run's result
LIBRARY = {sysconfig.get_path('stdlib'), sysconfig.get_path('platstdlib')}


class Module(NamedTuple):
  """What a module says.

  Attributes:
    own: digest of its syntax tree.
    used: first-party modules that its placeholders stand for, in their order.
    others: further ones that it executes: packages above, star imports, unused ones.
  """

  own: str
  used: tuple[str, ...] = ()
  others: tuple[str, ...] = ()


class Code(NamedTuple):
  """The code that a run depends on.

  Attributes:
    digest: of all of it, independent of names.
    modules: digest of each module on its own, by name, to say which one changed.
  """

  digest: str
  modules: Mapping[str, str]


def read(names: Iterable[str]) -> Code:
  """The code of modules, or of functions in them, and of all that they import.

  A function of a module with source stands for the whole module.

  Raises:
    UserError: for code that cannot be read, or that runs code which imports do not
      show.
  """
  names = [name for name in names if name.partition('.')[0] not in VERSIONED]
  roots = frozenset(name.partition('.')[0] for name in names)
  homes = [module_of(name, undotted=True) or name for name in names]
  functions: dict[str, set[str]] = {}
  for home, name in zip(homes, names):
    functions.setdefault(home, set()).add(name[len(home) + 1 :])
  modules: dict[str, Module] = {}
  todo = list(homes)
  while todo:
    name = todo.pop()
    if name not in modules:
      modules[name] = _read_module(name, roots, functions.get(name, {''}))
      todo += [*modules[name].used, *modules[name].others]
  values = refine(modules)
  total = digests_lib.digest([values.get(home, '') for home in homes])
  own = {name: module.own for name, module in modules.items() if module.own}
  return Code(total, dict(sorted(own.items())))


def refine(modules: Mapping[str, Module]) -> dict[str, str]:
  """The digest of each module with all that it reaches; none of empty packages."""
  full = dict(modules)
  while empty := [
    name
    for name, module in full.items()
    if not (module.own or module.used or full.keys() & {*module.others})
  ]:
    for name in empty:
      del full[name]
  values = {name: module.own for name, module in full.items()}
  for _ in full:  # no path is longer
    values = {
      name: digests_lib.digest(
        [
          module.own,
          [values.get(other, '') for other in module.used],
          sorted({values[other] for other in module.others if other in values}),
        ]
      )
      for name, module in full.items()
    }
  return values


def exists(name: str) -> bool:
  """Whether a dotted name is a module; nothing is executed for it."""
  return name in sys.modules or _spec(name) is not None


def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
  """Where a module comes from, without importing its parents."""
  parent, _, _ = name.rpartition('.')
  try:
    if not parent:
      loaded = getattr(sys.modules.get(name), '__spec__', None)
      return loaded or importlib.util.find_spec(name)
    package = _spec(parent)
    if package is None or package.submodule_search_locations is None:
      return None
    return importlib.machinery.PathFinder.find_spec(
      name, package.submodule_search_locations
    )
  except (ImportError, AttributeError, ValueError):
    return None


def is_first_party(name: str, roots: frozenset[str] = frozenset()) -> bool:
  """Whether a module is neither of the standard library nor of an installed package.

  dlsteroids and the packages `roots` are first-party wherever they are installed.
  """
  top = name.partition('.')[0]
  if top in roots or top in ('dlsteroids', '__main__'):
    return True
  if top in sys.stdlib_module_names and not _is_shadowed(top):
    return False
  spec = _spec(top)
  if spec is None:
    return False
  places = [spec.origin or '', *(spec.submodule_search_locations or ())]
  parts = {part for place in places for part in pathlib.Path(place).parts}
  built_in = spec.origin in ('built-in', 'frozen')
  return not built_in and not parts & {'site-packages', 'dist-packages'}


@functools.cache
def _is_shadowed(top: str) -> bool:
  """Whether a file of the user's stands for a module of the standard library."""
  spec = _spec(top)
  if spec is None or not spec.has_location or not spec.origin:
    return False
  place = pathlib.Path(spec.origin)
  zipped = any(part.endswith('.zip') for part in place.parts)
  return not zipped and not any(place.is_relative_to(path) for path in LIBRARY)


def _read_module(name: str, roots: frozenset[str], functions: set[str]) -> Module:
  """What one module says; nothing for a folder without `__init__.py`.

  Args:
    name: of the module.
    roots: see `is_first_party`.
    functions: those of it that count, '' for all of a plug-in, if it has no source.
  """
  if name in INERT:
    return Module('')
  spec = _spec(name) if name != '__main__' else None
  origin = spec.origin if spec else None
  # Importing a.b executes a, too. The packages of dlsteroids are none that matter.
  is_users = '.' in name and not name.startswith('dlsteroids.')
  above = (name.rpartition('.')[0],) if is_users else ()
  if spec is not None and origin is None and spec.submodule_search_locations:
    return Module('', (), above)
  if origin is None or not pathlib.Path(origin).is_file():
    if name not in sys.modules:
      raise errors.UserError(
        f'module {name} cannot be read, so its runs have no digest'
      )
    own, used = interactive.read(
      sys.modules[name], functions, lambda other: is_first_party(other, roots)
    )
    return Module(own, used, above)
  data = pathlib.Path(origin).read_bytes()
  if not origin.endswith('.py'):  # compiled
    return Module(hashlib.sha256(data).hexdigest()[:32], (), above)
  is_package = spec is not None and spec.submodule_search_locations is not None
  module = _parse(data, name, origin, is_package, roots)
  return module._replace(others=(*module.others, *above))


@functools.lru_cache(4096)
def _parse(
  data: bytes, name: str, origin: str, is_package: bool, roots: frozenset[str]
) -> Module:
  """What the source of a module says."""
  tree = ast.parse(data, origin)
  reader = _Reader(name, is_package, roots)
  reader.bind(tree)
  tree = reader.visit(_without_docs(tree))
  text = ast.unparse(ast.fix_missing_locations(tree))
  # Others may import from here what is imported here.
  for local, (target, attribute) in sorted(reader.bound.items()):
    if attribute:
      text += f'\n{local} = {reader.placeholder(target, attribute).id}'
  says = text or reader.modules
  own = hashlib.sha256(text.encode()).hexdigest()[:32] if says else ''
  others = {other for other in reader.modules if other not in reader.order}
  return Module(own, tuple(reader.order), tuple(sorted(others)))


class _Reader(ast.NodeTransformer):
  """Replaces names bound by first-party imports by numbered placeholders.

  Attributes:
    modules: the first-party modules that are imported in any way.
    bound: module and attribute (or '') by the local name that stands for them.
    dotted: modules imported by `import a.b`, which are used by that name.
    order: modules by placeholder.
    hidden: what runs code that no import shows, by its local name.
    called: ids of the expressions that are called.
  """

  def __init__(self, name: str, is_package: bool, roots: frozenset[str]):
    self.name, self.is_package, self.roots = name, is_package, roots
    self.modules: set[str] = set()
    self.bound: dict[str, tuple[str, str]] = {}
    self.ambiguous: set[str] = set()
    self.dotted: set[str] = set()
    self.order: list[str] = []
    self.hidden: dict[str, str] = {}
    self.called: set[int] = set()

  def bind(self, tree: ast.AST) -> None:
    """Collects what the imports of a syntax tree bind, inside functions too."""
    self.hidden = hidden_imports.renamed(tree)
    for node in ast.walk(tree):
      if isinstance(node, ast.Import):
        for alias in node.names:
          if self._is_module(alias.name):
            self.modules.add(alias.name)
            if alias.asname or '.' not in alias.name:
              self._bind(alias.asname or alias.name, alias.name, '')
            else:
              self.dotted.add(alias.name)
      elif isinstance(node, ast.ImportFrom):
        parent = self._absolute('.' * node.level + (node.module or ''))
        for alias in node.names:
          whole = f'{parent}.{alias.name}'
          if alias.name != '*' and self._is_module(whole):
            self.modules.add(whole)
            self._bind(alias.asname or alias.name, whole, '')
          elif self._is_module(parent):
            self.modules.add(parent)
            if alias.name != '*':
              self._bind(alias.asname or alias.name, parent, alias.name)

  def _bind(self, local: str, module: str, attribute: str) -> None:
    if self.bound.setdefault(local, (module, attribute)) != (module, attribute):
      self.ambiguous.add(local)  # it stands for two things: it counts as written

  def _is_module(self, name: str) -> bool:
    return name != 'dlsteroids' and is_first_party(name, self.roots) and exists(name)

  def _absolute(self, name: str) -> str:
    """The full name of '..sibling' from this module."""
    level = len(name) - len(name.lstrip('.'))
    if not level:
      return name
    up = level - 1 if self.is_package else level
    stem = self.name.rsplit('.', up)[0] if up else self.name
    return '.'.join(filter(None, (stem, name[level:])))

  def placeholder(self, module: str, attribute: str = '') -> ast.Name:
    if module not in self.order:
      self.order.append(module)
    suffix = f'.{attribute}' if attribute else ''
    return ast.Name(f'§{self.order.index(module)}{suffix}', ast.Load())

  def visit_Import(self, node: ast.Import) -> Any:
    node.names = [alias for alias in node.names if not self._replaced(alias)]
    return node if node.names else None

  def _replaced(self, alias: ast.alias) -> bool:
    return alias.name in self.modules and alias.asname not in self.ambiguous

  def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
    parent = self._absolute('.' * node.level + (node.module or ''))
    ours = parent in self.modules or any(
      f'{parent}.{alias.name}' in self.modules for alias in node.names
    )
    names = {alias.asname or alias.name for alias in node.names}
    return None if ours and not names & self.ambiguous else node

  def visit_Name(self, node: ast.Name) -> Any:
    if node.id in self.bound and node.id not in self.ambiguous:
      return self.placeholder(*self.bound[node.id])
    self._check_reference(node)
    return node

  def visit_Attribute(self, node: ast.Attribute) -> Any:
    self._check_reference(node)
    parts, inner = [node.attr], node.value
    while isinstance(inner, ast.Attribute):
      parts, inner = [inner.attr, *parts], inner.value
    if isinstance(inner, ast.Name) and '.'.join([inner.id, *parts]) in self.dotted:
      return self.placeholder('.'.join([inner.id, *parts]))
    return self.generic_visit(node)

  def visit_Call(self, node: ast.Call) -> Any:
    self.called.add(id(node.func))
    name = hidden_imports.name_of(node.func, self.hidden)
    if name in hidden_imports.IMPORTERS:
      target, package = hidden_imports.target(node)
      text = hidden_imports.text_of(target)
      if text is not None and package is not None:
        module = self._absolute(text)
        if text.startswith('.') and package:
          module = importlib.util.resolve_name(text, package)
        if self._is_module(module):
          return self.placeholder(module)
      elif target is not None and self._is_users():
        self._add_all(node, target)
    elif name or getattr(node.func, 'id', '') == 'getattr':
      reason = hidden_imports.hides(node, name or 'getattr')
      if reason and self._is_users():
        self._refuse(node, reason)
    return self.generic_visit(node)

  def visit_Subscript(self, node: ast.Subscript) -> Any:
    text = hidden_imports.text_of(node.slice)
    if text and ast.unparse(node.value) == 'sys.modules' and self._is_module(text):
      return self.placeholder(text)
    return self.generic_visit(node)

  def _is_users(self) -> bool:
    return not self.name.startswith('dlsteroids.') and is_first_party(self.name)

  def _check_reference(self, node: ast.Name | ast.Attribute) -> None:
    """Refuses `load = importlib.import_module`: what is loaded later is not visible."""
    name = hidden_imports.name_of(node, self.hidden)
    if name and id(node) not in self.called and self._is_users():
      self._refuse(node, f'{name} is passed on, and what it runs is not visible')

  def _add_all(self, node: ast.Call, target: ast.expr) -> None:
    """Counts every module of the package of `import_module(f'mylab.nets.{name}')`."""
    head = target.values[0] if isinstance(target, ast.JoinedStr) else None
    text = str(head.value) if isinstance(head, ast.Constant) else ''
    spec = (
      _spec(self._absolute(text[:-1])) if text.endswith('.') and text[:-1] else None
    )
    folders = spec.submodule_search_locations if spec else None
    if not spec or folders is None:
      self._refuse(node, 'the module that it imports is computed')
    for folder in folders or ():
      for file in pathlib.Path(folder).glob('*.py'):
        if file.stem != '__init__' and spec:
          self.modules.add(f'{spec.name}.{file.stem}')

  def _refuse(self, node: ast.AST, reason: str) -> None:
    raise errors.UserError(
      f'module {self.name}, line {getattr(node, "lineno", "?")}: {reason}, so a change '
      'of it would go unnoticed; import it by its name, as in `import mylab.parts`'
    )


def _without_docs(tree: ast.AST) -> ast.AST:
  """Drops docstrings, and the documentation of options."""
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
    elif isinstance(node, ast.Call) and (
      getattr(node.func, 'attr', getattr(node.func, 'id', '')) == 'Option'
    ):
      node.args[1:2] = [ast.Constant('')] if len(node.args) > 1 else []
      node.keywords = [key for key in node.keywords if key.arg != 'doc']
  return tree


def without_names(config: Mapping[str, Any]) -> dict[str, Any]:
  """A config in which a placeholder stands for every module of the user.

  Which module it is, `read` knows: its roots come in the order of the config.
  """
  return {
    section: {
      key: _without_name(value, key == 'name' and section in plugins.PLUGINS)
      for key, value in values.items()
    }
    for section, values in config.items()
  }


def _without_name(value: Any, is_plugin: bool) -> Any:
  if not isinstance(value, str) or not (is_plugin or '.' in value):
    return value
  parts = []
  for part in value.split(','):
    module = module_of(part.strip(), is_plugin)
    users = module and is_first_party(module) and not module.startswith('dlsteroids.')
    parts.append(f'§{part.strip()[len(module) :]}' if users else part)
  return ','.join(parts)


def module_of(name: str, undotted: bool = False) -> str:
  """The module that a dotted name is, or whose function it is; '' if none."""
  if not all(part.isidentifier() for part in name.split('.')):
    return ''
  if ('.' in name or undotted) and exists(name):
    return name
  parent = name.rpartition('.')[0]
  return parent if parent and exists(parent) else ''
