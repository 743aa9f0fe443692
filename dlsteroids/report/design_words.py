"""What a design can show, and what a look may claim, in sentences."""

from dlsteroids.analysis import looks, reach
from dlsteroids.study import study as study_lib


def describe_reach(design: reach.Reach) -> str:
  """The smallest reachable p against alpha, or what the design lacks to reach it."""
  size = f'{_count(design.contrasts, "contrast")} over {_count(design.seeds, "seed")}'
  smallest, alpha = f'{design.smallest_p:.2g}', f'{design.alpha:.2g}'
  if design.reachable:
    return f'{size}: the smallest reachable p is {smallest}, alpha is {alpha}.'
  needed = design.seeds_needed
  cure = f'at least {needed} seeds are needed' if needed else 'use fewer contrasts'
  return (
    f'This design could not have shown anything: with {size} the smallest reachable p '
    f'is {smallest}, above alpha = {alpha}; {cure}.'
  )


def warn_reach(design: reach.Reach) -> str:
  """Before training: that a design cannot reach alpha, and the option to change."""
  needed = design.seeds_needed
  cure = f'--config.study.seeds={needed}' if needed else 'fewer contrasts'
  return (
    f'too few seeds to show anything: the smallest reachable p is '
    f'{design.smallest_p:.2g}, above alpha = {design.alpha:.2g}; use {cure}'
  )


def describe_look(study: study_lib.Study, look: looks.Look) -> str:
  """Why a look's verdicts are exploratory, a sentence; '' if they are claims."""
  if not look.exploratory:
    return ''
  if look.number <= look.declared:
    return 'Not all planned runs have ended: the verdicts are exploratory.'
  plural = 's were' if look.declared > 1 else ' was'
  text = (
    f'This is look {look.number} at the study and {look.declared} look{plural} '
    'declared: its verdicts are exploratory'
  )
  if looks.standing(study):
    return f'{text}; those of look {look.declared} stand.'
  return f'{text}: results were shown before this plan was made.'


def _count(number: int, noun: str) -> str:
  return f'{number} {noun}' if number == 1 else f'{number} {noun}s'
