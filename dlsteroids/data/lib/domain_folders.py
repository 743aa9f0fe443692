"""Which images of two domains there are: a folder each, or `trainA/`, `trainB/`, ...

The latter as CycleGAN's data sets have them (Zhu et al. 2017).
"""

import collections
import re
from collections.abc import Iterable

from dlsteroids.data.lib import layout
from dlsteroids.util import errors

SPLITS = ('train', 'val', 'test')
FOLDERS = tuple(f'{split}{side}' for split in SPLITS for side in 'AB')
ALIAS = re.compile('(train(ing)?|val(id(ation)?)?|test(s|ing)?)[-_ ]?[ab]', re.I)
OTHERS = ('.gif', '.bmp', '.tif', '.tiff', '.webp', '.heic', '.avif')
EXPECTED = 'expected trainA/*.jpg (or .jpeg, .png), trainB/ and optional testA/, testB/'


def flat(names: Iterable[str], place: str) -> layout.Layout:
  """The images of one domain among the file names of `place`; they lie in one folder.

  Raises:
    UserError: no image, images in several folders, or one of a kind that is not read.
  """
  found: dict[str, list[str]] = collections.defaultdict(list)
  for name in visible(names):
    if is_image(name, place):
      found[name.rpartition('/')[0]].append(name)
  if not found:
    raise errors.UserError(f'{place} holds no .jpg, .jpeg or .png images')
  if len(found) > 1:
    folders = ', '.join(folder or 'its top' for folder in sorted(found)[:5])
    raise errors.UserError(
      f'{place} holds images in {len(found)} folders ({folders}): give one of them'
    )
  [mine] = found.values()
  return layout.Layout(tuple(sorted(mine)), ('',), ((len(mine),), (0,), (0,)))


def official(names: Iterable[str], place: str) -> layout.Layout:
  """The images in `trainA/`, `trainB/` and their like among the file names of `place`.

  Files outside these folders are skipped.

  Raises:
    UserError: another layout, or a folder that is empty or lacks its other side.
  """
  seen = visible(names)
  top = _top(seen, place)
  found: dict[str, list[str]] = {}
  for name in seen:
    folder, _, rest = name.removeprefix(top).partition('/')
    if not name.startswith(f'{top}{folder}/'):
      continue
    if folder not in FOLDERS and ALIAS.fullmatch(folder):
      raise errors.UserError(
        f'{place} has a folder {folder!r}; they are called {", ".join(FOLDERS)}'
      )
    if folder not in FOLDERS:
      continue
    mine = found.setdefault(folder, [])
    if is_image(name, place):
      if '/' in rest:
        raise errors.UserError(f'{place}: {name!r} is out of place; {EXPECTED}')
      mine.append(name)
  for split in SPLITS:
    sides = [f'{split}{side}' for side in 'AB']
    for folder in sides:
      if (split == 'train' or found.keys() & sides) and not found.get(folder):
        raise errors.UserError(f'{place} has no images in {folder}/; {EXPECTED}')
  return layout.Layout(
    names=tuple(name for folder in FOLDERS for name in sorted(found.get(folder, ()))),
    classes=('A', 'B'),
    counts=tuple(
      tuple(len(found.get(f'{split}{side}', ())) for side in 'AB') for split in SPLITS
    ),
  )


def _top(names: list[str], place: str) -> str:
  """What precedes 'trainA/' or 'trainB/': '' or one folder with its '/'."""
  tops = {
    re.split('train[AB]/', name)[0]
    for name in names
    if re.match('([^/]+/)?train[AB]/', name)
  }
  if '' in tops:
    return ''
  if len(tops) != 1:
    found = f'{len(tops)} ({", ".join(sorted(tops)[:5])})' if tops else 'none'
    raise errors.UserError(
      f'{place}: no trainA/ at the top nor in one folder below it (found {found}); '
      f'{EXPECTED}'
    )
  return tops.pop()


def visible(names: Iterable[str]) -> list[str]:
  """The names that no system hides, '/' between their parts; folders end with it."""

  def hidden(part: str) -> bool:
    return part.startswith('.') or part.lower() in layout.SYSTEM

  return [name for name in names if not any(map(hidden, name.split('/')))]


def is_image(name: str, place: str) -> bool:
  """Whether a file is an image by its suffix.

  Raises:
    UserError: if it is one of a kind that is not read.
  """
  if name.lower().endswith(OTHERS):
    raise errors.UserError(
      f'{place}: {name!r} is of a kind that is not read; convert it to .png'
    )
  return name.lower().endswith(layout.SUFFIXES)
