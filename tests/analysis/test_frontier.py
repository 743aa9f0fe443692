"""Worth in doublings against closed forms, hand loops and bisection.

Oracles: power laws whose compute to a target is known; a loop over rungs for C_S(t);
bisection on the true covers; `shapley.shapley` for exact games; replicates by hand.
"""

import itertools
import math

import numpy as np
import pytest

from dlsteroids.analysis import frontier, gains, shapley
from tests.fixtures import frontier_cases as cases

NATS = cases.NATS
OWN, FAR = 4.0 ** np.arange(2, 8), 4.0 ** np.arange(2, 11)


def trace(gain, budgets, ideas=('a', 'b'), floor=0.0, replicates=19, **options):
  errors = cases.power_law(gain, floor)
  evidence = cases.evidence(ideas, errors, budgets, **options)
  return frontier.trace(evidence, NATS, replicates)


def multiply(*factors):
  """Gains that do not depend on compute, one a toolbox's idea."""
  return lambda toolbox, flops: np.full_like(
    flops, math.prod(f for i, f in enumerate(factors) if toolbox >> i & 1)
  )


def everywhere(count, bare=FAR, own=OWN):
  return {toolbox: own if toolbox else bare for toolbox in range(count)}


def by_idea(row):
  return {idea.idea: idea for idea in row.ideas}


def test_power_laws_have_their_exact_worth():
  row = frontier.worth_at(trace(multiply(8, 2), everywhere(4)), 0.05)
  assert row.together.kind == frontier.MEASURED
  assert row.together.value == pytest.approx(4)
  assert (row.bare.value, row.full.value) == pytest.approx(
    (math.log2(400), math.log2(25))
  )
  for name, worth in (('a', 3), ('b', 1)):
    idea = by_idea(row)[name]
    for part in (idea.shapley, idea.from_full, idea.to_bare):
      assert part.value == pytest.approx(worth)
      assert part.ci_low == pytest.approx(worth) == part.ci_high


def test_ideas_that_hurt_are_not_used_and_a_dummy_is_worth_nothing():
  row = frontier.worth_at(trace(multiply(8, 0.25), everywhere(4)), 0.05)
  assert row.together.value == pytest.approx(3)
  assert row.mandatory.value == pytest.approx(1)  # 8 * 0.25 = 2
  assert by_idea(row)['b'].shapley.value == pytest.approx(0, abs=1e-9)
  assert by_idea(row)['b'].from_full.value == pytest.approx(0, abs=1e-9)


def test_a_crossing_follows_bisection_on_fine_rungs():
  # the second idea halves the compute that small budgets make use of
  fine = 2.0 ** np.arange(3, 20, 0.1)
  errors = cases.power_law(cases.crossing)
  flat = trace(cases.crossing, dict.fromkeys(range(8), fine), 'abc', 0.01)
  for target in (0.1, 0.04, 0.02):
    cost = cases.true_costs(errors, 8, target, (1, 2.0**24))
    row = frontier.worth_at(flat, target)
    phi = shapley.shapley(-cost[None])[0]
    assert row.together.value == pytest.approx(cost[0] - cost[7], abs=2e-3)
    assert [i.shapley.value for i in row.ideas] == pytest.approx(phi, abs=2e-3)
  assert frontier.worth_at(flat, 0.1).ideas[1].shapley.value == pytest.approx(0)


@pytest.mark.parametrize('target', [0.3, 0.11, 0.052, 0.03, 0.02])
def test_cost_is_that_of_a_loop_over_rungs(target):
  noise = cases.Noise(0.02, 0.2, 0.1)
  front = trace(multiply(1, 1), everywhere(4), noise=noise, seeds=3, floor=0.01)
  curve = front.curves[0]
  log, errors = np.log2(FAR), gains.isotonic(curve.means[0])
  low, high = log[-1], math.inf
  for i, error in enumerate(errors):
    if error <= target:
      low, high = -math.inf, log[0]
      if i:
        share = math.log(errors[i - 1] / target) / math.log(errors[i - 1] / error)
        low = high = log[i - 1] + share * (log[i] - log[i - 1])
      break
  worth = frontier.worth_at(front, target).bare
  assert worth.low == pytest.approx(low) or math.isinf(low)
  if math.isfinite(low):  # a toolbox with a bound may be bounded by another, too
    assert worth.low == pytest.approx(low)
  assert worth.high == pytest.approx(high)


def test_efficiency_holds_in_every_replicate():
  noise = cases.Noise(0.02, 0.1, 0.05)
  front = trace(
    cases.crossing, everywhere(8), 'abc', 0.01, noise=noise, seeds=6, tuning=2,
    worse=(1, 1.02, 1.3),
  )  # fmt: skip
  place = np.full(20, math.log(0.05))
  costs = frontier._costs(front, place)
  assert not any(span.open.any() for span in costs)
  together = costs[0].low - costs[7].low
  parts = frontier._shapley(front, costs)
  assert sum(part.low for part in parts) == pytest.approx(together)
  oracle = shapley.shapley(-np.stack([span.low for span in costs], 1))
  assert np.stack([part.low for part in parts], 1) == pytest.approx(oracle)


def test_a_bare_toolbox_that_never_arrives_makes_bounds():
  row = frontier.worth_at(trace(multiply(64, 2), everywhere(4, OWN)), 0.004)
  # C_full = 62,500 / 128 and the bare one's last budget is 4^7
  bound = math.log2(4**7 / (62_500 / 128))
  assert row.together.kind == frontier.AT_LEAST
  assert row.together.low == pytest.approx(bound)
  assert math.isinf(row.together.ci_high)
  ideas = by_idea(row)
  assert ideas['a'].from_full.kind == frontier.AT_LEAST
  assert ideas['b'].from_full.value == pytest.approx(1)
  assert ideas['a'].shapley.kind == frontier.AT_LEAST
  assert ideas['a'].shapley.low <= 6
  # the toolbox of b never arrives either: what b brings to the bare one may be anything
  assert ideas['b'].to_bare.low == 0
  assert math.isinf(ideas['b'].to_bare.high)


def test_a_toolbox_that_arrives_at_once_is_bounded_on_the_other_side():
  row = frontier.worth_at(trace(multiply(4, 1), everywhere(4)), 0.2)
  # bare needs 25, the full one 6.25, below its smallest budget of 16
  assert row.full.kind == frontier.AT_MOST
  assert row.full.high == pytest.approx(4)
  assert row.together.kind == frontier.AT_LEAST
  assert row.together.low == pytest.approx(math.log2(25 / 16))
  both = frontier.worth_at(trace(multiply(4, 1), everywhere(4)), 0.9).together
  assert (both.low, both.high) == (0, math.inf)


def test_an_error_that_no_toolbox_reaches_is_undetermined():
  row = frontier.worth_at(trace(multiply(4, 1), everywhere(4, OWN)), 1e-3)
  assert row.full.kind == frontier.AT_LEAST
  assert row.together.low == 0
  assert math.isinf(row.together.high)


def test_nothing_is_extrapolated():
  front = trace(multiply(4, 2), everywhere(4))
  for target in np.geomspace(1e-3, 0.9, 60):
    row = frontier.worth_at(front, target)
    for worth, limits in ((row.bare, FAR), (row.full, OWN)):
      if worth.kind == frontier.MEASURED:
        ends = np.log2(limits[[0, -1]])
        assert ends[0] - 1e-9 <= worth.value <= ends[1] + 1e-9


def test_a_missing_toolbox_is_bounded_by_its_subsets_and_supersets():
  budgets = {0: FAR, 1: OWN, 3: OWN}  # a ladder: bare, a, a and b
  row = frontier.worth_at(trace(multiply(8, 2), budgets), 0.05)
  ideas = by_idea(row)
  assert row.together.value == pytest.approx(4)
  assert ideas['a'].to_bare.value == pytest.approx(3)
  assert ideas['b'].from_full.value == pytest.approx(1)
  # C of {b} lies between those of the full and of the bare toolbox
  assert ideas['b'].to_bare.kind == frontier.BETWEEN
  assert (ideas['b'].to_bare.low, ideas['b'].to_bare.high) == pytest.approx((0, 4))
  assert (ideas['a'].shapley.low, ideas['a'].shapley.high) == pytest.approx((1.5, 3.5))
  assert (ideas['b'].shapley.low, ideas['b'].shapley.high) == pytest.approx((0.5, 2.5))


def test_an_inapplicable_idea_adds_nothing():
  # b requires a: without it the arm is the bare one, even where that has a bound
  cells = {0: 'bare', 1: 'a', 2: 'bare', 3: 'ab'}
  budgets = {0: FAR, 1: OWN, 3: OWN}
  errors = cases.power_law(multiply(8, 2), 0.0)
  evidence = cases.evidence(
    ('a', 'b'), errors, budgets, cells={k: cells[k] for k in budgets}
  )
  front = frontier.trace(evidence._replace(cells=cells), NATS, 9)
  row = frontier.worth_at(front, 0.05)
  assert by_idea(row)['b'].to_bare.value == 0
  assert by_idea(row)['b'].shapley.value == pytest.approx(0.5)
  assert by_idea(row)['a'].shapley.value == pytest.approx(3.5)
  far = frontier.worth_at(front, 0.0005)
  assert by_idea(far)['b'].to_bare.kind == frontier.MEASURED


def test_candidates_and_subsets_are_chosen_on_validation_again():
  rng = np.random.default_rng(3)
  rungs = {}
  for arm in ('bare', 'full'):
    rungs[arm] = []
    for budget in (16.0, 64.0):
      search = rng.uniform(0.9, 1.1, (2, 3, 2))
      claim = rng.uniform(0.9, 1.1, (2, 4))
      chosen = int(search[0].mean(1).argmin())
      rungs[arm].append(frontier.Rung(budget, *search, chosen, *claim))
  evidence = frontier.Evidence(('idea',), {0: 'bare', 1: 'full'}, rungs)
  front = frontier.trace(evidence, NATS, 50)
  claim = gains.draw_counts(4, 50)
  tuning = frontier._tuning_weights(evidence, 50)[2]
  mixed = 0
  for b, i in itertools.product(range(51), range(2)):
    errors = {}
    for arm in rungs:
      rung = rungs[arm][i]
      searched = [rung.search_validation @ tuning[b], rung.search_test @ tuning[b]]
      k = int(np.argmin(searched[0])) if b else rung.chosen
      errors[arm] = [
        own + table[k] - table[rung.chosen]
        for own, table in zip((rung.claim_validation, rung.claim_test), searched)
      ]
    drawn = np.repeat(np.arange(4), claim[b])
    bare = [errors['bare'][1][seed] for seed in drawn]
    assert front.curves[0].means[b, i] == pytest.approx(np.mean(bare))
    chosen = []
    for seed in drawn:  # the subset on which the other seeds do best on validation
      others = drawn[drawn != seed] if (drawn != seed).any() else drawn
      means = {arm: table[0][others].mean() for arm, table in errors.items()}
      chosen.append(min(('full', 'bare'), key=means.__getitem__))
    mean = np.mean([errors[arm][1][s] for arm, s in zip(chosen, drawn)])
    assert front.curves[1].means[b, i] == pytest.approx(mean)
    mixed += len(set(chosen)) > 1
  assert mixed


def test_a_difference_of_candidates_leaves_an_error():
  # on tuning seed 1 the other candidate is .5 better, more than the claim's error
  rung = frontier.Rung(
    16.0, np.array([[0.5, 0.6], [1.1, 0.3]]),
    np.array([[0.5, 0.6], [0.9, 0.1]]), 0, np.full(3, 0.3), np.full(3, 0.3),
  )  # fmt: skip
  evidence = frontier.Evidence(
    ('idea',), {0: 'bare', 1: 'full'}, {'bare': [rung], 'full': [rung]}
  )
  means = frontier.trace(evidence, NATS, 99).curves[0].means
  assert means.min() == 0.05  # half the least error of any run


def test_a_seed_without_a_score_is_dropped_everywhere():
  errors = cases.power_law(multiply(8, 2), 0.0)
  evidence = cases.evidence(
    ('a', 'b'), errors, everywhere(4), seeds=5, noise=cases.Noise(0, 0.1, 0)
  )
  first, *rest = evidence.rungs['1']
  holed = first.claim_test.copy()
  holed[2] = np.nan
  rungs = {**evidence.rungs, '1': (first._replace(claim_test=holed), *rest)}
  front = frontier.trace(evidence._replace(rungs=rungs), NATS, 9)
  assert (front.n, front.planned) == (4, 5)
  kept = [0, 1, 3, 4]
  means = [r.claim_test[kept].mean() for r in evidence.rungs['0']]
  assert front.curves[0].means[0] == pytest.approx(means)


def test_a_share_without_any_error_has_a_place():
  scale = gains.Scale('test/accuracy', True, True, 0.5 / 1000)
  errors = lambda toolbox, flops: np.where(flops > 300, 0.0, 0.1 / (1 + toolbox))
  evidence = cases.evidence(('a',), errors, {0: FAR, 1: OWN})
  row = frontier.worth_at(frontier.trace(evidence, scale, 9), 0.0)
  assert row.together.kind == frontier.MEASURED


def test_default_targets_are_reached_by_bare_and_full():
  front = trace(multiply(8, 2), everywhere(4))
  *inside, least = frontier.default_targets(front)
  assert least is None
  assert len(inside) == 4
  assert inside == sorted(inside, reverse=True)
  every = [frontier.worth_at(front, error) for error in inside]
  for error, worth in zip(inside, every):
    assert worth.together.value == pytest.approx(4)
    assert error == float(f'{error:.2g}')
  # one of them is reached by every toolbox, so that each idea was measured there
  assert any(
    all(idea.shapley.kind == frontier.MEASURED for idea in worth.ideas)
    for worth in every
  )
  row = frontier.worth_at(front, least)
  assert row.moving
  assert row.full.kind == frontier.MEASURED
  assert row.error == pytest.approx((16 * OWN[-1]) ** -0.5)
  apart = trace(multiply(4.0**12, 1), everywhere(4, OWN))
  assert frontier.default_targets(apart) == (None,)


def test_growth_where_both_reach_a_target_at_once():
  # seeds scatter by more than compute brings, so that some replicates begin below it
  errors = lambda toolbox, flops: 2.0 - 0.01 * np.log(flops) - 0.001 * toolbox
  noise = cases.Noise(seed=0.1)
  evidence = cases.evidence(
    ('a',), errors, {0: FAR, 1: OWN}, seeds=4, tuning=2, noise=noise
  )
  with np.errstate(invalid='raise'):
    result = frontier.growth(frontier.trace(evidence, NATS, 99))
  assert 0.5 < result.share_left_out < 1
  assert np.isnan(result.per_doubling.ci_low)


def test_growth_of_an_idea_that_changes_the_exponent():
  # e_bare = C^-1/4 and e_full = C^-1/2: worth -2 log2 t, i.e. log2 C_full
  errors = lambda toolbox, flops: flops ** (-0.5 if toolbox else -0.25)
  evidence = cases.evidence(('a',), errors, {0: 4.0 ** np.arange(2, 14), 1: OWN})
  result = frontier.growth(frontier.trace(evidence, NATS, 19))
  assert result.used == 5
  assert result.share_left_out == 0
  assert result.per_doubling.value == pytest.approx(1)
  assert result.per_place.value == pytest.approx(2 / math.log(2))
  assert result.per_place.ci_low == pytest.approx(2 / math.log(2))
  constant = frontier.growth(trace(multiply(8, 2), everywhere(4)))
  assert constant.per_doubling.value == pytest.approx(0, abs=1e-9)


def test_ends_of_constant_worth_have_a_share_on_which_the_orders_agree():
  noise = cases.Noise(0, 1e-3, 0)  # an interval of no width holds no rounding
  rng = np.random.default_rng(1)
  front = trace(multiply(8, 2), everywhere(4), noise=noise, seeds=8, rng=rng)
  ends = frontier.compare_ends(front, 16, 4**6)
  assert ends.bought == 8
  assert ends.reason == ''
  assert ends.total.value == pytest.approx(12, abs=0.01)
  assert ends.ideas_share.value == pytest.approx(1 / 3, abs=1e-3)
  first = ends.compute_first
  assert first.compute.value == pytest.approx(1 / 4 - 1 / 64, abs=1e-3)
  assert first.ideas.value == pytest.approx(1 / 64 - 1 / 256, abs=1e-4)
  for order in (ends.compute_first, ends.ideas_first):
    assert order.ideas_doublings.value == pytest.approx(4, abs=0.02)
    both = order.compute.value + order.ideas.value
    assert both == pytest.approx(1 / 4 - 1 / 256, abs=1e-3)


def test_ends_refuse_a_share_with_a_reason():
  growing = lambda toolbox, flops: flops ** (1.0 * (toolbox > 0))
  far = {0: 4.0 ** np.arange(2, 14), 1: OWN}
  front = trace(growing, far, ('a',), noise=cases.Noise(0, 1e-3, 0), seeds=8)
  assert frontier.compare_ends(front, 16, 4**6).reason == frontier.DISAGREE
  short = trace(multiply(8, 2), everywhere(4, OWN))
  assert frontier.compare_ends(short, 16, 4**7).reason == frontier.CENSORED
  assert frontier.compare_ends(short, 15, 4**6).reason == frontier.BEYOND
  flat = cases.evidence(('a',), lambda toolbox, c: 0 * c + 0.5, {0: FAR, 1: OWN})
  nothing = frontier.compare_ends(frontier.trace(flat, NATS, 9), 16, 64)
  assert nothing.reason == frontier.NO_GAIN
  with pytest.raises(ValueError, match='ends must rise'):
    frontier.compare_ends(short, 64, 16)


def test_useless_ideas_have_a_share_of_zero():
  front = trace(multiply(0.25, 0.5), everywhere(4))
  ends = frontier.compare_ends(front, 16, 4**6)
  assert ends.reason == ''
  assert ends.ideas_share.value == 0


def test_bad_evidence_is_one_clear_line():
  errors = cases.power_law(multiply(8, 2), 0.0)
  good = cases.evidence(('a', 'b'), errors, everywhere(4))
  rung = good.rungs['1'][0]

  def refuses(match, arm='1', cells=None, **changes):
    rungs = {**good.rungs, arm: (rung._replace(**changes), *good.rungs['1'][1:])}
    bad = good._replace(rungs=rungs, cells=cells or good.cells)
    with pytest.raises(ValueError, match=match):
      frontier.trace(bad, NATS, 9)

  refuses('above 0', budget=-1.0)
  refuses("arm '1' has a budget twice", budget=64.0)
  refuses('candidate 3 is not one of 1', chosen=3)
  refuses('2 candidates need a tuning seed', search_validation=np.ones((2, 0)),
          search_test=np.ones((2, 0)))  # fmt: skip
  refuses(r'must be \[K, T\]', search_test=np.ones(2))
  refuses(r'must be \[S\]', claim_test=np.ones(3))
  refuses('3 seeds of the claim, others 2', claim_test=np.ones(3),
          claim_validation=np.ones(3))  # fmt: skip
  refuses('no seed of the claim', claim_test=np.full(2, np.nan))
  refuses('bare and the full toolbox', cells={0: '0', 1: '1'})
  refuses('toolbox 4', cells={**good.cells, 4: '1'})
  refuses("arm 'other' has no budget", cells={**good.cells, 2: 'other'})
  with pytest.raises(ValueError, match='no place'):
    frontier.worth_at(frontier.trace(good, NATS, 9), -0.5)


def test_targets_near_one_another_are_not_rounded_into_one():
  # 2.3 to 1.9 nats: two digits would leave two of five
  evidence = cases.evidence(
    ('a',), lambda toolbox, flops: 1.8 + 0.5 * (2**toolbox * flops / 16) ** -0.2,
    everywhere(2), seeds=3,
  )  # fmt: skip
  front = frontier.trace(evidence, NATS, 19)
  growth = frontier.growth(front)
  errors = [target.error for target in growth.targets]
  assert len(set(errors)) == growth.used == 5
  logs = np.log(errors)
  assert np.diff(logs) == pytest.approx(np.diff(logs).mean(), rel=0.5)
  fixed = [error for error in frontier.default_targets(front) if error is not None]
  assert len(set(fixed)) == 4
  assert growth.per_doubling.value == pytest.approx(0, abs=0.02)  # always one doubling
