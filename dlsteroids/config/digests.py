"""Digests of JSON-like values: sha256 of sorted JSON, 32 hex digits."""

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:
  """The digest of a JSON-like value, independent of the order of dicts."""
  return digest_text(text(value))


def text(value: Any) -> str:
  """The text that `digest` hashes: compact JSON, keys sorted, tuples as lists."""
  return json.dumps(value, sort_keys=True, separators=(',', ':'), default=list)


def digest_text(text: str) -> str:
  """The digest of a text."""
  return hashlib.sha256(text.encode()).hexdigest()[:32]
