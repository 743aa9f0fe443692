"""The confusion matrix: which classes are taken for which."""

import numpy as np
from matplotlib import axes, patches

from dlsteroids.analysis import probes, summary
from dlsteroids.report import blocks, formats
from dlsteroids.report.figures import canvas, tiles

_LONGEST = 18  # letters of a class's name
_NUMBERED = 25  # classes up to which cells hold their numbers
_LISTED = 6  # confusions in words


def draw_confusion(source: summary.Source) -> blocks.Drawing | None:
  """The intact arm's confusion matrix over its seeds; None without stored runs."""
  confusion = summary.confusion_of(source)
  if confusion is None:
    return None
  counts, seeds = confusion
  size = len(counts)
  names = [str(name) for name in source.study.data.classes]
  names += [str(i) for i in range(len(names), size)]
  names = [formats.clip(name, _LONGEST) for name in names]
  longest = max(map(len, names))
  left = 0.5 + 0.07 * longest
  beside = 0.9 + 0.1 * min(15, longest)  # inches for the words at the right
  side = min(4.8, max(2.2, 0.44 * size), canvas.WIDTH - left - beside - 0.3)
  turned = longest > 3
  fig = canvas.make_figure(0.3 + side + 0.35 + (0.055 * longest if turned else 0.1))
  middle = left + (canvas.WIDTH - left - side - beside - 0.3) / 2
  ax = canvas.add_axes(fig, middle, 0.15, side, side)
  _draw_cells(ax, counts)
  ticks = list(range(0, size, -(-size // _NUMBERED)))
  labels = [names[i] for i in ticks]
  angle, align = (45, 'right') if turned else (0, 'center')
  ax.set_xticks(ticks, labels, rotation=angle, ha=align)
  ax.set_yticks(ticks, labels)
  ax.set(xlabel='predicted', ylabel='true')
  ax.grid(visible=False)
  ax.spines['bottom'].set_visible(False)
  right = middle + side + 0.3
  canvas.write(fig, right, 0.3, 'Most often mistaken', weight='bold', fontsize=8)
  for line, (true, predicted, share) in enumerate(probes.mistakes(counts, _LISTED)):
    words = f'{formats.clip(names[true], 15)} for {formats.clip(names[predicted], 15)}'
    words += f': {100 * share:.1f}{formats.THIN}%'
    canvas.write(fig, right, 0.55 + 0.2 * line, words, fontsize=7)
  arm = summary.intact_arm(source.study)
  caption = (
    f'Test examples of {arm}, summed over {seeds} seed{"s" * (seeds > 1)}. Blue: '
    'right, by share of the row; orange: wrong, by share of the most frequent '
    'confusion.'
  )
  correct = float(np.trace(counts) / max(1, counts.sum()))
  alt = (
    f'Confusion matrix of {arm}: {formats.value("accuracy", correct)} of '
    f'{formats.count(counts.sum())} predictions lie on the diagonal.'
  )
  return canvas.finish(fig, 'confusion', 'Confusion', caption, alt)


def _draw_cells(ax: axes.Axes, counts: np.ndarray) -> None:
  """Cells in blue on the diagonal and in orange elsewhere, with their numbers."""
  size = len(counts)
  diagonal = np.eye(size, dtype=bool)
  share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
  wrong = np.where(diagonal, 0, share)
  # Shades stay light enough for the numbers on them, in either scheme.
  shade = np.where(diagonal, share * 0.4, 0.5 * wrong / (wrong.max() or 1))
  if size > _NUMBERED:
    signed = np.where(diagonal, 1, -1) * np.minimum(1, 2 * shade)
    image = tiles.colour_signed(signed, 1.0)
    image[..., 3] = np.abs(signed)
    ax.imshow(image, interpolation='none', aspect='auto')
  else:
    longest = max(2, len(formats.count(counts.max())))
    points = min(8.5, 80 / size, 26 / longest)  # one size for all
    for i, j in zip(*np.nonzero(counts)):
      colour = canvas.BLUE if i == j else canvas.ORANGE
      corner = (j - 0.47, i - 0.47)
      look = {'color': colour, 'alpha': shade[i, j], 'lw': 0}
      ax.add_patch(patches.Rectangle(corner, 0.94, 0.94, **look))
      text = formats.count(counts[i, j])
      ax.text(j, i, text, ha='center', va='center', fontsize=points, color=canvas.INK)
  ax.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
