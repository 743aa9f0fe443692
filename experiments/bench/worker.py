"""Measurements in processes of their own: what a worker offers, and how it is asked.

A worker is `python -m experiments.bench --worker=JSON`. Having compiled and warmed up
it prints one JSON line of facts, then answers each line {"name": …, "steps": …} with
one line {"seconds": …, "seed_steps": …}, so that competitors can take turns.
"""

import contextlib
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = {  # where the function lies that makes an offer of this kind
  'backend': 'engine',
  'engine': 'engine',
  'engine_game': 'gan',
  'gpu_bits': 'gpu_jax',
  'gpu_convolutions': 'gpu_jax',
  'gpu_facts': 'gpu_jax',
  'gpu_rates': 'gpu_jax',
  'gpu_torch': 'gpu_torch',
  'layouts': 'engine',
  'long_store': 'long',
  'overhead': 'engine',
  'overlap': 'start',
  'compile_study': 'start',
  'conv_forms': 'forms',
  'conv_jax': 'conv',
  'conv_torch': 'conv',
  'rates': 'start',
  'streams': 'streaming',
  'saves': 'long',
  'statistics': 'long',
  'train_torch': 'torch_images',
  'train_torch_game': 'torch_gan',
  'train_torch_text': 'torch_text',
  'torch_versions': 'torch_images',
}
MARK = 'bench '  # begins a worker's own lines; libraries print to stdout, too


class Failed(RuntimeError):
  """A worker that ended instead of answering; the message is its last line."""


class Offer(NamedTuple):
  """What a worker can measure: `(steps) -> Sample` by name, and facts for the page."""

  facts: Mapping[str, Any]
  measures: Mapping[str, Any]


class Sample(NamedTuple):
  seconds: float
  seed_steps: float  # steps of one seed, summed over seeds


def serve(text: str) -> None:
  """The worker's side: makes its offer, then measures until stdin ends."""
  spec = json.loads(text)
  kind = spec.pop('kind')
  module = importlib.import_module(f'experiments.bench.{MODULES[kind]}')
  offer = getattr(module, kind)(**spec)
  print(MARK + json.dumps(offer.facts), flush=True)
  for line in sys.stdin:
    asked = json.loads(line)
    sample = offer.measures[asked['name']](asked['steps'])
    print(MARK + json.dumps(sample._asdict()), flush=True)


class Worker:
  """The asker's side of one worker process; a context that ends it."""

  def __init__(self, python: str, spec: Mapping[str, Any], **environment: str):
    self.log = tempfile.TemporaryFile('w+')  # noqa: SIM115 - closed with the worker
    self.process = subprocess.Popen(
      [python, '-m', 'experiments.bench', f'--worker={json.dumps(spec)}'],
      cwd=ROOT,
      env={**os.environ, **environment},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self.log,
      text=True,
    )
    self.facts: dict[str, Any] = {}

  def __enter__(self) -> 'Worker':
    return self

  def __exit__(self, *error: Any) -> None:
    self.process.kill()
    with contextlib.suppress(BrokenPipeError):
      self.process.stdin.close()
    self.process.wait()
    self.process.stdout.close()
    self.log.close()

  def ready(self) -> 'Worker':
    """Waits until the worker has warmed up, and reads its facts."""
    self.facts = self.read()
    return self

  def ask(self, name: str, steps: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # `read` says why it ended
      self.process.stdin.write(json.dumps({'name': name, 'steps': steps}) + '\n')
      self.process.stdin.flush()

  def read(self) -> dict[str, Any]:
    """The next answer.

    Raises:
      Failed: if the process ended.
    """
    for line in self.process.stdout:
      if line.startswith(MARK):
        return json.loads(line.removeprefix(MARK))
    code = self.process.wait()
    self.log.seek(0)
    lines = [line for line in self.log.read().splitlines() if line.strip()]
    raise Failed(lines[-1] if lines else f'exit code {code}')


class Contender(NamedTuple):
  """Something to time: a measure of one worker, or of several at the same time."""

  label: str
  workers: Sequence[Worker]
  name: str = 'train'

  def run(self, steps: int) -> Sample:
    """All workers at once; the slowest one's seconds."""
    for worker in self.workers:
      worker.ask(self.name, steps)
    samples = [Sample(**worker.read()) for worker in self.workers]
    seconds = max(sample.seconds for sample in samples)
    return Sample(seconds, sum(sample.seed_steps for sample in samples))


def interleave(
  contenders: Sequence[Contender], seconds: float, repeats: int
) -> dict[str, list[float]]:
  """Rates in seed-steps/s by label: A, B, …, A, B, …; sample i of each is one round.

  Each contender first runs briefly, uncounted, to learn how many steps take `seconds`.
  """
  steps = {}
  for contender in contenders:
    count = 3
    contender.run(count)
    for _ in range(2):  # a short run overstates what each of its calls costs
      spent = contender.run(count).seconds
      count = max(3, round(count * seconds / max(spent, 1e-9)))
    steps[contender.label] = count
  found: dict[str, list[float]] = {contender.label: [] for contender in contenders}
  for _ in range(repeats):
    for contender in contenders:
      sample = contender.run(steps[contender.label])
      found[contender.label].append(sample.seed_steps / sample.seconds)
  return found


def best(rates: Mapping[str, Sequence[float]]) -> str:
  """The label with the highest median rate."""
  return max(rates, key=lambda label: statistics.median(rates[label]))
