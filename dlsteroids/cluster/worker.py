"""`--action=work --programs=ID,…`: trains some programs of a study that is planned.

It is what executors start, and anyone may start by hand on any machine that sees the
workdir. It plans its own programs only, shares them by leases, and stores what it
finishes; killed and started again anywhere it goes on.
"""

import contextlib
import pathlib
from collections.abc import Callable, Mapping, Sequence

from dlsteroids.cluster import child
from dlsteroids.config import files
from dlsteroids.plan import manifest, units
from dlsteroids.run import launch, local, sharing
from dlsteroids.store import failures
from dlsteroids.util import environment, errors


def work(
  asked: files.Asked,
  workdir: pathlib.Path,
  programs: Sequence[str],
  watch: local.Watch,
  say: Callable[[str], None],
) -> Mapping[str, str]:
  """Trains what the store lacks of programs; returns reasons by failed fingerprint.

  A mistake is stored as the reason of its programs' failure, too: who started this
  worker may be on another machine.

  Raises:
    UserError: if the workdir's plan has no such program, or nothing can be trained.
  """
  child.follow_parent()
  told = manifest.read_layouts(workdir)
  for program in programs:
    if program not in told:
      guess = errors.did_you_mean(program, told)
      raise errors.UserError(
        f'no program {program!r}{guess} in {workdir}/plan.json; there are '
        f'{", ".join(told) or "none: run the study first"}'
      )
  wanted = {program: told[program]['arms'] for program in programs}
  try:
    made = launch.plan_of(asked, workdir, programs=wanted)
    if not set(programs) <= set(made.layouts):
      raise errors.UserError(
        f'{workdir}/plan.json was written from another configuration or other code; '
        'run the study again'
      )
    with environment.hold(workdir):
      made = manifest.lay_out(made, manifest.read_layouts(workdir))
      manifest.write_layouts(made, workdir)
    patience = 2 * made.config['engine']['lease_seconds']
    return sharing.train(made, units.make(made), workdir, watch, say, patience)
  except errors.UserError as error:
    with contextlib.suppress(OSError):  # a full disk
      for program in programs:
        failures.write(workdir, program, {}, str(error))
    raise
