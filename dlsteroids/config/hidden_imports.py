"""Ways to run code that no import statement shows, and what of it can be followed."""

import ast
from typing import Any

IMPORTERS = ('import_module', '__import__')
BUILTINS = ('exec', 'eval', '__import__')
UNREADABLE = (
  *('exec', 'exec_module', 'load_module', 'load_source', 'spec_from_file_location'),
  *('run_path', 'run_module', 'resolve_name', 'zipimporter'),
  *('SourceFileLoader', 'SourcelessFileLoader', 'ExtensionFileLoader', 'LazyLoader'),
)
NAMES = {*IMPORTERS, *UNREADABLE, *BUILTINS}
READERS = {'open', 'read', 'read_text', 'read_bytes', 'load', 'loads', 'get_data'}


def renamed(tree: ast.AST) -> dict[str, str]:
  """The members of `NAMES` that a module imports, by the local name they have."""
  return {
    alias.asname or alias.name: alias.name
    for node in ast.walk(tree)
    if isinstance(node, ast.ImportFrom) and not node.level
    for alias in node.names
    if alias.name in NAMES
  }


def name_of(node: ast.expr, local: dict[str, str]) -> str:
  """The member of `NAMES` that an expression stands for, or ''.

  Methods of other objects may be called `eval` and `exec`.
  """
  if isinstance(node, ast.Name):
    return local.get(node.id, node.id if node.id in BUILTINS else '')
  if isinstance(node, ast.Attribute) and node.attr in NAMES:
    owner = getattr(node.value, 'id', '')
    if node.attr not in ('exec', 'eval') or owner in ('builtins', '__builtins__'):
      return node.attr
  return ''


def target(call: ast.Call) -> tuple[ast.expr | None, str | None]:
  """What a call of `import_module` imports, and from which package.

  The package is '' for the module's own and None for one that is computed.
  """
  named = {key.arg: key.value for key in call.keywords}
  name = call.args[0] if call.args else named.get('name')
  package = call.args[1] if len(call.args) > 1 else named.get('package')
  own = package is None or getattr(package, 'id', '') in ('__package__', '__name__')
  return name, '' if own else text_of(package)


def text_of(node: ast.expr | None) -> str | None:
  """The text of a constant, else None."""
  value = node.value if isinstance(node, ast.Constant) else None
  return value if isinstance(value, str) else None


def hides(call: ast.Call, name: str) -> str:
  """Why code that a call runs would escape, or ''.

  Args:
    call: of `exec`, `eval`, `getattr` or one of `UNREADABLE`.
    name: which of these, as `name_of` gives it.
  """
  if name == 'getattr':
    wanted = text_of(call.args[1]) if len(call.args) > 1 else None
    return f'getattr takes {wanted} from a module' if wanted in NAMES else ''
  reason = f'{name}(...) runs code that no import shows'
  if name not in ('exec', 'eval'):
    return reason
  text = text_of(call.args[0]) if call.args else None
  if text is not None:
    return reason if _imports(text) else ''
  return reason if name == 'exec' or _reads(call) else ''


def _imports(text: str) -> bool:
  """Whether source imports anything, or runs further code."""
  try:
    nodes = list(ast.walk(ast.parse(text.strip())))
  except SyntaxError:
    return False
  statements = (ast.Import, ast.ImportFrom)
  return any(isinstance(node, statements) or _names(node) for node in nodes)


def _names(node: Any) -> bool:
  return isinstance(node, ast.expr) and bool(name_of(node, {}))


def _reads(call: ast.Call) -> bool:
  """Whether the source that a call evaluates comes from a file."""
  return any(
    getattr(node.func, 'attr', getattr(node.func, 'id', '')) in READERS
    for argument in call.args[:1]
    for node in ast.walk(argument)
    if isinstance(node, ast.Call)
  )
