"""Tables of runs as other tools write them, read into one long table.

Recognised by their columns or files:

    wandb        the runs table of the W&B page: 'Name', 'State' and more; and the
                 frame of W&B's export guide: 'summary', 'config', 'name'
    wandb chart  a panel of the W&B page: 'Step', '<run> - <metric>', '…__MIN', '…__MAX'
    mlflow       mlflow.search_runs(): 'run_id', 'metrics.…', 'params.…', 'tags.…'; and
                 the CSV of MLflow's page: 'Start Time', 'Duration', 'Run ID', …
    tensorboard  a folder of 'run-<run>-tag-<tag>.csv': 'Wall time', 'Step', 'Value'
    hydra        a multirun folder: jobs with .hydra/overrides.yaml and their results

Any other table is long (a row a run) or wide (a column an arm, or a column a seed).
"""

import ast
import csv
import hashlib
import io
import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import yaml

from dlsteroids.external import cells
from dlsteroids.util import errors

RESULTS = ('metrics', 'results', 'result', 'summary', 'eval', 'scores')  # of Hydra jobs
_CHART = re.compile(r'^(?P<run>.+) - (?P<metric>.+?)$')
_EVENTS = re.compile(r'^run-(?P<run>.*)-tag-(?P<tag>.+)\.csv$')
_RUN = (
  re.compile(r'^(?P<arm>.+?)[-_/ .,:=]*(?:seed|rng)[-_= :]*(?P<seed>\d+)$', re.I),
  re.compile(r'^(?P<arm>.+?)[-_/ .,:](?:s|r|run)?(?P<seed>\d+)$', re.I),
)
_DECIMAL = re.compile(r'^(\s*[-+]?\d+),(\d+(?:[eE][-+]?\d+)?\s*%?\s*)$')
_SPLIT = re.compile(r'[-_/](?:train|test|validation|valid|val|eval)$', re.I)
_PARTS = ('summary', 'config', 'name')
_MLFLOW_PAGE = {'Start Time', 'Duration', 'Run ID', 'Source Type'}
_NOT_FINITE = re.compile(r'(?<=[:\[,(\s])(-?(?:nan|inf|NaN|Infinity))(?=\s*[,}\])])')


class Sheet(NamedTuple):
  """A table of runs.

  Attributes:
    frame: a row a run; cells as they were read, text in files.
    layout: which tool wrote it; 'table' if none of those known.
    path: of the file or folder; '' of a frame.
    digest: sha256 hex of its contents.
  """

  frame: pd.DataFrame
  layout: str
  path: str
  digest: str


def read(source: pd.DataFrame | str | pathlib.Path) -> Sheet:
  """A frame, a file (CSV, TSV, JSON, JSON lines), or a folder of one of the tools.

  Raises:
    UserError: no such file, an empty or malformed one, or a folder of nothing known.
  """
  if isinstance(source, pd.DataFrame):
    frame = _with_named_levels(source)
    frame.columns = [str(name) for name in frame.columns]
    frame = frame.drop(columns='Unnamed: 0', errors='ignore')  # an index, read back
    text = frame.to_csv(index=False)
    _check(frame, 'the frame')
    layout, frame = _recognise(frame)
    return Sheet(frame, layout, '', hashlib.sha256(text.encode()).hexdigest())
  if not isinstance(source, str | os.PathLike):
    raise errors.UserError(
      'judge takes a pandas frame, or the path of a file or folder, not '
      f'{type(source).__name__}: pandas.DataFrame(…) makes one'
    )
  path = pathlib.Path(source).expanduser()
  if path.is_dir():
    layout, frame, digest = _read_folder(path)
    return Sheet(frame, layout, str(path), digest)
  try:
    content = path.read_bytes()
  except FileNotFoundError as error:
    raise errors.UserError(f'no file or folder {str(path)!r} to judge') from error
  frame = _parse(path, content)
  _check(frame, str(path))
  if len(frame.columns) == 1:
    raise errors.UserError(
      f'{path} has one column only, {frame.columns[0]!r}: cells are separated by '
      "commas, tabs, semicolons or '|'"
    )
  layout, frame = _recognise(frame)
  return Sheet(frame, layout, str(path), hashlib.sha256(content).hexdigest())


def split_run(name: str) -> tuple[str, int] | None:
  """Arm and seed of a run's name, 'tanh-seed3' or 'tanh_3'; None if it tells none."""
  name = _SPLIT.sub('', name.strip())
  for pattern in _RUN:
    if match := pattern.match(name):
      return match['arm'].strip('-_/ .,:'), int(match['seed'])
  return None


def _with_named_levels(frame: pd.DataFrame) -> pd.DataFrame:
  """A frame with its index as columns, but for levels without a name of their own."""
  names = frame.index.names
  drop = [i for i, n in enumerate(names) if n is None or n in frame.columns]
  frame = frame.reset_index(level=drop, drop=True) if drop else frame
  return frame.reset_index() if len(drop) < len(names) else frame


def _check(frame: pd.DataFrame, where: str) -> None:
  """Raises UserError for a table without rows or columns, or a column twice."""
  if not len(frame.columns) or not len(frame):
    raise errors.UserError(f'{where} holds no runs: a row a run is needed')
  twice = sorted({str(c) for c in frame.columns[frame.columns.duplicated()]})
  if twice:
    column = f'column {twice[0]!r}' if twice[0] else 'a column without a name'
    raise errors.UserError(f'{where} has {column} twice')


def _parse(path: pathlib.Path, content: bytes) -> pd.DataFrame:
  """The cells of a file, all of them text where it is one of text."""
  try:
    text = content.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise errors.UserError(
      f'{path} is not a text file in UTF-8 ({error.reason}): judge reads CSV, TSV, '
      'JSON and JSON lines; other tables are read by pandas and judged by '
      'dlsteroids.judge(frame)'
    ) from error
  if '\0' in text:
    raise errors.UserError(
      f'{path} is not a text file: judge reads CSV, TSV, JSON and JSON lines; other '
      'tables are read by pandas and judged by dlsteroids.judge(frame)'
    )
  if not text.strip():
    raise errors.UserError(f'{path} is empty: a table with a row a run is needed')
  try:
    if path.suffix in ('.json', '.jsonl') or text.lstrip()[0] in '[{':
      return _frame(_records(text))
    return _parse_csv(text)
  except (ValueError, csv.Error, RecursionError) as error:
    raise errors.UserError(
      f'{path} cannot be read as a table: {errors.first_line(error)}'
    ) from error


def _records(text: str) -> list[dict[str, Any]]:
  """The rows of JSON: a list of objects, an object a line, or as pandas writes it."""
  try:
    tree = json.loads(text)
  except ValueError:
    tree = [json.loads(line) for line in text.splitlines() if line.strip()]
  if isinstance(tree, dict) and (rows := _rows_of_pandas(tree)):
    return rows
  rows = tree if isinstance(tree, list) else [tree]
  if not all(isinstance(row, dict) for row in rows):
    raise ValueError('expected a list of objects, a run each')
  return [_flatten(row) for row in rows]


def _rows_of_pandas(tree: Mapping[str, Any]) -> list[dict[str, Any]]:
  """The rows of a frame that pandas wrote in any orientation; [] of other JSON."""
  if {'columns', 'data'} <= tree.keys():
    return [dict(zip(map(str, tree['columns']), row)) for row in tree['data']]
  if {'schema', 'data'} <= tree.keys():
    rows = tree['data']  # an index without a name is called 'index' there
    return [{name: row[name] for name in row if name != 'index'} for row in rows]
  columns = list(tree.values())
  if not columns or not all(isinstance(c, dict) and c for c in columns):
    return []
  if all(label.isdigit() for label in tree):
    return columns
  index = list(columns[0])
  if any(list(column) != index for column in columns[1:]) or not all(
    label.isdigit() for label in index
  ):
    return []
  return [{name: column[i] for name, column in tree.items()} for i in index]


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
  """Rows as a frame in which a key that a row lacks is an empty cell, not a NaN."""
  names = dict.fromkeys(name for row in rows for name in row)
  columns = {name: [row.get(name) for row in rows] for name in names}
  return pd.DataFrame(columns, dtype=object)


def _flatten(tree: Mapping[str, Any], path: str = '') -> dict[str, Any]:
  """Nested objects as one: {'test': {'accuracy': 1}} is {'test/accuracy': 1}."""
  row: dict[str, Any] = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      row |= _flatten(value, f'{path}{key}/')
    elif not isinstance(value, list):
      row[f'{path}{key}'] = value
  return row


def _parse_csv(text: str) -> pd.DataFrame:
  head = text.lstrip('\r\n').splitlines()[0]
  mark = max(',;\t|', key=head.count)
  lines = [
    row
    for row in csv.reader(io.StringIO(text, newline=None), delimiter=mark)
    if any(row)
  ]
  if mark == ';':  # where numbers have a decimal comma
    lines = [[_DECIMAL.sub(r'\1.\2', cell) for cell in row] for row in lines]
  if not lines:
    raise ValueError('every cell is empty')
  wide = len(lines[0])
  for row in lines[1:]:
    if len(row) != wide:
      raise ValueError(f'row {row[:3]} has {len(row)} cells, the head has {wide}')
  names = [name.strip() for name in lines[0]]
  unnamed = [i for i, name in enumerate(names) if not name]
  frame = pd.DataFrame(lines[1:], columns=names, dtype=object)
  # pandas writes its index under an empty head
  return frame.drop(columns='') if unnamed == [0] else frame


def _recognise(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
  """Which tool wrote a table, and its rows as runs."""
  names = [str(name) for name in frame.columns]
  if {'summary', 'config'} <= set(names):
    return 'wandb', _unpack(frame)
  if set(names) >= _MLFLOW_PAGE:
    return 'mlflow', frame
  if any(name.startswith('metrics.') for name in names):
    return 'mlflow', frame
  charted = [name for name in names if _CHART.match(name)]
  if any(name.endswith('__MIN') for name in charted):
    return 'wandb chart', _read_chart(frame)
  if {'Name', 'State'} <= set(names):
    return 'wandb', frame
  return 'table', frame


def _unpack(frame: pd.DataFrame) -> pd.DataFrame:
  """The frame of W&B's export guide: summaries and configs as columns."""
  rows = []
  for row in frame.to_dict('records'):
    plain = {str(k): v for k, v in row.items() if k not in ('summary', 'config')}
    config, summary = (_literal(row[name]) for name in ('config', 'summary'))
    options = {f'config.{k}': v for k, v in _flatten(config).items()}
    rows.append({**options, **plain, **_flatten(summary)})
  return _frame(rows)


def _literal(cell: Any) -> Mapping[str, Any]:
  """A dict as Python or JSON prints it."""
  if isinstance(cell, Mapping):
    return cell
  try:
    tree = ast.literal_eval(_NOT_FINITE.sub(r"'\1'", str(cell)))
  except (ValueError, SyntaxError, RecursionError, MemoryError):
    try:
      tree = json.loads(str(cell))
    except ValueError as error:
      raise errors.UserError(
        "a cell of 'summary' or 'config' is no dict, as W&B's export guide writes them"
      ) from error
  return tree if isinstance(tree, Mapping) else {}


def _read_chart(frame: pd.DataFrame) -> pd.DataFrame:
  """A panel's last values, a row a run: it has a column for every run and metric."""
  rows: dict[str, dict[str, Any]] = {}
  for name in frame.columns:
    match = _CHART.match(str(name))
    if not match or str(name).endswith(('__MIN', '__MAX')):
      continue
    last = [cell for cell in frame[name] if not cells.is_empty(cell)]
    row = rows.setdefault(match['run'], {'Name': match['run']})
    row[match['metric']] = last[-1] if last else None
  return _frame(list(rows.values()))


def _read_folder(path: pathlib.Path) -> tuple[str, pd.DataFrame, str]:
  """Layout, frame and digest of a folder."""
  jobs = sorted(path.rglob('.hydra/overrides.yaml'))
  if jobs:
    return 'hydra', *_read_jobs(path, [job.parents[1] for job in jobs])
  events = [file for file in sorted(path.rglob('*.csv')) if _EVENTS.match(file.name)]
  if events:
    return 'tensorboard', *_read_events(path, events)
  raise errors.UserError(
    f'{path} holds neither the jobs of a Hydra multirun (.hydra/overrides.yaml) nor '
    'files that TensorBoard exports (run-…-tag-….csv)'
  )


def _digest(contents: Iterable[bytes]) -> str:
  digest = hashlib.sha256()
  for content in contents:
    digest.update(hashlib.sha256(content).digest())
  return digest.hexdigest()


def _read_events(
  path: pathlib.Path, files: Iterable[pathlib.Path]
) -> tuple[pd.DataFrame, str]:
  """The last value of every tag, a row a run.

  A run is named by its folders and by the file: 'tanh/run-seed_3-tag-accuracy.csv' is a
  run of the arm 'tanh'.
  """
  rows: dict[str, dict[str, Any]] = {}
  contents = []
  for file in files:
    match = _EVENTS.match(file.name)
    assert match
    folders = [*file.relative_to(path).parts[:-1], match['run']]
    run = '/'.join(part for part in folders if part not in ('.', ''))
    content = file.read_bytes()
    frame = _parse(file, content)
    contents.append(content)
    if not {'Step', 'Value'} <= set(frame.columns):
      raise errors.UserError(
        f'{file} has no columns Step and Value, as TensorBoard writes'
      )
    steps = [cells.number(cell) or 0.0 for cell in frame['Step']]
    points = sorted(zip(steps, frame['Value']), key=lambda point: point[0])
    run = _SPLIT.sub('', run)
    row = rows.setdefault(run, {'Name': run})
    row[match['tag']] = points[-1][1] if points else None
  return _frame(list(rows.values())), _digest(contents)


def _read_jobs(
  path: pathlib.Path, folders: Iterable[pathlib.Path]
) -> tuple[pd.DataFrame, str]:
  """A row a job of a Hydra multirun: its overrides and the numbers it left."""
  rows, contents = [], []
  for folder in folders:
    raw = (folder / '.hydra' / 'overrides.yaml').read_bytes()
    row: dict[str, Any] = {'job': str(folder.relative_to(path))}
    row |= _overrides(raw, folder)
    file = _find_results(folder)
    content = file.read_bytes() if file else b''
    if file and content.strip():
      frame = _parse(file, content)
      row |= (
        {str(k): v for k, v in frame.iloc[-1].to_dict().items()} if len(frame) else {}
      )
    contents += [raw, content]
    rows.append(row)
  return _frame(rows), _digest(contents)


def _overrides(raw: bytes, folder: pathlib.Path) -> dict[str, str]:
  """The overrides of a job by path; its seed from the config where none sets it."""
  try:
    words = yaml.safe_load(raw) or []
  except yaml.YAMLError as error:
    raise errors.UserError(
      f'{folder}/.hydra/overrides.yaml is no YAML: {errors.first_line(error)}'
    ) from error
  values = {}
  for word in words if isinstance(words, list) else []:
    name, _, value = str(word).lstrip('+~').partition('=')
    values[f'config.{name}'] = value
  config = folder / '.hydra' / 'config.yaml'
  if not any(name.rsplit('.', 1)[-1] == 'seed' for name in values) and config.is_file():
    try:
      tree = yaml.safe_load(config.read_bytes())
    except yaml.YAMLError:
      tree = None
    if isinstance(tree, Mapping) and 'seed' in tree:
      values['config.seed'] = str(tree['seed'])
  return values


def _find_results(folder: pathlib.Path) -> pathlib.Path | None:
  """The file with a job's numbers: of the usual names, else the only JSON or CSV."""
  for stem in RESULTS:
    for suffix in ('.json', '.jsonl', '.csv'):
      if (folder / f'{stem}{suffix}').is_file():
        return folder / f'{stem}{suffix}'
  files = [f for s in ('*.json', '*.csv') for f in sorted(folder.glob(s))]
  return files[0] if len(files) == 1 else None
