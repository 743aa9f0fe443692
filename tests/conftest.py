"""Before the first JAX call: two CPU devices, and a cache of the session's own."""

import atexit
import functools
import gc
import importlib.metadata
import os
import shutil
import tempfile

if 'DLSTEROIDS_TEST_CACHE' not in os.environ:  # else a worker of the same session
  os.environ['DLSTEROIDS_TEST_CACHE'] = tempfile.mkdtemp(prefix='dlsteroids-test-')
  atexit.register(shutil.rmtree, os.environ['DLSTEROIDS_TEST_CACHE'], True)
os.environ['DLSTEROIDS_CACHE'] = os.environ['DLSTEROIDS_TEST_CACHE']
# Every process of the session would compile each module of the package again.
os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
# BLAS threads of two test workers wait for one another: 43 s in place of 3.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')

# Compiling is most of what tests do: compile fast. `XLA_FLAGS= python -m pytest` tests
# with what users compile with.
os.environ.setdefault(
  'XLA_FLAGS',
  '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
  # Later versions do not know this one, and refuse what they do not know.
  + ' --xla_cpu_use_fusion_emitters=false'
  * (importlib.metadata.version('jaxlib').startswith('0.10.')),
)
# Where an operation was traced is written into every program, and read by nobody here.
os.environ.setdefault('JAX_TRACEBACK_IN_LOCATIONS_LIMIT', '0')

import jax
import pytest

jax.config.update('jax_num_cpu_devices', 2)
# Here programs hardly repeat, and writing one takes longer than compiling it so fast.
# Processes that tests start share the session's cache: of them many train the same.
jax.config.update('jax_enable_compilation_cache', False)
# Provenance asks often, and reads the packages' files each time.
importlib.metadata.version = functools.cache(importlib.metadata.version)

# Tracing makes millions of small objects; looking for cycles so often is a fifth of it.
gc.set_threshold(50_000, 10, 10)
gc.disable()  # while collecting: what is made there stays
# Tests that trace and compile for each of their cases run so many of them, by the
# beginning of their path; `--every-case` runs all.
SAMPLED = {
  'tests/test_conformance.py': 6,
  'tests/models/test_ops.py': 6,
  'tests/models/': 2,
  'tests/report/': 2,
  'tests/study/test_levels.py': 4,
  'tests/tasks/': 2,
  'tests/train/': 3,
}
# Those with the longest tests, so that no worker is left with one at the end.
FIRST = (
  *('tests/run/test_resume.py', 'tests/test_configs.py', 'tests/train/test_devices.py'),
  *('tests/docs/test_docs.py', 'tests/plan/test_plugins.py'),
)
NUMERIC = '(invalid value|divide by zero|overflow|underflow|Mean of empty|All-NaN)'


def pytest_addoption(parser: pytest.Parser) -> None:
  parser.addoption(
    '--every-case', action='store_true', help='all cases where SAMPLED takes a few'
  )


def runs_every_case(config: pytest.Config) -> bool:
  """Whether all cases run: by option, or because a test is named."""
  return config.getoption('every_case') or any('::' in word for word in config.args)


@pytest.fixture
def every_case(request: pytest.FixtureRequest) -> bool:
  """Whether a test that is cheaper in most of its cases is to spare none."""
  return runs_every_case(request.config)


def _path(item: pytest.Item, config: pytest.Config) -> str:
  return item.path.relative_to(config.rootpath).as_posix()


def pytest_collection_modifyitems(
  config: pytest.Config, items: list[pytest.Item]
) -> None:
  """As many cases of a test as SAMPLED says: first, last, and evenly between.

  The files of FIRST come first.
  """
  items.sort(key=lambda item: _path(item, config) not in FIRST)
  if runs_every_case(config):
    return
  cases: dict[tuple[int, str], list[pytest.Item]] = {}
  for item in items:
    path = _path(item, config)
    most = next((n for start, n in SAMPLED.items() if path.startswith(start)), 0)
    if most:
      name = item.nodeid.partition('[')[0]
      cases.setdefault((most, name), []).append(item)
  left_out: set[pytest.Item] = set()
  for (most, _), same in cases.items():
    if len(same) > most:
      chosen = {round(i * (len(same) - 1) / (most - 1)) for i in range(most)}
      left_out |= {item for i, item in enumerate(same) if i not in chosen}
  if left_out:
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def pytest_configure(config: pytest.Config) -> None:
  """Numpy's warnings are errors."""
  config.addinivalue_line('filterwarnings', f'error:{NUMERIC}.*:RuntimeWarning')


def pytest_collection_finish(session: pytest.Session) -> None:
  """The test modules and their cases are not searched for cycles."""
  gc.freeze()
  gc.enable()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
  """What a module leaves, traces and programs above all, is not searched again."""
  if nextitem is None or nextitem.path != item.path:
    gc.freeze()


@pytest.fixture(scope='module')
def quick():
  """Compiles fast: for tests of numbers to a tolerance, none of bits."""
  from dlsteroids.train import program
  from tests.fixtures import model_cases as cases

  jax.config.update('jax_disable_most_optimizations', True)
  with pytest.MonkeyPatch.context() as patch:
    for name in ('COMPILER_OPTIONS', 'INIT_COMPILER_OPTIONS'):
      patch.setattr(program, name, cases.fast())
    yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture(scope='module')
def cheap_figures():
  """Figures without PDF, whose fonts are half of their cost, and PNG packed less."""
  from dlsteroids.report.figures import canvas

  save = canvas._save

  def stub(fig, suffix, **options):
    if suffix == 'png':
      options['pil_kwargs'] = {'compress_level': 1}
    return b'%PDF' if suffix == 'pdf' else save(fig, suffix, **options)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(canvas, '_save', stub)
    yield


@pytest.fixture
def no_figures(monkeypatch):
  """Reports without figures: for tests of all else that a launch leaves."""
  from tests.fixtures import studies_on_disk

  studies_on_disk.spare_figures(monkeypatch, pages=True)
