"""The game of two networks: the discriminator's outputs and the losses, by step."""

from collections.abc import Collection, Mapping
from typing import Any

from matplotlib import axes, figure

from dlsteroids.analysis import curves as curves_lib
from dlsteroids.analysis import summary
from dlsteroids.report import blocks, formats
from dlsteroids.report.figures import canvas, curves, generated, panels, scales
from dlsteroids.study import study as study_lib

_OUTPUTS: Mapping[str, panels.Key] = {
  'd_real': panels.Key('D(x), loss of D', canvas.BLUE),
  'd_fake': panels.Key('D(G(z)), loss of G', canvas.ORANGE),
  'd_made': panels.Key('after D’s update', canvas.ORANGE, (0, (1, 1.4))),
}
_LOSSES: Mapping[str, panels.Key] = {
  'd_loss': panels.Key('', canvas.BLUE),
  'g_loss': panels.Key('', canvas.ORANGE),
  'cycle_loss': panels.Key('cycle loss', canvas.VIOLET),
  'identity_loss': panels.Key('identity loss', canvas.VIOLET, (0, (4, 2))),
}
_KEYS = {**_OUTPUTS, **_LOSSES}
_HEIGHT = 0.95  # inches of a panel
_BETWEEN = 0.14  # inches between the two panels of an arm
_HEAD = 0.24  # inches above them for the arm's name
_FOOT = 0.42  # inches below them for the labels
_TOP = 0.62  # inches above the first arm's name

Curves = Mapping[str, curves_lib.Curve]


def draw_game(source: summary.Source) -> blocks.Drawing | None:
  """Two panels for every arm: D(x) and D(G(z)), and below them the losses."""
  frame = source.tables.curves
  frame = frame[(frame['split'] == 'train') & frame['metric'].isin(_KEYS)]
  by_arm = {
    arm: curves_lib.ranges(frame[frame['arm'] == arm], list(_KEYS))
    for arm in summary.arms_intact_first(source.study)
  }
  by_arm = {arm: lines for arm, lines in by_arm.items() if _OUTPUTS.keys() & lines}
  if not by_arm:
    return None
  shown = {arm: by_arm[arm] for arm in list(by_arm)[: generated.MOST]}
  probabilities = [arm for arm in shown if are_probabilities(source.study, arm)]
  fig = _draw(shown, probabilities)
  several = frame['seed'].nunique() > 1
  caption = _caption(shown, probabilities, several=several)
  caption += generated.name_omitted(list(by_arm))
  return canvas.finish(fig, 'game', 'The game', caption, _alt(shown))


def are_probabilities(study: study_lib.Study, arm: str) -> bool:
  """Whether D's outputs in `arm` are probabilities of being real, not unbounded scores.

  The fact 'logistic' says so, by name of the loss or for the configured loss alone.
  """
  logistic = study.data.facts.get('logistic') or False
  configured = (study.config.get('task') or {}).get('loss')
  loss = dict(study.arm(arm).overrides).get('task.loss', configured)
  if isinstance(logistic, Mapping):
    return bool(logistic.get(loss))
  return bool(logistic) and loss == configured


def _draw(shown: Mapping[str, Curves], probabilities: Collection[str]) -> figure.Figure:
  rows = -(-len(shown) // 4)
  columns = -(-len(shown) // rows)  # as even as can be
  pitch = _HEAD + 2 * _HEIGHT + _BETWEEN + _FOOT
  top = _TOP + _HEAD
  grid = panels.Grid(len(shown), columns, 0.45, 0.53, top, _HEIGHT, pitch, widest=2.9)
  fig = canvas.make_figure(_TOP + pitch * rows - _FOOT + 0.16)
  title = 'outputs of D (above) and losses (below), against steps'
  canvas.write(fig, 0.02, 0.16, title, fontsize=8)
  drawn = {name for lines in shown.values() for name in lines}
  keys = [key for name, key in _KEYS.items() if name in drawn and key.name]
  panels.write_legend(fig, keys, 0.38)
  last = max(float(c.x.max()) for lines in shown.values() for c in lines.values())
  for i, (arm, lines) in enumerate(shown.items()):
    grid.name(fig, i, arm)
    left, top = grid.corner(i)
    below = top + _HEIGHT + _BETWEEN
    ax = canvas.add_axes(fig, left, top, grid.width, _HEIGHT)
    _plot(ax, lines, _OUTPUTS, last, probability=arm in probabilities)
    ax.set_xticks(ax.get_xticks(), [''] * len(ax.get_xticks()))
    ax = canvas.add_axes(fig, left, below, grid.width, _HEIGHT)
    _plot(ax, lines, _LOSSES, last)
  return fig


def _plot(
  ax: axes.Axes,
  lines: Curves,
  keys: Mapping[str, panels.Key],
  last: float,
  *,
  probability: bool = False,
) -> None:
  """Lines from step 0; probabilities from 0 to 1, with a line where D is undecided."""
  for name, key in keys.items():
    if name in lines:
      width = 1.3 if key.dashes == 'solid' else 1.0
      panels.plot(ax, lines[name], key.colour, width, key.dashes)
  if probability:
    scales.apply(ax, y=scales.Axis((-0.03, 1.03), [0, 0.5, 1], ['0', '½', '1']))
    look: dict[str, Any] = {'linestyle': (0, (4, 2.5)), 'linewidth': 0.9, 'zorder': 1}
    ax.axhline(0.5, color=canvas.GREY, **look)
  else:
    limits = ax.get_ylim()
    ticks = scales.linear_ticks(*limits, most=3)
    labels = [formats.tick(tick).replace('-', formats.MINUS) for tick in ticks]
    scales.apply(ax, y=scales.Axis(limits, ticks, labels))
  curves.frame_x(ax, 0.0, last, 'step')


def _caption(
  shown: Mapping[str, Curves], probabilities: Collection[str], *, several: bool
) -> str:
  words = ['D(x): the discriminator’s output on real images, D(G(z)) on generated ones']
  moved = any('d_made' in lines for lines in shown.values())
  words[0] += ', dotted after its own update.' if moved else '.'
  if several:
    words.append('Lines: mean over seeds; bands: from the lowest to the highest seed.')
  words.append('Each point is the mean since the previous evaluation.')
  if len(probabilities) == len(shown):
    words.append('Dashed: ½, where D cannot distinguish them.')
  elif probabilities:
    words.append(
      'Dashed: ½, where D cannot distinguish them; panels without it show scores, on '
      'axes of their own.'
    )
  else:
    words.append(
      'D’s outputs are scores here, not probabilities, on axes of their own.'
    )
  words.append('Losses have axes of their own.')
  return ' '.join(words)


def _alt(shown: Mapping[str, Curves]) -> str:
  parts = []
  for arm, lines in shown.items():
    ends = [
      f'{words} {formats.number(float(lines[name].mean[-1]), 2)}'
      for name, words in (('d_real', 'D(x)'), ('d_fake', 'D(G(z))'))
      if name in lines
    ]
    parts += [f'{arm} ends at {" and ".join(ends)}'] if ends else []
  return f'Outputs of the discriminator over steps: {"; ".join(parts)}.'
