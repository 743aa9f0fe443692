"""The section on the worth of ideas in doublings of compute."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dlsteroids.analysis import doublings as doublings_lib
from dlsteroids.analysis import frontier
from dlsteroids.report import blocks, facts, formats, tables
from dlsteroids.study import study as study_lib

_REFUSALS = {
  'search': 'No frontiers yet: the searches or the runs at what they chose have not '
  'ended for the bare and the full model. The same command continues.',
  'budgets': 'No frontiers: the bare and the full model need two or more budgets each; '
  'set --config.study.budgets=0.25,0.0625.',
}
_REASONS = {
  frontier.BEYOND: 'an end is not within the budgets of both',
  frontier.NO_GAIN: 'it is not certain that there is a gain to divide',
  frontier.CENSORED: 'it is not certain that the bare model comes as far within its '
  'budgets, so that the doublings to divide are not known',
  frontier.OUTSIDE: 'in one of the two orders a share lies outside 0 to 100 %',
  frontier.DISAGREE: 'the two orders disagree by more than their interval',
}
_GAME = {
  'shapley': 'Shapley value',
  'from_full': 'taken from the full model',
  'to_bare': 'given to the bare model',
}
_SHORT = 24  # letters of an idea's name, at most
_UNUSED = 'not used'
_FEW = 3  # ideas that a sentence names one by one
# Months in which published systems' training compute doubled (Sevilla et al. 2022).
_PACES = ((20, 'before 2010'), (6, 'from 2010 to 2022'))


def section(study: study_lib.Study, result: doublings_lib.Doublings) -> blocks.Section:
  """Sentences, a table of worths by target, and how to read them."""
  parts: list[Any] = [blocks.Prose(text) for text in sentences(study, result)]
  if result.frontiers is not None:
    parts += [_table(study, result), blocks.Bullets(tuple(notes(study, result)))]
  return blocks.Section('What are the ideas worth?', parts, 'doublings')


def sentences(study: study_lib.Study, result: doublings_lib.Doublings) -> list[str]:
  """The answer in doublings: at two targets, how it grows, and the two orders.

  E.g. 'To reach 1.5 % test error, convolution and ReLU together are worth 4.1
  doublings of compute [3.6, 4.7]: the full model needs 77 GFLOP a run, the bare one
  1.3 TFLOP.'
  """
  if result.refusal:
    return [_REFUSALS[result.refusal]]
  texts = [together(study, result, target) for target in sentence_targets(result)]
  texts += steps(study, result)
  texts += grown(study, result)
  texts += on_the_way(study, result)
  texts += ends(study, result)
  return texts + in_years(study, result)


def together(
  study: study_lib.Study,
  result: doublings_lib.Doublings,
  target: frontier.TargetWorth,
) -> str:
  """What all ideas save on the way to one target."""
  goal = name_target(study, result, target)
  if target.moving:
    goal += ', the full model’s best'
  full, bare = describe_cost(target.full), describe_cost(target.bare)
  beyond = target.bare.kind == frontier.AT_LEAST
  text = (
    f'To reach {goal}, {call_ideas(result, target)} {_be(result, target)} worth '
    f'{describe(target.together)} of compute: the full model needs {full} a run, the '
    f'bare one {bare}{", the most that it was given" if beyond else ""}.'
    f'{say_unused(result, target)}'
  )
  if is_certain(target.together):
    return text
  return f'{text} The interval includes 0: it is not certain that they save any.'


def headline(study: study_lib.Study, result: doublings_lib.Doublings) -> str:
  """Whether the ideas save compute, at the hardest target; or why it is not known.

  E.g. 'The ideas save compute: to reach 1.5 % test error, all together are worth 4.1
  doublings [3.6, 4.7].'
  """
  if result.refusal:
    return _REFUSALS[result.refusal]
  target = pick_targets(result)[-1]
  worth = target.together
  begin = 'Whether the ideas save compute is not decided'
  if is_certain(worth):
    begin = f'The ideas {"save" if _least(worth) > 0 else "cost"} compute'
  return (
    f'{begin}: to reach {name_target(study, result, target)}, '
    f'{call_ideas(result, target)} {_be(result, target)} worth {describe(worth)}.'
    f'{say_unused(result, target)}'
  )


def call_ideas(result: doublings_lib.Doublings, target: frontier.TargetWorth) -> str:
  """'ReLU', 'convolution and ReLU together'; of many 'all ideas together'.

  Ideas that are not used on the way to the target are not named.
  """
  ideas = used_ideas(result, target)
  together = ' together' if len(ideas) > 1 else ''
  return ('all ideas' if len(ideas) > _FEW else formats.listing(ideas)) + together


def used_ideas(
  result: doublings_lib.Doublings, target: frontier.TargetWorth
) -> list[str]:
  """What is used on the way to a target; all ideas if nothing is."""
  ideas = [call_idea(idea) for idea in result.ideas]
  worths = single_worths(result, target)
  return [idea for idea, w in zip(ideas, worths) if not is_unused(w)] or ideas


def say_unused(result: doublings_lib.Doublings, target: frontier.TargetWorth) -> str:
  """' Not used: gates and attention.', after a sentence on the others; or ''."""
  used = used_ideas(result, target)
  others = [name for idea in result.ideas if (name := call_idea(idea)) not in used]
  return f' Not used: {formats.listing(others)}.' if others else ''


def is_unused(worth: frontier.Worth) -> bool:
  """Whether in no replicate an idea saves anything: a smaller set does as well."""
  ends = [end for end in (worth.ci_low, worth.ci_high) if not math.isnan(end)]
  return worth.low == worth.high == 0 and not any(ends)


def _be(result: doublings_lib.Doublings, target: frontier.TargetWorth) -> str:
  return 'are' if len(used_ideas(result, target)) > 1 else 'is'


def reached(study: study_lib.Study, result: doublings_lib.Doublings) -> str:
  """The least error on the frontiers of the full and the bare model, and its cost."""
  assert result.frontiers is not None
  ends = []
  for toolbox in (result.frontiers.full, 0):
    curve = result.frontiers.curves[toolbox]
    best = int(curve.errors[0].argmin())
    goal = name_error(study, result, float(curve.errors[0][best]))
    ends.append((goal, formats.flops(math.exp(curve.log_flops[best]))))
  (full, cost), (bare, cost_of_bare) = ends
  seeds = formats.plural(result.frontiers.n, 'seed')
  return (
    f'With all ideas the frontier comes down to {full}, at {cost} a run, the bare '
    f'model’s to {bare}, at {cost_of_bare} (means of {seeds} at what the search chose).'
  )


def pick_targets(result: doublings_lib.Doublings) -> list[frontier.TargetWorth]:
  """The easiest and the hardest target at which something is known."""
  bounded = [t for t in result.targets if t.together.kind != frontier.UNDETERMINED]
  fixed = [t for t in bounded if not t.moving] or bounded or list(result.targets)
  return fixed if len(fixed) < 2 else [fixed[0], fixed[-1]]


def sentence_targets(result: doublings_lib.Doublings) -> list[frontier.TargetWorth]:
  """The targets of sentences: two, and the full model's best if that is certain."""
  best = [t for t in result.targets if t.moving and is_certain(t.together)]
  return list(dict.fromkeys([*pick_targets(result), *best]))


def is_certain(worth: frontier.Worth) -> bool:
  """Whether a worth's interval, or what is known of its ends, excludes 0."""
  least = worth.low if math.isnan(worth.ci_low) else worth.ci_low
  most = worth.high if math.isnan(worth.ci_high) else worth.ci_high
  return least > 0 or most < 0


def hardest(result: doublings_lib.Doublings) -> frontier.TargetWorth | None:
  """The hardest target at which the worth of all ideas was measured, if any."""
  measured = [t for t in result.targets if t.together.kind == frontier.MEASURED]
  fixed = [target for target in measured if not target.moving]
  return next(reversed(fixed or measured), None)


def single_worths(
  result: doublings_lib.Doublings, target: frontier.TargetWorth
) -> list[frontier.Worth]:
  """What each idea is worth: its Shapley value, or in a ladder what its rung saves."""
  name = 'shapley' if result.is_game else 'in_order'
  return [getattr(idea, name) for idea in target.ideas]


def target_of_steps(result: doublings_lib.Doublings) -> frontier.TargetWorth | None:
  """The hardest target at which every rung was measured; None without an order."""
  measured = [
    target
    for target in result.targets
    if all(idea.in_order.kind == frontier.MEASURED for idea in target.ideas)
  ]
  return measured[-1] if measured and result.in_order else None


def steps(study: study_lib.Study, result: doublings_lib.Doublings) -> list[str]:
  """What each rung is worth over the one before it, where all were measured."""
  target = target_of_steps(result)
  if target is None or len(result.ideas) < 2:
    return []
  first, *others = (
    f'{name_idea(idea)} {_UNUSED if is_unused(worth) else describe(worth)}'
    for idea, worth in zip(result.ideas, (idea.in_order for idea in target.ideas))
  )
  begin = 'Rung by rung'
  if all(idea.year for idea in result.ideas):
    begin = 'In the order of history'
  goal = name_target(study, result, target)
  return [
    f'{begin}, each over what came before, at {goal}: {"; ".join([first, *others])}.'
  ]


def in_years(study: study_lib.Study, result: doublings_lib.Doublings) -> list[str]:
  """The worth of all ideas as years in which training compute grew as much."""
  target = hardest(result)
  if target is None or target.together.value <= 0 or not is_certain(target.together):
    return []
  goal = name_target(study, result, target)
  paces = [
    f'{number(target.together.value * months / 12)} years at the pace of {months} '
    f'months a doubling that held {when}'
    for months, when in _PACES
  ]
  return [
    f'As context, what the ideas save at {goal} in years of growth of the training '
    f'compute of published systems: {", ".join(paces)} (Sevilla et al. 2022).'
  ]


def name_idea(idea: doublings_lib.Idea) -> str:
  """'batch normalisation (2015)', 'dropout'."""
  return call_idea(idea) + (f' ({idea.year})' if idea.year else '')


def call_idea(idea: doublings_lib.Idea) -> str:
  """What its factor says of itself, if that is short; else its name."""
  short = 0 < len(idea.about) <= _SHORT
  return idea.about if short else idea.name.replace('_', ' ')


def grown(study: study_lib.Study, result: doublings_lib.Doublings) -> list[str]:
  """How the worth of all ideas and of each changes with what is asked."""
  growth = result.growth
  if growth is None or not math.isfinite(growth.per_doubling.value):
    return []
  slope = growth.per_doubling
  text = (
    'For every doubling of the full model’s compute, the worth of the ideas changes '
    f'by {signed(slope.value)} doublings'
  )
  if math.isnan(slope.ci_low):
    return [f'{text} (without an interval: some replicates do not reach the targets).']
  low, high = signed(slope.ci_low), signed(slope.ci_high)
  says = 'they pay more where more is asked'
  if slope.ci_high < 0:
    says = 'they pay less where more is asked'
  elif slope.ci_low <= 0:
    says = 'whether they pay more where more is asked is not certain'
  measured = [t for t in growth.targets if t.together.kind == frontier.MEASURED]
  first = tell_error(study, result, measured[0].error)
  last = name_target(study, result, measured[-1])
  text = (
    f'{text} [{low}, {high}] over {len(measured)} targets from {first} to {last}: '
    f'{says}.'
  )
  part = formats.sentence_case(singly(study, result))
  return [f'{text} {part}.' if part else text]


def singly(study: study_lib.Study, result: doublings_lib.Doublings) -> str:
  """'from 5.5 % to 2.3 % test error convolution 0.4 to 1.8, ReLU ...'; '' of one."""
  whole = [
    (target, single_worths(result, target))
    for target in result.targets
    if not target.moving
    and all(w.kind == frontier.MEASURED for w in single_worths(result, target))
  ]
  if len(whole) < 2 or len(result.ideas) < 2:
    return ''
  (easy, before), (hard, after) = whole[0], whole[-1]
  parts = [
    f'{call_idea(idea)} '
    + (
      _UNUSED
      if is_unused(one) and is_unused(two)
      else f'{number(one.value)} to {number(two.value)}'
    )
    for idea, one, two in zip(result.ideas, before, after)
  ]
  first = tell_error(study, result, easy.error)
  goal = name_target(study, result, hard)
  return f'from {first} to {goal} {", ".join(parts)}'


def on_the_way(study: study_lib.Study, result: doublings_lib.Doublings) -> list[str]:
  """Doublings from the bare model's least budget to a target, by both models."""
  way = find_way(result)
  if way is None:
    return []
  assert result.frontiers is not None
  curve = result.frontiers.curves[0]
  start = formats.flops(math.exp(curve.log_flops[0]))
  error = name_error(study, result, float(curve.errors[0][0]))
  goal = name_target(study, result, way.target)
  return [
    f'From the bare model at {start} a run, with {error}, to {goal} it takes '
    f'{number(way.bare)} doublings of compute alone, and {number(way.full)} with the '
    'ideas.'
  ]


class Way(NamedTuple):
  """From the bare model's least budget to a target.

  Attributes:
    target: the hardest that was measured.
    bare, full: doublings of compute to it, without ideas and with them.
  """

  target: frontier.TargetWorth
  bare: float
  full: float


def find_way(result: doublings_lib.Doublings) -> Way | None:
  """How far it is to the hardest target; None where nothing is certain there."""
  target = hardest(result)
  if target is None or not is_certain(target.together) or result.frontiers is None:
    return None
  start = result.frontiers.curves[0].log_flops[0] / math.log(2)
  bare, full = target.bare.value - start, target.full.value - start
  return Way(target, bare, full) if bare > 0 and math.isfinite(full) else None


def ends(study: study_lib.Study, result: doublings_lib.Doublings) -> list[str]:
  """Doublings bought against doublings that the ideas are worth, in both orders."""
  way = result.ends
  if way is None or way.compute_first is None or way.ideas_first is None:
    return []
  small, large = (formats.flops(budget) for budget in way.budgets)
  late, early = way.compute_first.ideas_doublings, way.ideas_first.ideas_doublings
  texts = [
    f'From the bare model at {small} to the full one at {large} a run, '
    f'{number(way.bought)} doublings of compute are bought; the ideas are worth '
    f'{describe(late)} at the large budget, {describe(early)} at the small one.'
  ]
  if not way.reason and way.ideas_share is not None:
    share = way.ideas_share
    texts.append(
      f'Of the doublings between these two ends, the ideas are {percent(share.value)} '
      f'[{percent(share.ci_low)}, {percent(share.ci_high)}], compute is the rest; '
      'the two orders agree. Other ends give other shares.'
    )
    return texts
  change = lambda worth: formats.delta(
    study.metric.column, _gain(study, worth.value), unit=True
  )
  one, two = way.compute_first, way.ideas_first
  texts.append(
    f'No share of the two is printed, as {_REASONS[way.reason]}. In '
    f'{facts.words(study, study.metric.column)}: compute first changes it by '
    f'{change(one.compute)}, then the ideas by {change(one.ideas)}; the ideas first '
    f'change it by {change(two.ideas)}, then compute by {change(two.compute)}.'
  )
  return texts


def _gain(study: study_lib.Study, fall: float) -> float:
  """A fall of the error as a change of the metric."""
  return study.metric.sign * fall


def notes(study: study_lib.Study, result: doublings_lib.Doublings) -> list[str]:
  """How to read the numbers."""
  tuning = study.tuning
  seeds = len(tuning.seeds) if tuning else 0
  paths = formats.listing(list(tuning.grid) if tuning else [])
  frontiers = result.frontiers
  n = frontiers.n if frontiers else 0
  texts = {
    f'Every arm was searched at every budget at equal FLOPs over {paths}, from the '
    'same number of first points on among the neighbours of the best until none is '
    f'better or the most points are spent: {tried(study, result)}, each of '
    f'{formats.plural(seeds, "tuning seed")}, chosen on validation. The '
    f'numbers here are means over {n} other seeds on the test split.': True,
    'Ideas are available, not mandatory: at each budget a set of ideas does what the '
    f'best of its subsets does, chosen on validation. The full model is any of '
    f'{len(study.arms)} arms, the bare one a single arm; “all, none left out” is the '
    'arm with every idea by itself, which may be worth less than nothing.': True,
    'Compute is interpolated between budgets on the isotonic frontier, error and '
    'compute on logarithmic scales, and never extrapolated: “>” and “<” are bounds '
    'where a frontier does not come down to the target within its budgets.': True,
    'The targets lie a quarter, a half and three quarters of the way between the worst '
    'and the best error that the bare and the full model share, and nine tenths of the '
    'way to the best that every set of ideas reaches.': not study.targets,
    'A Shapley value is what an idea saves, averaged over all orders in which ideas '
    'may come; but for rounding they add up to the worth of all together.': (
      result.is_game
    ),
    'The design is a ladder: an idea’s worth is what its rung saves over the rungs '
    'before, and these add up. Another order would give other numbers, and there are '
    'no Shapley values.': not result.is_game,
    'Not used: in no replicate does a set with the idea do better than the one without '
    'it. By itself it may be worse, which is worth nothing here.': any(
      is_unused(worth) for t in result.targets for worth in single_worths(result, t)
    ),
    'In the order of history is what an idea saves over those published before it; '
    'these add up, too.': result.is_game and result.in_order,
    'Intervals are of 95 %: they resample the seeds and choose points and subsets '
    'again in every replicate; test examples are not resampled. In simulations with 8 '
    'to 20 seeds they hold the worth together in 91 to 97 % of cases with 2 tuning '
    'seeds, in 97 to 99 % with 4 (docs/statistics.md).': True,
    'Left out, as under 90 % of the runs have a score: '
    f'{_left_out(result)}.': result.left_out,
  }
  return formats.those_that_hold(texts)


def tried(study: study_lib.Study, result: doublings_lib.Doublings) -> str:
  """How many points the searches tried: '9 to 33 points a budget, the bare ...'."""
  if study.tuning is None or result.frontiers is None:
    return 'no point'
  counts: dict[str, list[int]] = {}
  for one in study.tuning.candidates:
    counts.setdefault(one.arm, []).append(len(one.search))
  bare, full = (result.frontiers.cells[end] for end in (0, result.frontiers.full))
  every = _span([count for own in counts.values() for count in own])
  return (
    f'{every} points a budget (the arm with all ideas {_span(counts[full])}, the bare '
    f'one {_span(counts[bare])})'
  )


def _span(counts: Sequence[int]) -> str:
  low, high = min(counts), max(counts)
  return f'{low} to {high}' if low < high else f'{low}'


def _left_out(result: doublings_lib.Doublings) -> str:
  rungs = [f'{arm} at {budget:g}× the compute' for arm, budget in result.left_out]
  return formats.first_few(rungs, 4)


def _table(study: study_lib.Study, result: doublings_lib.Doublings) -> blocks.Table:
  """The worth of every idea at every target."""
  heads = dict(_GAME) if result.is_game else {}
  if result.in_order:
    heads['in_order'] = (
      'in the order of history' if result.is_game else 'over the rung before'
    )
  add_up = ('shapley', 'in_order')
  rows = []
  for target in result.targets:
    goal = {'Target': name_target(study, result, target)}
    whole = {n: cell(target.together) if n in add_up else '' for n in heads}
    rows.append({**goal, 'Idea': 'all together', **_headed(heads, whole)})
    alone = {
      n: cell(target.mandatory) if n in [n for n in add_up if n in heads][:1] else ''
      for n in heads
    }
    rows.append({**goal, 'Idea': 'all, none left out', **_headed(heads, alone)})
    if all(w.kind != frontier.MEASURED for w in single_worths(result, target)):
      continue
    for idea, worth in zip(result.ideas, target.ideas):
      cells = {name: idea_cell(getattr(worth, name)) for name in heads}
      rows.append({**goal, 'Idea': name_idea(idea), **_headed(heads, cells)})
  return tables.make('Worth in doublings of compute', rows, ['Target', 'Idea'])


def _headed(heads: Mapping[str, str], cells: Mapping[str, str]) -> dict[str, str]:
  return {heads[name]: text for name, text in cells.items()}


def name_target(
  study: study_lib.Study,
  result: doublings_lib.Doublings,
  target: frontier.TargetWorth,
) -> str:
  """'1.5 % test error', '1.62 test nats per character'."""
  return name_error(study, result, target.error)


def name_error(
  study: study_lib.Study, result: doublings_lib.Doublings, error: float
) -> str:
  """An error as the metric is read."""
  assert result.frontiers is not None
  column = study.metric.column
  text = tell_error(study, result, error)
  if formats.is_share(column) and result.frontiers.scale.higher:
    return f'{text} {column.split("/")[0]} error'
  return f'{text} {facts.words(study, column)}'


def tell_error(
  study: study_lib.Study, result: doublings_lib.Doublings, error: float
) -> str:
  """'2.3 %', '1.62': an error's number, without noughts that round nothing."""
  assert result.frontiers is not None
  column = study.metric.column
  if formats.is_share(column) and result.frontiers.scale.higher:
    text = formats.value('error_rate', error)
  else:
    text = formats.value(column, float(result.frontiers.scale.value(error)))
  return re.sub(r'\.0+(?!\d)|(?<=\.)(\d*?)0+(?!\d)', r'\1', text)


def describe(worth: frontier.Worth) -> str:
  """'4.1 doublings [3.6, 4.7]', 'more than 9.3 doublings', 'undetermined'."""
  match worth.kind:
    case frontier.MEASURED:
      text = f'{number(worth.value)} doublings'
      return f'{text} {interval(worth)}'.rstrip()
    case frontier.AT_LEAST:
      if number(worth.low) == '0.0':  # bounds of a difference that say nothing
        return 'an undetermined number of doublings'
      return f'more than {number(worth.low)} doublings {_bound(worth)}'.rstrip()
    case frontier.AT_MOST:
      return f'less than {number(worth.high)} doublings'
    case frontier.BETWEEN:
      return f'{_span_of(worth)} doublings'
  return 'an undetermined number of doublings'


def idea_cell(worth: frontier.Worth) -> str:
  """The worth of a single idea in a table."""
  return _UNUSED if is_unused(worth) else cell(worth)


def cell(worth: frontier.Worth) -> str:
  """A worth in a table."""
  match worth.kind:
    case frontier.MEASURED:
      return f'{number(worth.value)} {interval(worth)}'.rstrip()
    case frontier.AT_LEAST:
      if number(worth.low) == '0.0':
        return 'undetermined'
      return f'> {number(worth.low)} {_bound(worth)}'.rstrip()
    case frontier.AT_MOST:
      return f'< {number(worth.high)}'
    case frontier.BETWEEN:
      return _span_of(worth)
  return 'undetermined'


def _span_of(worth: frontier.Worth) -> str:
  """'0.3 to 1.4', or one number where the two bounds read alike."""
  low, high = number(worth.low), number(worth.high)
  return low if low == high else f'{low} to {high}'


def _bound(worth: frontier.Worth) -> str:
  """'[> 1.6]' where a bound from below is another over seeds; else ''."""
  least = number(_least(worth))
  return '' if least == number(worth.low) else f'[> {least}]'


def _least(worth: frontier.Worth) -> float:
  """What a bound from below is at least, over seeds."""
  return worth.ci_low if math.isfinite(worth.ci_low) else worth.low


def interval(worth: frontier.Worth) -> str:
  """'[3.6, 4.7]', '[3.6, ∞)'; '' of a single seed."""
  if math.isnan(worth.ci_low):
    return ''
  low = f'[{number(worth.ci_low)}' if math.isfinite(worth.ci_low) else '(−∞'
  high = f'{number(worth.ci_high)}]' if math.isfinite(worth.ci_high) else '∞)'
  return f'{low}, {high}'


def describe_cost(cost: frontier.Worth) -> str:
  """FLOPs from their log2: '77.2 GFLOP', 'more than 1.2 TFLOP'."""
  match cost.kind:
    case frontier.MEASURED:
      return formats.flops(2.0**cost.value)
    case frontier.AT_LEAST:
      return f'more than {formats.flops(2.0**cost.low)}'
    case frontier.AT_MOST:
      return f'at most {formats.flops(2.0**cost.high)}'
  return 'an unknown amount'


def number(amount: float) -> str:
  """One digit after the point, with a minus sign of its width."""
  text = f'{amount:.1f}'
  text = '0.0' if text == '-0.0' else text
  return text.replace('-', '−')


def signed(amount: float) -> str:
  """Two digits after the point, and always a sign."""
  text = f'{amount:+.2f}'
  return text.replace('-', '−')


def percent(share: float) -> str:
  """A share in whole percent."""
  return f'{100 * share:.0f}{formats.THIN}%'.replace('-', '−')
