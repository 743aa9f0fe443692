"""Notes and refusals of an attribution in sentences."""

from dlsteroids.analysis import attribution
from dlsteroids.report import formats

_SHOWN = 3  # of a list of arms

_NOTES = {
  'uncorrected': 'The p-values are those of single rows, not corrected for their '
  'number.',
  'one_budget': 'Compute is no player, since there is one budget: '
  'study.budgets=0.0625,0.25 adds smaller ones.',
  'no_ratio': 'No headline ratio was declared beforehand (study.ratio): the widest is '
  'shown.',
  'unequal_flops': 'A budget is equal {regime}, not equal FLOPs (study.regimes=flops): '
  'what an idea costs in compute is counted as the idea’s.',
  'untuned': 'Numbers such as the learning rate are the same at every budget, not '
  'tuned (study.tune): a budget at which they are ill-chosen changes the shares.',
  'ratio_left_out': 'The ratio {ratio:g} is left out. {refusal}',
  'levels_between': 'Of each factor the first level is present and the last absent.',
  'orders': 'Estimated from {count} of {of:,} orders of the ideas; the intervals are '
  'over seeds and orders.',
  'fraction': 'Estimated by main effects from {count} of {of} combinations of the '
  'ideas: what three or more do only together is not told apart.',
  'seeds_dropped': '{n} of {planned} seeds have every run that is needed.',
  'few_seeds': 'With {n} seeds the intervals are Student’s t, descriptive only; from '
  '{fewest} seeds on they are those of the sign-flip test.',
  'diverged': '{runs} diverged and count with the score of a guess.',
  'no_log': 'No shares of the logarithm of the error: {why}.',
  'no_shares': '{lack}: no shares ({scale}).',
  'estimated_gain': 'The bare or the full model was not run: the gain is an estimate '
  '({scale}).',
  'order_error': 'Which orders were drawn adds a standard error of up to {percent:.2g} '
  '% of the gain ({scale}).',
}
_REFUSALS = {
  'design': 'it needs combinations of factors, and the design {design} leaves them '
  'out; use study.design=factorial (2^{factors} combinations of {factors} factors), '
  'fraction or permutations.',
  'reserved': 'rename the factor {factor!r}, a row is so named.',
  'excluded': '{listed} cannot be, so the game is not defined; leave one of the two '
  'out (study.only).',
  'missing_arms': '{count} of {of} combinations have no arm ({listed}); run the study '
  'again to plan them.',
  'confounded': 'the combinations that were run confound ideas with pairs of ideas (no '
  'fraction of resolution IV); use study.design=factorial.',
  'unfinished': 'no run has ended of {listed}; run the study again, it trains what is '
  'missing.',
  'seeds': '{has}; it takes 2 for an interval and {fewest} for one that is more than '
  'descriptive (study.seeds).',
  'ratio': 'the headline ratio {ratio:g} is none of the ratios of budgets ({listed}); '
  'change study.ratio or study.budgets.',
}
_NO_LOG = {
  'equal': 'all runs score the same',
  'unknown_size': 'the number of test examples is unknown',
  'no_error': '{metric} is no error',
  'not_positive': '{metric} is not always above zero',
}


def describe(note: attribution.Note) -> str:
  """A note or a refusal in one sentence."""
  values = {**note.values, **_words(note)}
  if note.kind in _NOTES:
    return _NOTES[note.kind].format(**values)
  return f'No attribution: {_REFUSALS[note.kind].format(**values)}'


def describe_all(result: attribution.Attribution) -> tuple[str, ...]:
  """The notes of an attribution, a sentence each."""
  return tuple(describe(note) for note in result.notes)


def _words(note: attribution.Note) -> dict[str, object]:
  """What a sentence needs beside the note's own values."""
  values = note.values
  match note.kind:
    case 'ratio_left_out':
      return {'refusal': describe(values['refusal'])}
    case 'diverged':
      return {'runs': f'{values["count"]} run{"s" if values["count"] > 1 else ""}'}
    case 'no_log':
      metric = formats.name(values['metric'])
      return {'why': _NO_LOG[values['why']].format(metric=metric)}
    case 'no_shares':
      few = values['few']
      gain = 'The interval of the whole gain includes 0'
      return {'lack': 'Too few seeds' if few else gain}
    case 'order_error':
      return {'percent': 100 * values['share']}
    case 'excluded':
      return {'listed': formats.listing(values['pairs'])}
    case 'missing_arms':
      return {'count': len(values['cells']), 'listed': _first(values['cells'])}
    case 'unfinished':
      return {'listed': _first([f'{a} at budget {b:g}' for a, b in values['arms']])}
    case 'seeds':
      several = f'{values["n"]} of {values["planned"]} seeds has every run'
      return {'has': several if values['planned'] > 1 else 'there is one seed'}
    case 'ratio':
      ratios = ', '.join(f'{ratio:g}' for ratio in values['ratios'])
      return {'listed': ratios or 'there is only one budget'}
  return {}


def _first(items: list[str]) -> str:
  """The first few of a list, and how many more there are."""
  more = len(items) - _SHOWN
  return '; '.join(items[:_SHOWN]) + (f' and {more} more' if more > 0 else '')
