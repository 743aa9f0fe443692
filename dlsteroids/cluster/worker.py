"""`--action=work --programs=ID,…`: trains some programs of a study that is planned.

Executors start it; users may start it by hand on any machine that sees the workdir. It
plans its own programs only, shares them by leases, and stores what it finishes; killed
and started again anywhere, it continues.
"""

import contextlib
import pathlib
from collections.abc import Callable, Mapping, Sequence

from dlsteroids.cluster import child
from dlsteroids.config import files
from dlsteroids.plan import manifest, study_plan, units
from dlsteroids.run import launch, local, sharing
from dlsteroids.store import failures
from dlsteroids.util import errors, lock


def work(
  request: files.Request,
  workdir: pathlib.Path,
  programs: Sequence[str],
  watch: local.Watch,
  say: Callable[[str], None],
) -> Mapping[str, str]:
  """Trains what the store lacks of programs; returns why runs failed, by fingerprint.

  A mistake is also stored as the reason of its programs' failure: the launch that
  started this worker may be on another machine.

  Raises:
    UserError: if the workdir's plan has no such program, or nothing can be trained.
  """
  child.follow_parent()
  layouts = manifest.read_layouts(workdir)
  for program in programs:
    if program not in layouts:
      guess = errors.did_you_mean(program, layouts)
      raise errors.UserError(
        f'no program {program!r}{guess} in {workdir}/plan.json; there are '
        f'{", ".join(layouts) or "none: run the study first"}'
      )
  arms = {program: layouts[program]['arms'] for program in programs}
  try:
    plan = launch.plan_of(request, workdir, programs=arms)
    if not set(programs) <= set(plan.layouts):
      raise errors.UserError(
        f'{workdir}/plan.json was written from another configuration or other code; '
        'run the study again'
      )
    with lock.hold(workdir):
      plan = study_plan.with_layouts(plan, manifest.read_layouts(workdir))
      plan = manifest.with_written_trials(plan, workdir)
      manifest.write_layouts(plan, workdir)
    patience = 2 * plan.config['engine']['lease_seconds']
    return sharing.train(plan, units.make(plan), workdir, watch, say, patience)
  except errors.UserError as error:
    with contextlib.suppress(OSError):  # a full disk
      for program in programs:
        failures.write(workdir, program, {}, str(error))
    raise
