"""Figures without PDF: embedding fonts is half of what a figure costs."""

import pytest

from dlsteroids.report.figures import canvas


@pytest.fixture(autouse=True, scope='module')
def no_pdf(request):
  """A stub in place of PDF files, but where they are tested."""
  save = canvas._save

  def stub(fig, suffix, **options):
    return b'%PDF' if suffix == 'pdf' else save(fig, suffix, **options)

  with pytest.MonkeyPatch.context() as patch:
    if not request.module.__name__.endswith('test_forest'):
      patch.setattr(canvas, '_save', stub)
    yield


@pytest.fixture
def unrendered(monkeypatch):
  """Figures are drawn and not rendered: for tests of what a page says."""
  files = {'pdf': b'%PDF', 'png': b'\x89PNG', 'svg': b'<svg></svg>'}
  monkeypatch.setattr(canvas, '_save', lambda fig, suffix, **options: files[suffix])
