"""Each player's share of the gain against how many times the compute grows."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib import axes

from dlsteroids.analysis import attribution, coalitions, shares
from dlsteroids.report import attribution_words, formats
from dlsteroids.report.figures import canvas, scales

_LEFT = 0.6  # inches for the axis' labels
_WIDE = 2.5  # inches of the panel of compute and all ideas
_PANELS = 3  # of ideas beside each other
_GAP = 0.2
_HEIGHT = 1.3
_PITCH = 1.85
_TOP = 0.62
_BOLD = 0.0093  # inches of a bold letter on average, times points


def draw_shares(
  study: Mapping[str, Any], found: attribution.Attribution
) -> canvas.Drawing | None:
  """Each player's share of the gain against C_high / C_low; None with one ratio."""
  frame = found.players[found.players['scale'] == found.scale].dropna(subset='share')
  if frame['ratio'].nunique() < 2:
    return None
  order = attribution.at_headline(found, found.players)
  order.sort(key=lambda row: -row['phi'])
  ideas = [r['player'] for r in order if r['player'] not in coalitions.RESERVED]
  ideas = ideas if len(ideas) > 1 else []  # one idea is all ideas
  rows = max(1, -(-len(ideas) // _PANELS))
  fig = canvas.make_figure(_TOP + _PITCH * rows - 0.26)
  both = frame[frame['player'].isin((shares.COMPUTE, shares.IDEAS))]
  tall = _HEIGHT + _PITCH * (min(rows, 2) - 1)
  wide = _WIDE if ideas else 2 * _WIDE
  ax = canvas.add_axes(fig, _LEFT, _TOP, wide, tall)
  _draw_panel(ax, both, both, found.ratio, labelled=True)
  look: dict[str, Any] = {'weight': 'bold', 'fontsize': 8}
  above, right = _TOP - 0.12, _LEFT + wide
  canvas.write(fig, _LEFT, above, 'compute', color=canvas.VIOLET, **look)
  canvas.write(fig, right, above, 'all ideas', color=canvas.BLUE, ha='right', **look)
  start = right + 0.65
  width = (canvas.WIDTH - start - _GAP * (_PANELS - 1) - 0.05) / _PANELS
  apart = frame[frame['player'].isin(ideas)]
  for i, idea in enumerate(ideas):
    row, column = divmod(i, _PANELS)
    left, top = start + column * (width + _GAP), _TOP + _PITCH * row
    ax = canvas.add_axes(fig, left, top, width, _HEIGHT)
    mine = apart[apart['player'] == idea]
    _draw_panel(ax, mine, apart, found.ratio, labelled=column == 0)
    words = formats.clip(idea.replace('_', ' '), int(width / (6 * _BOLD)))
    look['fontsize'] = min(8, width / (_BOLD * len(words)))
    canvas.write(fig, left, top - 0.12, words, color=canvas.INK, **look)
  what = attribution_words.name_scale(study, found.scale)
  words = f'share of the gain in {what}, against how many times the compute grows'
  canvas.write(fig, 0.02, 0.16, words, fontsize=8)
  caption = (
    'Shares of the gain from the bare model at a smaller budget to the full model at '
    'the largest; bands: their intervals, from resampled seeds. Dashed: the headline '
    f'ratio, {found.ratio:g}×.'
  )
  if ideas:
    caption += ' Single ideas have an axis of their own.'
  alt = _describe_shares(frame, [shares.COMPUTE, shares.IDEAS, *ideas])
  return canvas.finish(fig, 'shares', 'Shares against compute', caption, alt)


def _draw_panel(
  ax: axes.Axes,
  mine: pd.DataFrame,
  beside: pd.DataFrame,
  headline: float,
  *,
  labelled: bool,
) -> None:
  """Lines of the players in `mine`, on axes that hold all of `beside`."""
  ends = beside[['share', 'share_low', 'share_high']].to_numpy(float)
  low, high = min(0.0, float(ends.min())), max(0.0, float(ends.max()))
  air = 0.06 * (high - low)
  ax.set_ylim(low - air, high + air)
  values, labels = scales.make_linear('accuracy').ticks(low - air, high + air)
  ax.set_yticks(values, labels if labelled else [])
  ratios = sorted(beside['ratio'].unique())
  ax.set_xscale('log')
  reach = (ratios[-1] / ratios[0]) ** 0.1
  ax.set_xlim(ratios[0] / reach, ratios[-1] * reach)
  kept = ratios[:: -max(1, len(ratios) // 3)]
  ax.set_xticks(kept, [f'{ratio:.3g}×' for ratio in kept])
  ax.minorticks_off()
  ax.axvline(headline, color=canvas.LINE, linewidth=0.9, linestyle=(0, (4, 2.5)))
  ax.axhline(0, color=canvas.LINE, linewidth=0.8)
  ax.grid(axis='y')
  ax.set_axisbelow(True)
  ax.tick_params(length=0)
  for side in ('left', 'bottom'):
    ax.spines[side].set_visible(False)
  for _, rows in mine.groupby('player'):
    _draw_line(ax, rows, headline)


def _draw_line(ax: axes.Axes, frame: pd.DataFrame, headline: float) -> None:
  mine = frame.sort_values('ratio')
  x, y, low, high = (
    mine[['ratio', 'share', 'share_low', 'share_high']].to_numpy(float).T
  )
  colour = canvas.VIOLET if (mine['player'] == shares.COMPUTE).all() else canvas.BLUE
  ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
  ax.plot(x, y, color=colour, linewidth=1.6)
  face = [colour if ratio == headline else canvas.PAPER for ratio in x]
  ax.scatter(x, y, s=16, color=face, edgecolors=colour, linewidths=1.1, zorder=3)


def _describe_shares(frame: pd.DataFrame, names: Sequence[str]) -> str:
  digits = attribution_words.choose_digits(attribution.rows_of(frame))
  parts = []
  for name in names:
    mine = frame[frame['player'] == name].sort_values('ratio')
    told = [
      f'{" ".join(attribution_words.tell_share(row, digits))} at {row["ratio"]:.3g}×'
      for row in attribution.rows_of(mine)
    ]
    parts.append(f'{name.replace("_", " ")} {", ".join(told)}')
  return f'Shares of the gain by ratio of compute: {"; ".join(parts)}.'
