"""The command's actions and flags: one table that parsing, checks and help read."""

from typing import Any, NamedTuple

from absl import flags as absl_flags

from dlsteroids.cluster import executors
from dlsteroids.util import errors

ACTIONS = {
  'run': 'train what is missing, then report',
  'plan': 'what the study will train, how long that takes, what it can show',
  'status': 'where the study stands, from any terminal while it runs',
  'report': 'tables, figures and report from what is stored',
  'judge': 'verdicts and report on a table of runs trained with any tool',
  'replay': 'train one run again and check every step for non-finite numbers',
  'sample': 'text or pictures from one trained run',
  'export': 'write one trained classifier as a file that measures images',
  'work': 'train some programs of a planned study; started by executors',
}
ONE_RUN = ('replay', 'sample', 'export')
SEED_OR_ARM = (*ONE_RUN, 'judge')


class Flag(NamedTuple):
  """One flag of the command.

  Attributes:
    name: without dashes.
    default: its value unless set; its type is the flag's. None of type str.
    doc: one line for the help.
    group: the heading it stands under in the help.
    actions: that read it; with any other it is refused. () if all of them do.
    choices: all the values it may have; () if they are not enumerable.
    low: smallest value of a number.
    kind: its type where the default does not tell.
  """

  name: str
  default: Any
  doc: str
  group: str
  actions: tuple[str, ...] = ()
  choices: tuple[str, ...] = ()
  low: float | None = None
  kind: type = type(None)


_STUDY = 'The study'
_RUN = 'One trained run'
_JUDGE: dict[str, Any] = {'group': 'A table of runs', 'actions': ('judge',)}
_PILOT = 'A pilot that measures the noise first'
_PLACE = 'Where it trains'
_NUMBER: dict[str, Any] = {'group': _PLACE, 'actions': ('run',), 'low': 0}
_TEXT: dict[str, Any] = {'group': _PLACE, 'actions': ('run',)}
FLAGS = (
  Flag(
    'config', None, 'a config file or a shipped study; FILE:MODE for a mode', _STUDY
  ),
  Flag('action', 'run', 'what to do', _STUDY, choices=tuple(ACTIONS)),
  Flag('workdir', None, 'where results go; default: studies/NAME', _STUDY),
  Flag(
    'json',
    False,
    'print the answer for programs, and nothing else, on stdout',
    _STUDY,
    ('run', 'plan', 'status', 'report', 'judge'),
  ),
  Flag(
    'until',
    None,
    'add seeds by declared looks until verdicts are reached, arm by arm',
    _STUDY,
    ('run', 'plan'),
    choices=('decided',),
  ),
  Flag('most', None, 'seeds an arm may get at most', _STUDY, ('run', 'plan'), kind=int),
  Flag(
    'most_flops',
    0.0,
    'of the whole study: a look that would take more is left out, arm by arm',
    _STUDY,
    ('run', 'plan'),
  ),
  Flag(
    'most_hours',
    0.0,
    'of training, as most_flops; by the time that runs took before',
    _STUDY,
    ('run', 'plan'),
  ),
  Flag('latex', False, 'also write effects.tex', _STUDY, ('run', 'report')),
  Flag('arm', 'baseline', 'which arm; of judge: the column', _RUN, SEED_OR_ARM),
  Flag(
    'seed',
    None,
    "which seed; default: the study's first; of judge: the column",
    _RUN,
    SEED_OR_ARM,
  ),
  Flag('prompt', '', 'what the text continues', _RUN, ('sample',)),
  Flag('length', 500, 'symbols of text', _RUN, ('sample',)),
  Flag('temperature', 0.8, '0 always takes the likeliest symbol', _RUN, ('sample',)),
  Flag('top_k', 0, 'draw from the K likeliest symbols; 0: from all', _RUN, ('sample',)),
  Flag('count', 64, 'number of pictures', _RUN, ('sample',)),
  Flag('label', '', 'class of the pictures', _RUN, ('sample',)),
  Flag('draw', 0, 'seed of the draw', _RUN, ('sample',)),
  Flag(
    'target', '', 'folder of the pictures, or exported file', _RUN, ('sample', 'export')
  ),
  Flag('metric', '', 'columns of scores, the deciding one first', **_JUDGE),
  Flag('reference', '', 'the arm that others are compared with', **_JUDGE),
  Flag('margin', 0.0, 'a difference below it does not matter', **_JUDGE, low=0),
  Flag(
    'better',
    '',
    'higher or lower is better; default: by the name of the metric',
    **_JUDGE,
  ),
  Flag('flops', '', 'column of FLOPs a run', **_JUDGE),
  Flag('budget', '', "column of a run's compute, 1: the usual", **_JUDGE),
  Flag('status', '', 'column of statuses, such as finished', **_JUDGE),
  Flag('fallback', None, 'what a diverged run scores', **_JUDGE, kind=float),
  Flag('alpha', 0.05, 'family-wise level', **_JUDGE),
  Flag('looks', 1, 'at growing results, as declared beforehand', **_JUDGE, low=1),
  Flag('pairing', 'auto', 'by seed', **_JUDGE, choices=('auto', 'paired', 'unpaired')),
  Flag('pilot', 0, 'train N seeds of the baseline', _PILOT, ('plan',)),
  Flag(
    'effect', 0.0, "effect to detect; default: the study's margin", _PILOT, ('plan',)
  ),
  Flag('power', 0.8, 'probability of detecting it', _PILOT, ('plan',)),
  Flag(
    'executor', 'local', 'what runs the programs', _PLACE, ('run',), executors.NAMES
  ),
  Flag('unit_minutes', 0.0, 'time limit of a program; 0: none', **_NUMBER),
  Flag('at_once', 0, 'programs handed over at a time; 0: all', **_NUMBER),
  Flag('cpus', 0, 'cores of a program; 0: as the cluster says', **_NUMBER),
  Flag('gpus', 0.0, 'GPUs of a program', **_NUMBER),
  Flag('memory_gb', 0.0, 'memory of a program; 0: as the cluster says', **_NUMBER),
  Flag('partition', '', 'SLURM partition', **_TEXT),
  Flag('sbatch', '', "more options of sbatch, such as 'account=me,qos=low'", **_TEXT),
  Flag('address', '', 'of the Ray cluster; default: the local one', **_TEXT),
  Flag(
    'distributed',
    False,
    'this is one of several processes that train together; SLURM and TPU tell which, '
    'else JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID',
    **_TEXT,
  ),
  Flag('programs', (), 'ids as in plan.json, comma-separated', _PLACE, ('work',)),
)
NAMES = tuple(flag.name for flag in FLAGS)
OF_EXECUTORS = ('executor', *executors.USERS)
INFORMATION = ('help', 'version', 'list')  # answered before anything is parsed


def define() -> absl_flags.FlagValues:
  """The flags as absl parses them, in any order with other words."""
  values = absl_flags.FlagValues()
  values.set_gnu_getopt(True)
  numbers: dict[type, Any] = {
    int: absl_flags.DEFINE_integer,
    float: absl_flags.DEFINE_float,
  }
  for flag in FLAGS:
    kind = flag.kind if flag.default is None else type(flag.default)
    words = (flag.name, flag.default)
    if flag.choices:
      absl_flags.DEFINE_enum(*words, flag.choices, flag.doc, flag_values=values)
    elif kind in numbers:
      numbers[kind](*words, flag.doc, flag.low, flag_values=values)
    elif kind is bool:
      absl_flags.DEFINE_bool(*words, flag.doc, flag_values=values)
    elif kind is tuple:
      absl_flags.DEFINE_list(flag.name, [], flag.doc, flag_values=values)
    else:
      absl_flags.DEFINE_string(*words, flag.doc, flag_values=values)
  return values


def check(values: absl_flags.FlagValues) -> None:
  """Raises UserError for a flag, or a combination of flags, without effect."""
  for flag in FLAGS:
    if values[flag.name].present and flag.actions and values.action not in flag.actions:
      raise errors.UserError(f'--{flag.name} goes with {_or("action", flag.actions)}')
  for name in ('effect', 'power'):
    if values[name].present and not values['pilot'].present:
      raise errors.UserError(f'--{name} goes with --pilot')
  if values.most is not None and values.most < 1:
    raise errors.UserError(f'--most must be at least 1, not {values.most}')
  until = values.until or ''
  if until and (values.executor != 'local' or values.unit_minutes):
    raise errors.UserError('--until goes with neither --executor nor a time limit')
  if values.action == 'work' and not values['programs'].present:
    raise errors.UserError('--action=work needs --programs=ID,…, as in plan.json')
  for name, users in executors.USERS.items():
    if values[name].present and values.executor not in users:
      raise errors.UserError(f'--{name} goes with {_or("executor", users)}')
  if values.distributed and (values.executor != 'local' or values.unit_minutes):
    raise errors.UserError(
      '--distributed goes with neither --executor nor a time limit'
    )


def _or(flag: str, names: tuple[str, ...]) -> str:
  return ' or '.join(f'--{flag}={name}' for name in names)
