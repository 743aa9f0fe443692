"""What tuning chose, from what is stored: no plan is needed to know a study's runs.

study.json lists for every arm and condition the runs of the search and, for each point
of the grid, the runs that would claim with it. Once a search has ended, its point
follows from the store.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dlsteroids.plan import runs as runs_lib
from dlsteroids.store import results

WHERE = ('regime', 'budget', 'size')


def choose(
  points: Sequence[Mapping[str, float]],
  search: Sequence[Sequence[str]],
  index: results.Index,
  metric: Mapping[str, Any],
) -> dict[str, float] | None:
  """The grid point with the best mean validation score; None before the search ended.

  Args:
    points: of the grid.
    search: fingerprints of the search's runs, by point.
    index: the store.
    metric: 'name' and 'better' of the one that decides.
  """
  means = []
  for names in search:
    found = [index.records[name] for name in names if name in index.records]
    if len(found) < len(names):
      return None
    scores = [record.run['values'][f'validation/{metric["name"]}'] for record in found]
    means.append(sum(scores) / len(scores))
  return runs_lib.choose(points, means, metric['better'])


def settle(told: Mapping[str, Any], index: results.Index) -> dict[str, Any]:
  """study.json with the tuned numbers and runs that follow from the store."""
  tune = told.get('tune') or {}
  if 'candidates' not in tune:
    return dict(told)
  points = runs_lib.points(tune['grid'])
  runs = [row for row in told['runs'] if row[2] != runs_lib.TUNED]
  chosen, everywhere = {}, []
  for row in tune['candidates']:
    numbers = choose(points, row['search'], index, told['metric'])
    if numbers is None:
      continue  # it runs or failed: the arm is untuned, which the report shows
    where = {name: row[name] for name in WHERE}
    everywhere.append({'arm': row['arm'], **where, 'numbers': numbers})
    if tuple(where.values()) == (told['regime'], 1.0, 1.0):
      chosen[row['arm']] = numbers
    claim = row['claim'][points.index(numbers)]
    runs += [
      [row['arm'], seed, runs_lib.TUNED, name, *where.values(), row['program']]
      for seed, name in zip(told['seeds'], claim)
    ]
  tune = {**tune, 'chosen': chosen, 'chosen_at': everywhere}
  return {**told, 'runs': runs, 'tune': tune}


def wanted(told: Mapping[str, Any]) -> dict[str, str]:
  """Every run that a settled study asks for: its program by fingerprint."""
  found = {
    name: row['program']
    for row in (told.get('tune') or {}).get('candidates', ())
    for names in row['search']
    for name in names
  }
  return found | {row[3]: row[7] for row in told['runs'] if len(row) > 7}
