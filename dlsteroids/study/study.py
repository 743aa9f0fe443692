"""A study as its analyses see it: what study.json says, read once, typed and frozen.

The field names are those of study.json. What a launch plans is `plan.study_plan.Plan`;
what it leaves for everyone after it is this.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlsteroids import config as config_lib
from dlsteroids.study import claims as claims_lib
from dlsteroids.study import conditions as conditions_lib
from dlsteroids.study import factors as factors_lib

# (arm, seed, tuned=0) -> the arrays that were stored of a run, by name; None: no run.
ArraysOf = Callable[..., Mapping[str, np.ndarray] | None]


class Metric(NamedTuple):
  """A metric of the study's task.

  Attributes:
    name: as in the columns, 'accuracy'.
    better: 'higher' or 'lower'.
    fallback: what a diverged run scores, in the metric's unit.
    split: on which it decides: 'test'; of runs trained elsewhere also another, or ''.
  """

  name: str
  better: str
  fallback: float
  split: str = 'test'

  @property
  def column(self) -> str:
    """Its column in runs.csv, 'test/accuracy'."""
    return f'{self.split}/{self.name}' if self.split else self.name

  @property
  def sign(self) -> int:
    """1 if higher is better, else -1."""
    return 1 if self.better == 'higher' else -1

  @property
  def is_share(self) -> bool:
    """Whether it is a share of examples, read in percent."""
    return self.name.endswith(('accuracy', 'error_rate'))


class Cost(NamedTuple):
  """What one run of an arm costs under a condition.

  Attributes:
    regime, budget, size: the condition.
    steps: of training.
    params: of the model.
    flops: nominal, of the whole training.
    executed_flops: of the jaxpr that really runs.
    residual: how far the regime's equality is missed, relative.
  """

  regime: str
  budget: float
  size: float
  steps: int
  params: int
  flops: float
  executed_flops: float
  residual: float

  @property
  def condition(self) -> conditions_lib.Condition:
    return conditions_lib.Condition(self.regime, self.budget, self.size)


class StudyArm(NamedTuple):
  """An arm of the study: its levels, its program, what a step of it costs.

  Attributes:
    name: unique.
    assignment: level by factor.
    overrides: `(config path, value)` pairs; empty for the baseline.
    inapplicable: factors whose requirement it does not meet.
    program: id of the compiled program.
    params: of the model.
    flops_per_step, executed_flops_per_step: nominal and executed, of training.
    steps: of training under the declared condition.
    activation_bytes, state_bytes, traffic_bytes_per_step: of one member.
    unknown_loops: loops whose trip count is unknown, counted once.
    at: costs under every condition of the study.
  """

  name: str
  assignment: Mapping[str, str]
  overrides: tuple[tuple[str, Any], ...]
  inapplicable: tuple[str, ...]
  program: str
  params: int
  flops_per_step: float
  executed_flops_per_step: float
  steps: int
  activation_bytes: float = float('nan')
  state_bytes: float = float('nan')
  traffic_bytes_per_step: float = float('nan')
  unknown_loops: int = 0
  at: tuple[Cost, ...] = ()


class Candidate(NamedTuple):
  """An arm under a condition whose numbers are tuned.

  Attributes:
    arm, regime, budget, size: which.
    program: id of the program of its first point.
    search: fingerprints of the tuning runs, by point, then tuning seed.
    claim: fingerprints of the runs that would claim, by point, then seed; of a search
      whose points depend on its results, those of the chosen point only.
    points: that the search tries; () if they are those of the grid.
    programs: by point, where points change the program; else ().
  """

  arm: str
  regime: str
  budget: float
  size: float
  program: str
  search: tuple[tuple[str, ...], ...]
  claim: tuple[tuple[str, ...], ...]
  points: tuple[Mapping[str, float], ...] = ()
  programs: tuple[str, ...] = ()

  @property
  def where(self) -> tuple[str, str, float, float]:
    """Its arm and condition."""
    return self.arm, self.regime, self.budget, self.size


class Choice(NamedTuple):
  """The tuned numbers of an arm under a condition."""

  arm: str
  regime: str
  budget: float
  size: float
  numbers: Mapping[str, float]


class Tuning(NamedTuple):
  """How arms are tuned.

  Attributes:
    grid: candidate values by config path, as searched.
    seeds: of the search, disjoint from the claim's.
    candidates: what is searched.
    choices: what the searches that have ended chose.
    declared: candidate values by config path, as configured; {} if they are `grid`.
    final: whether no further point is tried, so that choices and tuned runs follow from
      the search.
    by: which points a search tries: 'grid', 'random' or 'neighbours'.
  """

  grid: Mapping[str, tuple[float, ...]]
  seeds: tuple[int, ...]
  candidates: tuple[Candidate, ...] = ()
  choices: tuple[Choice, ...] = ()
  declared: Mapping[str, tuple[float, ...]] = {}
  final: bool = True
  by: str = 'grid'

  def points_of(self, candidate: Candidate) -> list[dict[str, float]]:
    """The points that a search tries."""
    return [dict(point) for point in candidate.points] or combinations(self.grid)

  def tried(self, choice: Choice, path: str) -> set[float]:
    """The values of a path among which an arm chose under a condition."""
    if self.by == 'grid':
      return set(self.grid[path])
    own = (c for c in self.candidates if c.where == choice[:4])
    return {point[path] for candidate in own for point in candidate.points}

  def is_end(self, choice: Choice, path: str) -> bool:
    """Whether an arm chose the smallest or the largest of several values."""
    values = self.tried(choice, path) if self.by != 'random' else ()
    return len(values) > 1 and choice.numbers[path] in (min(values), max(values))


def combinations(grid: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
  """Every combination of a grid's values; none for an empty grid."""
  if not grid:
    return []
  return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]


class PlannedRun(NamedTuple):
  """A run the study asks for.

  Attributes:
    arm, seed: which.
    tuned: 0 as configured, 1 with the arm's tuned numbers.
    fingerprint: of everything the result depends on.
    regime, budget, size: under which condition.
    program: id of the compiled program.
  """

  arm: str
  seed: int
  tuned: int
  fingerprint: str
  regime: str = 'steps'
  budget: float = 1.0
  size: float = 1.0
  program: str = ''


class LookRecord(NamedTuple):
  """One look at the results, as logged in study.json; `analysis.looks` reads them.

  Attributes:
    look: its number, from 1.
    seeds: how many the study had.
    complete: whether all planned runs had ended.
    runs_digest: sha256 hex of the runs looked at.
    question: sha256 hex of what was asked of them.
    answers: the verdicts in words, `(factor, sentence)`.
    time: ISO 8601.
    data: digest of the data set; '' in old records.
    code: digest of the code that the runs depend on; '' in old records.
    training: digest of how the baseline is trained; '' in old records.
  """

  look: int
  seeds: int
  complete: bool
  runs_digest: str
  question: str = ''
  answers: tuple[tuple[str, ...], ...] = ()
  time: str = ''
  data: str = ''
  code: str = ''
  training: str = ''


class Data(NamedTuple):
  """The data set of the baseline.

  Attributes:
    name: as results name it.
    digest: sha256 hex of its contents and options.
    classes: class names in label order.
    official_test: whether the test split is the published one.
    facts: what data set and task tell the report; JSON.
    references: scores of methods without gradient descent, by name, by column.
    sizes: examples by split.
  """

  name: str
  digest: str
  classes: tuple[str, ...] = ()
  official_test: bool = True
  facts: Mapping[str, Any] = {}
  references: Mapping[str, Mapping[str, float]] = {}
  sizes: Mapping[str, int] = {}


class Table(NamedTuple):
  """The table of runs trained elsewhere that a study was read from.

  Attributes:
    path: of the file or folder; '' for a frame in memory.
    layout: 'long', 'wide', 'wide by seed', 'wandb', 'wandb chart', 'mlflow',
      'tensorboard' or 'hydra'.
    arm, seed, flops, budget, status: the columns they were read from; '' if none.
    metrics: the metric's column in the table by its column in the runs.
    rows: how many rows the table has.
    digest: sha256 hex of its contents.
    percent: columns of the runs that the table holds in percent.
    assumed: metrics (columns of the runs) whose direction follows from their name.
    fallback: 'declared', 'worst possible' or 'worst run': what diverged runs score.
  """

  path: str
  layout: str
  arm: str
  seed: str
  flops: str
  budget: str
  status: str
  metrics: Mapping[str, str]
  rows: int
  digest: str
  percent: tuple[str, ...] = ()
  assumed: tuple[str, ...] = ()
  fallback: str = 'worst run'


class Spending(NamedTuple):
  """What training takes.

  Attributes:
    flops: nominal.
    seconds: of training, without compilation; runs of one batch share its time.
  """

  flops: float = 0.0
  seconds: float = 0.0


class Until(NamedTuple):
  """How seeds are added until verdicts are reached; `analysis.sequential` reads it.

  Attributes:
    sizes: seeds at each look, declared before the first.
    most: the most seeds an arm may get, at or below the last size if it was lowered.
    stopped: arms that get no further seeds, and how many they have.
    bound: the most that the whole study may take, searches included; 0: no bound.
    spent: what its runs have taken so far; measured only if there is a bound.
    per_seed: what a further seed of an arm takes; likewise.
  """

  sizes: tuple[int, ...]
  most: int
  stopped: Mapping[str, int] = {}
  bound: Spending = Spending()
  spent: Spending = Spending()
  per_seed: Mapping[str, Spending] = {}


@dataclasses.dataclass(frozen=True)
class Study:
  """What is compared, on what, how often, and which runs that takes.

  Attributes:
    name, question: of the study.
    design: its kind, one of `config.DESIGNS`.
    config: the resolved config of the baseline.
    factors: the components under test.
    arms: in the design's order.
    contrasts: the family of claims, in order.
    seeds: of the claim.
    metric: the one that decides.
    metrics: every metric with a direction, by name.
    alpha: family-wise level before looks are accounted for.
    margin: of equivalence, in the metric's unit; 0: none declared.
    conditions: under which every arm is trained; the first is the declared one.
    data: the data set.
    runs: the runs asked for, tuned ones as soon as their search has ended.
    tuning: how arms are tuned; None if they are not.
    looks: at the results so far.
    looks_declared: how many were declared beforehand.
    claims: published ones to hold the results against.
    cells: for games, every combination of levels `{factor: level}` with its arm.
    permutations: orders of the factors, for the design 'permutations'.
    aliases: for 'fraction', effects that cannot be separated.
    excluded, notes: what the design dropped or wants to be reported.
    ratio, targets: of the compute-equivalent gains.
    failures: reason by fingerprint of runs that did not end.
    trained: 'runs' and 'flops' that the workdir holds for the study.
    provenance: versions, device and layout that bits depend on.
    peak_flops: measured FLOP/s of this machine's matrix products; 0 if unknown.
    command: that repeats the study.
    git, dlsteroids: commit and version of this package.
    code: digest of the first-party code that the runs depend on; '' if unknown.
    paired: whether runs of equal seeds are pairs; else arms are unpaired samples.
    table: where the runs were read from; None if dlsteroids trained them.
    until: the looks by which seeds are added; None if their number is fixed.

  Example:
    >>> [field.name for field in dataclasses.fields(Study)][:2]
    ['name', 'design']
  """

  name: str
  design: str
  config: Mapping[str, Any]
  factors: tuple[factors_lib.Factor, ...]
  arms: tuple[StudyArm, ...]
  contrasts: tuple[factors_lib.Contrast, ...]
  seeds: tuple[int, ...]
  metric: Metric
  metrics: Mapping[str, Metric]
  alpha: float
  data: Data
  margin: float = 0.0
  question: str = ''
  conditions: tuple[conditions_lib.Condition, ...] = (
    conditions_lib.Condition('steps'),
  )
  runs: tuple[PlannedRun, ...] = ()
  tuning: Tuning | None = None
  looks: tuple[LookRecord, ...] = ()
  looks_declared: int = 1
  claims: tuple[claims_lib.Claim, ...] = ()
  cells: tuple[tuple[Mapping[str, str], str], ...] = ()
  permutations: tuple[tuple[str, ...], ...] = ()
  aliases: tuple[str, ...] = ()
  excluded: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()
  ratio: float = 0.0
  targets: tuple[float, ...] = ()
  failures: Mapping[str, str] = dataclasses.field(default_factory=dict)
  trained: Mapping[str, float] = dataclasses.field(default_factory=dict)
  provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  peak_flops: float = 0.0
  command: str = ''
  git: str = ''
  dlsteroids: str = ''
  code: str = ''
  paired: bool = True
  table: Table | None = None
  until: Until | None = None

  @property
  def regime(self) -> str:
    """The declared regime."""
    return self.conditions[0].regime

  @property
  def tuned(self) -> int:
    """The declared tuning state: 1 if arms are tuned, else 0."""
    return int(self.tuning is not None)

  @property
  def training(self) -> str:
    """Digest of how the baseline is trained."""
    values = {
      f'{section}.{name}': value
      for section in config_lib.TRAINING
      for name, value in self.config.get(section, {}).items()
    }
    places = set(config_lib.PLACES)  # where data lie, not what they are
    return config_lib.digest({k: v for k, v in values.items() if k not in places})

  def arm(self, name: str) -> StudyArm:
    """The arm called `name`; KeyError if there is none."""
    for arm in self.arms:
      if arm.name == name:
        return arm
    raise KeyError(name)

  def seeds_of(self, arm: str) -> tuple[int, ...]:
    """The seeds of an arm: all, or the first ones if it stopped earlier than others."""
    return self.seeds[: self.until.stopped.get(arm)] if self.until else self.seeds

  def is_declared(self, run: PlannedRun) -> bool:
    """Whether a run is of the condition in which verdicts are made."""
    return (run.regime, run.budget, run.size) == (self.regime, 1.0, 1.0)


def from_json(tree: Mapping[str, Any]) -> Study:
  """A study from the content of study.json.

  Raises:
    KeyError, TypeError, ValueError, AttributeError: if it is not one.
  """
  for name, kind in (('name', str), ('runs', list), ('looks', list)):
    if not isinstance(tree[name], kind):
      raise TypeError(f'{name} is not a {kind.__name__}')
  fields = {field.name for field in dataclasses.fields(Study)}
  plain = {key: value for key, value in tree.items() if key in fields}
  metric = {'split': 'test', **tree['metric']}
  return Study(
    **{
      **plain,
      'factors': tuple(_factor(entry) for entry in tree['factors']),
      'arms': tuple(_arm(entry, tree) for entry in tree['arms']),
      'contrasts': tuple(_contrast(entry) for entry in tree['contrasts']),
      'seeds': tuple(int(seed) for seed in tree['seeds']),
      'metric': Metric(**metric),
      'metrics': {
        name: Metric(**{'name': name, **entry})
        for name, entry in tree['metrics'].items()
      },
      'data': Data(**{**tree['data'], 'classes': tuple(tree['data']['classes'])}),
      'conditions': tuple(
        conditions_lib.Condition(**entry)
        for entry in tree.get('conditions') or [{'regime': tree['regime']}]
      ),
      'runs': tuple(PlannedRun(*row) for row in tree.get('runs', ())),
      'tuning': _tuning(tree.get('tune')),
      'looks': looks_from_json(tree.get('looks', ())),
      'table': _table(tree.get('table')),
      'until': _until(tree.get('until')),
      'claims': tuple(claims_lib.Claim(**entry) for entry in tree.get('claims', ())),
      'cells': tuple(
        (dict(entry['levels']), entry['arm']) for entry in tree.get('cells') or ()
      ),
      **{
        name: _tuples(tree.get(name, ()))
        for name in ('permutations', 'aliases', 'excluded', 'notes', 'targets')
      },
    }
  )


def looks_from_json(entries: Iterable[Mapping[str, Any]]) -> tuple[LookRecord, ...]:
  """The looks logged in study.json or plan.json."""
  return tuple(
    LookRecord(**{**entry, 'answers': _tuples(entry.get('answers', ()))})
    for entry in entries
  )


def to_json(study: Study) -> dict[str, Any]:
  """The content of study.json, which `from_json` reads back to an equal study."""
  tree = {
    field.name: getattr(study, field.name)
    for field in dataclasses.fields(study)
    if field.name != 'tuning'
  }
  tuning = study.tuning
  return tree | {
    'format': 2,
    'factors': [
      {**factor._asdict(), 'levels': [level._asdict() for level in factor.levels]}
      for factor in study.factors
    ],
    'arms': [
      {**arm._asdict(), 'at': [cost._asdict() for cost in arm.at]} for arm in study.arms
    ],
    'contrasts': [
      {**contrast._asdict(), 'subject': contrast.subject}
      for contrast in study.contrasts
    ],
    'seeds': list(study.seeds),
    'metric': study.metric._asdict(),
    'metrics': {name: metric._asdict() for name, metric in study.metrics.items()},
    'data': study.data._asdict(),
    'regime': study.regime,
    'conditions': [condition._asdict() for condition in study.conditions],
    'runs': [list(run) for run in study.runs],
    'tune': {}
    if tuning is None
    else {
      'grid': tuning.grid,
      'seeds': list(tuning.seeds),
      'candidates': [candidate._asdict() for candidate in tuning.candidates],
      'chosen': {
        choice.arm: choice.numbers
        for choice in tuning.choices
        if (choice.regime, choice.budget, choice.size) == (study.regime, 1.0, 1.0)
      },
      'chosen_at': [choice._asdict() for choice in tuning.choices],
      'declared': tuning.declared,
      'final': tuning.final,
      'by': tuning.by,
    },
    'looks': [look._asdict() for look in study.looks],
    'table': study.table and study.table._asdict(),
    'until': study.until and _until_to_json(study.until),
    'claims': [claim._asdict() for claim in study.claims],
    'cells': [{'levels': levels, 'arm': arm} for levels, arm in study.cells],
  }


def _tuples(value: Any) -> Any:
  """Lists as tuples, however deep."""
  if isinstance(value, list | tuple):
    return tuple(_tuples(item) for item in value)
  return value


def _factor(entry: Mapping[str, Any]) -> factors_lib.Factor:
  levels = tuple(
    factors_lib.Level(**{**level, 'overrides': _tuples(level['overrides'])})
    for level in entry['levels']
  )
  relations = {name: _tuples(entry[name]) for name in ('requires', 'excludes')}
  return factors_lib.Factor(**{**entry, 'levels': levels, **relations})


def _arm(entry: Mapping[str, Any], tree: Mapping[str, Any]) -> StudyArm:
  values = {name: entry[name] for name in StudyArm._fields if name in entry}
  if 'steps' not in values:  # old records
    values['steps'] = tree['config']['train']['steps']
  return StudyArm(
    **{
      **values,
      'assignment': dict(entry['assignment']),
      'overrides': _tuples(entry['overrides']),
      'inapplicable': _tuples(entry['inapplicable']),
      'at': tuple(Cost(**cost) for cost in entry.get('at', ())),
    }
  )


def _contrast(entry: Mapping[str, Any]) -> factors_lib.Contrast:
  values = {name: entry[name] for name in factors_lib.Contrast._fields if name in entry}
  values.setdefault('kind', 'remove' if entry['component'] == 'reference' else 'add')
  cells = {name: tuple(entry[name]) for name in ('arm_cells', 'reference_cells')}
  return factors_lib.Contrast(**{**values, **cells})


def _table(entry: Mapping[str, Any] | None) -> Table | None:
  if not entry:
    return None
  tuples = {name: tuple(entry[name]) for name in ('percent', 'assumed')}
  return Table(**{**entry, **tuples})


_CANDIDATE_LISTS = ('search', 'claim', 'points', 'programs')


def _until(entry: Mapping[str, Any] | None) -> Until | None:
  if not entry:
    return None
  stopped = {str(arm): int(count) for arm, count in entry['stopped'].items()}
  bound, spent = (Spending(**entry.get(name, {})) for name in ('bound', 'spent'))
  per_seed = {arm: Spending(**one) for arm, one in entry.get('per_seed', {}).items()}
  sizes = tuple(map(int, entry['sizes']))
  return Until(sizes, int(entry['most']), stopped, bound, spent, per_seed)


def _until_to_json(until: Until) -> dict[str, Any]:
  return {
    **until._asdict(),
    'bound': until.bound._asdict(),
    'spent': until.spent._asdict(),
    'per_seed': {arm: one._asdict() for arm, one in until.per_seed.items()},
  }


def _tuning(entry: Mapping[str, Any] | None) -> Tuning | None:
  if not entry:
    return None
  return Tuning(
    {path: tuple(values) for path, values in entry['grid'].items()},
    tuple(entry['seeds']),
    tuple(
      Candidate(**{**row, **{k: _tuples(row.get(k, ())) for k in _CANDIDATE_LISTS}})
      for row in entry.get('candidates', ())
    ),
    tuple(Choice(**row) for row in entry.get('chosen_at', ())),
    {path: tuple(values) for path, values in entry.get('declared', {}).items()},
    entry.get('final', True),
    entry.get('by', 'grid'),
  )
