"""The layout `train/CLASS/NAME.jpg` of image folders, as a folder or in an archive."""

import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from dlsteroids.util import errors

SPLITS = ('train', 'validation', 'test')
ALIASES = ('val', 'valid', 'dev', 'eval', 'training', 'testing', 'tests')
SUFFIXES = ('.jpg', '.jpeg', '.png')
SYSTEM = ('__macosx', 'thumbs.db', 'desktop.ini')
EXPECTED = 'expected train/CLASS/*.jpg (or .jpeg, .png) and optional validation/, test/'


class Layout(NamedTuple):
  """Which images there are, in the order in which they are stored.

  Attributes:
    names: of the images, sorted by split, class and name; '/' between parts.
    classes: sorted names of the training classes.
    counts: images of each class in train, validation and test.
  """

  names: tuple[str, ...]
  classes: tuple[str, ...]
  counts: tuple[tuple[int, ...], ...]


def walk(root: pathlib.Path) -> Iterator[tuple[str, os.stat_result]]:
  """Files and, with a final '/', folders below `root`, four levels deep, with stat."""
  pending = ['']
  while pending:
    prefix = pending.pop()
    with os.scandir(root / prefix) as entries:
      for entry in entries:
        name = f'{prefix}{entry.name}'
        if _hidden(entry.name):
          continue
        if entry.is_dir():
          yield f'{name}/', entry.stat()
          if name.count('/') < 4:
            pending.append(f'{name}/')
        elif entry.is_file():
          yield name, entry.stat()
        else:
          raise errors.UserError(f'{str(root / name)!r} is a broken link or device')


def arrange(
  names: Iterable[str], place: str, called: Mapping[str, str] | None = None
) -> Layout:
  """Finds the images among the file and folder names of `place`, and checks them.

  The splits may lie below one top folder. Hidden files, and files outside the splits,
  are skipped.

  Args:
    names: of files and, with a final '/', folders.
    place: what to call it.
    called: splits by folder name, beside those named as their folder.

  Raises:
    UserError: another layout, a file that is no image, fewer than two classes, an
      empty class, or a class that train lacks.
  """
  visible = [name for name in names if not any(map(_hidden, name.split('/')))]
  top = _top(visible, place)
  images: dict[tuple[str, str], list[str]] = {}
  folders: dict[str, str] = {}
  for name in visible:
    if not name.startswith(top):
      continue
    folder, *rest = name[len(top) :].split('/')
    split = (called or {}).get(folder, folder)
    if split in SPLITS and rest and folders.setdefault(split, folder) != folder:
      raise errors.UserError(
        f'{place}: both {folders[split]}/ and {folder}/ hold {split} images; keep one'
      )
    if split in ALIASES and rest:
      raise errors.UserError(
        f'{place} has a folder {split!r}; the splits are called {", ".join(SPLITS)}'
      )
    if split not in SPLITS or rest in ([], ['']):
      continue
    if rest[-1] == '' and len(rest) == 2:  # the class folder itself
      images.setdefault((split, rest[0]), [])
    elif len(rest) == 2 and rest[1].lower().endswith(SUFFIXES):
      images.setdefault((split, rest[0]), []).append(name)
    elif len(rest) >= 2 or rest[0].lower().endswith(SUFFIXES):
      raise errors.UserError(f'{place}: {name!r} is out of place; {EXPECTED}')
  return _checked(images, place)


def _checked(images: dict[tuple[str, str], list[str]], place: str) -> Layout:
  classes = tuple(sorted({name for split, name in images if split == 'train'}))
  for split, name in sorted(images):
    if not images[split, name]:
      raise errors.UserError(f'{place}: class folder {split}/{name} is empty')
    if name not in classes:
      raise errors.UserError(
        f'{place}: {split} has class {name!r}, which train lacks; train has '
        f'{", ".join(classes[:20]) or "no class"}'
      )
  if len(classes) < 2:
    raise errors.UserError(
      f'{place}: train has {", ".join(classes) or "no class"}; at least two classes '
      'are needed'
    )
  groups = [
    [sorted(images.get((split, name), [])) for name in classes] for split in SPLITS
  ]
  return Layout(
    names=tuple(itertools.chain.from_iterable(itertools.chain(*groups))),
    classes=classes,
    counts=tuple(tuple(len(group) for group in part) for part in groups),
  )


def _top(names: list[str], place: str) -> str:
  """What precedes 'train/': '' or one folder with its '/'."""
  if any(name.startswith('train/') for name in names):
    return ''
  pieces = (name.split('/') for name in names)
  tops = sorted(
    {piece[0] for piece in pieces if len(piece) > 2 and piece[1] == 'train'}
  )
  if len(tops) != 1:
    found = f'{len(tops)} folders that do ({", ".join(tops[:5])})' if tops else 'none'
    raise errors.UserError(
      f'{place}: no train/ at the top nor in one folder below it (found {found}); '
      f'{EXPECTED}'
    )
  return f'{tops[0]}/'


def _hidden(part: str) -> bool:
  return part.startswith('.') or part.lower() in SYSTEM
