"""N-gram models of a text, counted by sorting: libraries build them far more slowly.

The reference for language models: what counting alone predicts. Witten and Bell's
interpolation (1991; method C), which has nothing to tune: after a context h that
occurred n(h) times, followed by t(h) distinct symbols,

  p(w | h) = (n(h w) + t(h) p(w | h')) / (n(h) + t(h)),

where h' is h without its first symbol; p(w | h) = p(w | h') where h never occurred;
below the unigram is the uniform 1 / V.
"""

import math
from typing import NamedTuple

import numpy as np

NAMES = ('uniform', 'unigram', 'bigram', 'trigram')
LIMIT = 1 << 24  # symbols to count in: the last of the training text
CHUNK = 1 << 20  # symbols scored at once
NEVER = np.int64(1) << 62  # larger than any n-gram's number


class Counts(NamedTuple):
  """How often the n-grams of one order occur, each array ending in a zero for `NEVER`.

  Attributes:
    grams: int64, sorted; a gram's number is its symbols as digits to the base V.
    times: n(h w) of each gram.
    contexts: int64, sorted; the numbers of the h.
    totals: n(h) of each context.
    kinds: t(h) of each context.
  """

  grams: np.ndarray
  times: np.ndarray
  contexts: np.ndarray
  totals: np.ndarray
  kinds: np.ndarray


def _number(text: np.ndarray, order: int, vocabulary: int) -> np.ndarray:
  """The number of the n-gram at each place of `text`: int64 [L - order + 1]."""
  count = max(len(text) - order + 1, 0)
  total = np.zeros(count, np.int64)
  for i in range(order):
    total = total * vocabulary + text[i : i + count]
  return total


def count(text: np.ndarray, order: int, vocabulary: int) -> Counts:
  """The n-grams of `order` in `text`, integers [L] below `vocabulary`."""
  grams, times = np.unique(_number(text, order, vocabulary), return_counts=True)
  contexts, first = np.unique(grams // vocabulary, return_index=True)
  ends = np.append(first, len(grams))
  summed = np.append(0, np.cumsum(times))
  return Counts(
    grams=np.append(grams, NEVER),
    times=np.append(times, 0),
    contexts=np.append(contexts, NEVER),
    totals=np.append(np.diff(summed[ends]), 0),
    kinds=np.append(np.diff(ends), 0),
  )


def _look_up(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
  """The place of each of `wanted` in sorted `keys`; the last place if it is missing."""
  places = np.searchsorted(keys, wanted)
  return np.where(keys[places] == wanted, places, len(keys) - 1)


def likelihoods(
  models: list[Counts], stretch: np.ndarray, vocabulary: int
) -> np.ndarray:
  """p of each symbol of `stretch` but the first two: [1 + models, L - 2]."""
  chance = np.full(len(stretch) - 2, 1 / vocabulary)
  rows = [chance]
  for order, model in enumerate(models, 1):
    grams = _number(stretch[3 - order :], order, vocabulary)
    at = _look_up(model.contexts, grams // vocabulary)
    times = model.times[_look_up(model.grams, grams)]
    total, kinds = model.totals[at], model.kinds[at]
    mixed = (times + kinds * chance) / np.maximum(total + kinds, 1)
    chance = np.where(total > 0, mixed, chance)
    rows.append(chance)
  return np.stack(rows)


def references(
  text: np.ndarray, trained: int, start: int, vocabulary: int
) -> dict[str, dict[str, float]]:
  """Scores of n-gram models of `text[:trained]` on `text[start:]`.

  Args:
    text: integers [L] below `vocabulary`.
    trained: symbols of the training text; at most the last `LIMIT` are counted.
    start: of the test split, at least 2.
    vocabulary: V, at most 65,536.

  Returns:
    By name in `NAMES`: 'test/nats' and 'test/bits' per symbol.
  """
  counted = text[max(trained - LIMIT, 0) : trained]
  models = [count(counted, order, vocabulary) for order in (1, 2, 3)]
  total = np.zeros(len(NAMES))
  for at in range(start, len(text), CHUNK):
    stretch = text[at - 2 : at + CHUNK]
    total -= np.log(likelihoods(models, stretch, vocabulary)).sum(1)
  nats = (total / (len(text) - start)).tolist()
  return {
    name: {'test/nats': value, 'test/bits': value / math.log(2)}
    for name, value in zip(NAMES, nats, strict=True)
  }
