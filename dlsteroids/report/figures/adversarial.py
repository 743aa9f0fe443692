"""The game of two networks: what the discriminator says, and the losses, by step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import axes, ticker
from matplotlib import figure as figures

from dlsteroids.analysis import summary
from dlsteroids.report import facts, formats
from dlsteroids.report.figures import canvas, curves, panels, pictures, scales

_SAYS = ('d_real', 'd_fake', 'd_made')
_LOSSES = ('d_loss', 'g_loss', 'cycle_loss', 'identity_loss')
_LOOK: Mapping[str, panels.Entry] = {
  'd_real': panels.Entry('D(x), loss of D', canvas.BLUE),
  'd_fake': panels.Entry('D(G(z)), loss of G', canvas.ORANGE),
  'd_made': panels.Entry('after D’s move', canvas.ORANGE, (0, (1, 1.4))),
  'd_loss': panels.Entry('', canvas.BLUE),
  'g_loss': panels.Entry('', canvas.ORANGE),
  'cycle_loss': panels.Entry('cycle loss', canvas.VIOLET),
  'identity_loss': panels.Entry('identity loss', canvas.VIOLET, (0, (4, 2))),
}
_COLUMNS = 4
_LEFT = 0.45  # inches before a panel, for its labels
_HIGH = 0.95
_TOP = 0.62  # above the first panels' names
_HEAD = 0.24
_BETWEEN = 0.14  # the two panels of an arm
_FOOT = 0.42
_MOST = 1e6  # a loss beyond is a number without meaning

Lines = Mapping[str, curves.Curve]


def draw_game(source: summary.Source) -> canvas.Drawing | None:
  """Two panels for every arm: D(x) and D(G(z)), and below them the losses."""
  frame = source.tables.curves
  frame = frame[(frame['split'] == 'train') & frame['metric'].isin(_LOOK)]
  arms = [arm['name'] for arm in source.study['arms']]
  arms.sort(key=lambda arm: arm != summary.intact_arm(source.study))
  every = {arm: _gather(frame[frame['arm'] == arm]) for arm in arms}
  every = {arm: found for arm, found in every.items() if set(found) & set(_SAYS)}
  if not every:
    return None
  shown = {arm: every[arm] for arm in list(every)[: pictures.MOST]}
  chances = [arm for arm in shown if are_chances(source.study, arm)]
  fig = _draw(shown, chances)
  several = frame['seed'].nunique() > 1
  caption = _caption(shown, chances, several)
  caption += pictures.name_cut(list(every))
  title = 'The game'
  return canvas.finish(fig, 'game', title, caption, _alt(shown))


def are_chances(study: Mapping[str, Any], arm: str) -> bool:
  """Whether what D says in `arm` is a chance of being real, not an unbounded score.

  The fact 'logistic' tells: by the loss's name, or as one word for the configured loss.
  """
  told = facts.of(study).get('logistic') or False
  configured = (study['config'].get('task') or {}).get('loss')
  overrides = next(a['overrides'] for a in study['arms'] if a['name'] == arm)
  loss = next((v for path, v in overrides if path == 'task.loss'), configured)
  if isinstance(told, Mapping):
    return bool(told.get(loss))
  return bool(told) and loss == configured


def _gather(rows: pd.DataFrame) -> dict[str, curves.Curve]:
  """By metric: the mean over seeds at every evaluation, the lowest and the highest."""
  found = {}
  for name in _LOOK:
    mine = rows[rows['metric'] == name]
    values = mine['value'].where(np.isfinite(mine['value']))
    by_step = values.clip(-_MOST, _MOST).groupby(mine['step'])
    table = by_step.agg(['mean', 'min', 'max']).dropna()
    if len(table):
      columns = (table[kind].to_numpy(float) for kind in ('mean', 'min', 'max'))
      found[name] = curves.Curve(table.index.to_numpy(float), *columns)
  return found


def _draw(shown: Mapping[str, Lines], chances: Sequence[str]) -> figures.Figure:
  rows = -(-len(shown) // _COLUMNS)
  columns = -(-len(shown) // rows)  # as even as can be
  pitch = _HEAD + 2 * _HIGH + _BETWEEN + _FOOT
  fig = canvas.make_figure(_TOP + pitch * rows - _FOOT + 0.16)
  title = 'what D says (above) and losses (below), against steps'
  canvas.write(fig, 0.02, 0.16, title, fontsize=8)
  used = {name for lines in shown.values() for name in lines}
  keys = [look for name, look in _LOOK.items() if name in used and look.name]
  panels.write_keys(fig, keys, 0.38)
  width = min(2.9, canvas.WIDTH / columns - _LEFT - 0.08)
  last = max(float(c.x.max()) for lines in shown.values() for c in lines.values())
  for i, (arm, lines) in enumerate(shown.items()):
    row, column = divmod(i, columns)
    left = _LEFT + column * (width + _LEFT + 0.08)
    top = _TOP + pitch * row + _HEAD
    look: dict[str, Any] = {'color': canvas.INK, 'weight': 'bold', 'fontsize': 8}
    name = formats.clip(arm, max(14, int(width * 14)))
    canvas.write(fig, left, top - 0.13, name, **look)
    ax = canvas.add_axes(fig, left, top, width, _HIGH)
    _plot(ax, {name: lines[name] for name in _SAYS if name in lines})
    _frame(ax, last, chance=arm in chances, labelled=False)
    ax = canvas.add_axes(fig, left, top + _HIGH + _BETWEEN, width, _HIGH)
    _plot(ax, {name: lines[name] for name in _LOSSES if name in lines})
    _frame(ax, last, chance=False, labelled=True)
  return fig


def _plot(ax: axes.Axes, lines: Lines) -> None:
  for name, curve in lines.items():
    look = _LOOK[name]
    if look.dashes == 'solid':
      curves.plot(ax, curve, scales.make_linear(''), look.colour, 1.3)
    else:
      ax.plot(
        curve.x, curve.mean, color=look.colour, linewidth=1, linestyle=look.dashes
      )


def _frame(ax: axes.Axes, last: float, *, chance: bool, labelled: bool) -> None:
  """Axes from step 0; chances from 0 to 1, with a line where D cannot tell."""
  ax.set_xlim(0, 1.02 * last)
  if chance:
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([0, 0.5, 1], ['0', '½', '1'])
    ax.axhline(0.5, color=canvas.GREY, linewidth=0.9, linestyle=(0, (4, 2.5)), zorder=1)
  else:
    low, high = ax.get_ylim()
    places = ticker.MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    ticks = [float(place) for place in places if low <= place <= high]
    labels = [formats.tick(tick).replace('-', formats.MINUS) for tick in ticks]
    ax.set_yticks(ticks, labels)
    ax.set_ylim(low, high)
  curves.frame_x(ax, 0.0, last, 'step')
  if not labelled:
    ax.set_xticks(ax.get_xticks(), [''] * len(ax.get_xticks()))
  ax.grid(axis='y')
  ax.set_axisbelow(True)
  ax.tick_params(length=0)
  ax.spines['left'].set_visible(False)


def _caption(shown: Mapping[str, Lines], chances: Sequence[str], several: bool) -> str:
  words = ['D(x): what the discriminator says of real images, D(G(z)) of made ones']
  words[0] += ', dotted after it has moved.' if _has(shown, 'd_made') else '.'
  if several:
    words.append('Lines: mean over seeds; bands: from the lowest to the highest seed.')
  words.append('Means since the evaluation before.')
  if len(chances) == len(shown):
    words.append('Dashed: ½, where D cannot tell one from the other.')
  elif chances:
    words.append(
      'Dashed: ½, where D cannot tell one from the other; panels without it show '
      'scores, on axes of their own.'
    )
  else:
    words.append('What D says are scores here, not chances, on axes of their own.')
  words.append('Losses have axes of their own.')
  return ' '.join(words)


def _has(shown: Mapping[str, Lines], name: str) -> bool:
  return any(name in lines for lines in shown.values())


def _alt(shown: Mapping[str, Lines]) -> str:
  parts = []
  for arm, lines in shown.items():
    ends = [
      f'{words} {formats.number(float(lines[name].mean[-1]), 2)}'
      for name, words in (('d_real', 'D(x)'), ('d_fake', 'D(G(z))'))
      if name in lines
    ]
    parts += [f'{arm} ends at {" and ".join(ends)}'] if ends else []
  return f'What the discriminator says over steps: {"; ".join(parts)}.'
