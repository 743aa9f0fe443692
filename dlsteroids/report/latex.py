"""The effects as a LaTeX table (package booktabs)."""

import pandas as pd

from dlsteroids.analysis import effects as effects_lib
from dlsteroids.report import facts, formats, tables
from dlsteroids.study import study as study_lib

_ESCAPES = {letter: f'\\{letter}' for letter in '{}$&#%_'} | {
  '\\': r'\textbackslash{}',
  '^': r'\textasciicircum{}',
  '~': r'\textasciitilde{}',
  '[': '{[}',  # after a row's end it would open an optional argument
  ']': '{]}',
  '<': r'\textless{}',
  '>': r'\textgreater{}',
  '→': r'$\to$',
  '±': r'$\pm$',
  '∞': r'$\infty$',
  '×': r'$\times$',
  formats.MINUS: '$-$',
  formats.THIN: r'\,',
  formats.NOTHING: '--',
}


def escape(words: str) -> str:
  """Text that LaTeX prints as it stands."""
  return ''.join(_ESCAPES.get(letter, letter) for letter in words)


def table(study: study_lib.Study, effects: pd.DataFrame) -> str:
  """The family of the study, of the `effects` table, as a `table` with a caption."""
  column = study.metric.column
  family = effects[(effects['metric'] == column) & (effects['tuned'] == study.tuned)]
  family = family[family['effect'] != effects_lib.MAIN]
  marks = family['exploratory'].astype(str)
  exploratory = ' Exploratory.' if (marks == 'True').any() else ''
  unit = formats.unit_of(column, short=True)
  unit = f' ({unit})' if unit else ''
  lines = [
    r'\begin{table}',
    r'  \centering',
    rf'  \caption{{{escape(_caption(study) + exploratory)}}}',
    r'  \begin{tabular}{llrrrrl}',
    r'    \toprule',
    rf'    Factor & Change & Reference & $\Delta${unit} & Interval & $p$ & Verdict \\',
    r'    \midrule',
  ]
  for _, row in family.iterrows():
    cells = [
      str(row['factor'] or row['arm']),
      facts.name_change(study, row),
      formats.value(column, row['reference_mean']),
      formats.delta(column, row['delta']),
      formats.interval(column, row['ci_low'], row['ci_high']),
      formats.p_value(row['p_holm']),
      tables.verdict_cell(row),
    ]
    if effects_lib.is_mostly_diverged(row):  # no evidence of anything
      cells[3:6] = [formats.NOTHING] * 3
    lines.append(f'    {" & ".join(escape(cell) for cell in cells)} \\\\')
  lines += [r'    \bottomrule', r'  \end{tabular}', r'\end{table}']
  return '\n'.join(lines) + '\n'


def _caption(study: study_lib.Study) -> str:
  level = formats.number(100 * (1 - study.alpha))
  tuned = ', tuned per arm' if study.tuned else ''
  paired = 'paired' if study.paired else 'unpaired'
  return (
    f'{study.name} on {study.data.name}: {paired} differences in '
    f'{formats.name(study.metric.column)} (arm − reference{tuned}) over '
    f'{len(study.seeds)} seeds, with {level}{formats.THIN}% intervals and '
    'Holm-adjusted p.'
  )
