"""Figures that cost less than those of a study."""

import pytest

from dlsteroids.report.figures import canvas


@pytest.fixture(autouse=True, scope='module')
def cheap(request):
  """No PDF files, but where they are tested."""
  if not request.module.__name__.endswith('test_forest'):
    request.getfixturevalue('cheap_figures')


@pytest.fixture
def unrendered(monkeypatch):
  """Figures are drawn and not rendered: for tests of what a page says."""
  files = {'pdf': b'%PDF', 'png': b'\x89PNG', 'svg': b'<svg></svg>'}
  monkeypatch.setattr(canvas, '_save', lambda fig, suffix, **options: files[suffix])
