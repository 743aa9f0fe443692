"""Which images a folder or an archive holds, by the names of its folders.

`arrange` reads classes, `train/CLASS/NAME.jpg`; `arrange_domains` reads two domains,
`trainA/NAME.jpg` (Zhu et al. 2017); `arrange_flat` one folder of images. Names of
splits are read in any case and spelling (`Test`, `VALIDATION`, `val`, `test_set`), and
a folder that may be a split is refused rather than ignored.
"""

import collections
import itertools
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dlsteroids.util import errors

SPLITS = ('train', 'validation', 'test')
SUFFIXES = ('.jpg', '.jpeg', '.png')
OTHERS = ('.gif', '.bmp', '.tif', '.tiff', '.webp', '.heic', '.avif')
SYSTEM = ('__macosx', 'thumbs.db', 'desktop.ini')
EXPECTED = 'expected train/CLASS/*.jpg (or .jpeg, .png) and optional validation/, test/'
DOMAINS_EXPECTED = (
  'expected trainA/*.jpg (or .jpeg, .png), trainB/ and optional valA/, valB/, testA/, '
  'testB/'
)
_WORDS = {
  'train': 'train(?:ing)?',
  'validation': 'val(?:id(?:at(?:ion|e))?)?|dev(?:el(?:opment)?)?',
  'test': 'test(?:s|ing)?',
}
_KIND = '(?:[-_ .]?(?:set|data|dataset|split|images?|imgs?|pics?|pictures?|photos?))?'
_SPLIT = {
  split: re.compile(f'(?:{words}){_KIND}', re.I) for split, words in _WORDS.items()
}
_ANY = '|'.join((*_WORDS.values(), 'eval(?:uation)?', 'hold[-_ ]?out'))
_PERHAPS = re.compile(f'(?:.*[^a-z])?(?:{_ANY})s?{_KIND}(?:[^a-z].*)?', re.I)
_DOMAIN = {
  f'{split}{side}': re.compile(f'(?:{words}){_KIND}[-_ ]?{side}', re.I)
  for split, words in _WORDS.items()
  for side in 'AB'
}
_PERHAPS_DOMAIN = re.compile(f'(?:.*[^a-z])?(?:{_ANY})s?[-_ ]?[ab]', re.I)


class Layout(NamedTuple):
  """The images of a data set in the order in which they are stored.

  Attributes:
    names: of the files, by split, class (or domain) and name; '/' between parts.
    classes: names of the classes (or domains).
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


def split_of(folder: str) -> str:
  """The split that a folder's name says: 'train', 'validation', 'test' or ''."""
  return next((name for name, words in _SPLIT.items() if words.fullmatch(folder)), '')


def domain_of(folder: str) -> str:
  """The split and domain that a folder's name says, such as 'trainA', or ''."""
  return next((name for name, words in _DOMAIN.items() if words.fullmatch(folder)), '')


def arrange(names: Iterable[str], place: str, val: str = 'validation') -> Layout:
  """Finds the images of each split and class, and checks them.

  The splits may lie below one top folder. Hidden files, and files outside the splits,
  are skipped. Names of classes are compared in Unicode's composed form (NFC), and those
  of validation and test without regard to case where train has one that fits.

  Args:
    names: of files and, with a final '/', folders.
    place: what errors call the folder or archive.
    val: the split that a folder called `val` holds.

  Raises:
    UserError: another layout, a folder that may be a split, a file that is not an
      image, fewer than two classes, an empty class, or a class that train lacks.
  """
  images: dict[tuple[str, str], list[str]] = {}
  folders: dict[str, str] = {}
  others: dict[str, set[str]] = collections.defaultdict(set)
  for name, folder, rest in _below_top(names, place, split_of, 'train', EXPECTED):
    split = val if folder.lower() == 'val' else split_of(folder)
    if not rest or rest == ['']:
      continue
    if not split:
      if rest[-1].lower().endswith((*SUFFIXES, *OTHERS)):
        others[folder].add(_composed(rest[0]) if len(rest) > 1 else '')
      continue
    _only_one(folders, split, folder, place)
    if rest[-1] == '' and len(rest) == 2:  # the class folder itself
      images.setdefault((split, _composed(rest[0])), [])
    elif len(rest) == 2 and rest[1].lower().endswith(SUFFIXES):
      images.setdefault((split, _composed(rest[0])), []).append(name)
    elif len(rest) >= 2 or rest[0].lower().endswith((*SUFFIXES, *OTHERS)):
      _is_image(name, place)
      raise errors.UserError(f'{place}: {name!r} is out of place; {EXPECTED}')
  classes = tuple(sorted({name for split, name in images if split == 'train'}))
  for folder, below in sorted(others.items()):
    if _PERHAPS.fullmatch(folder) or below & set(classes):
      raise _perhaps(place, folder, 'validation/ or test/')
  return _by_class(images, classes, place)


def _by_class(
  images: dict[tuple[str, str], list[str]], classes: tuple[str, ...], place: str
) -> Layout:
  folded = collections.defaultdict(list)
  for name in classes:
    folded[name.casefold()].append(name)
  groups: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
  for (split, name), files in sorted(images.items()):
    if not files:
      raise errors.UserError(f'{place}: class folder {split}/{name} is empty')
    matches = [name] if name in classes else folded[name.casefold()]
    if len(matches) != 1:
      raise errors.UserError(
        f'{place}: {split} has class {name!r}, which train lacks; train has '
        f'{", ".join(classes[:20]) or "no class"}'
      )
    groups[split, matches[0]] += files
  if len(classes) < 2:
    raise errors.UserError(
      f'{place}: train has {", ".join(classes) or "no class"}; at least two classes '
      'are needed'
    )
  parts = [[sorted(groups[split, name]) for name in classes] for split in SPLITS]
  return Layout(
    names=tuple(itertools.chain.from_iterable(itertools.chain(*parts))),
    classes=classes,
    counts=tuple(tuple(len(group) for group in part) for part in parts),
  )


def arrange_domains(names: Iterable[str], place: str) -> Layout:
  """Finds the images in `trainA/`, `trainB/` and the like; other files are skipped.

  Args:
    names: of files and, with a final '/', folders.
    place: what errors call the folder or archive.

  Raises:
    UserError: another layout, or a folder that is empty or lacks its other side.
  """
  images: dict[str, list[str]] = {}
  folders: dict[str, str] = {}
  for name, folder, rest in _below_top(
    names, place, domain_of, 'trainA', DOMAINS_EXPECTED
  ):
    part = domain_of(folder)
    if not part and rest and _PERHAPS_DOMAIN.fullmatch(folder):
      raise _perhaps(place, folder, ', '.join(_DOMAIN))
    if not part or not rest:
      continue
    _only_one(folders, part, folder, place)
    group = images.setdefault(part, [])
    if _is_image(name, place):
      if len(rest) > 1:
        raise errors.UserError(f'{place}: {name!r} is out of place; {DOMAINS_EXPECTED}')
      group.append(name)
  for split in SPLITS:
    sides = [f'{split}{side}' for side in 'AB']
    for part in sides:
      if (split == 'train' or images.keys() & sides) and not images.get(part):
        folder = folders.get(part, part.replace('validation', 'val'))
        raise errors.UserError(
          f'{place} has no images in {folder}/; {DOMAINS_EXPECTED}'
        )
  counts = [[len(images.get(f'{s}{side}', ())) for side in 'AB'] for s in SPLITS]
  return Layout(
    names=tuple(name for part in _DOMAIN for name in sorted(images.get(part, ()))),
    classes=('A', 'B'),
    counts=tuple(map(tuple, counts)),
  )


def arrange_flat(names: Iterable[str], place: str) -> Layout:
  """Finds the images of one domain, which lie in one folder.

  Raises:
    UserError: no image, images in several folders, or one of a kind that is not read.
  """
  folders: dict[str, list[str]] = collections.defaultdict(list)
  for name in names:
    if not any(map(_hidden, name.split('/'))) and _is_image(name, place):
      folders[name.rpartition('/')[0]].append(name)
  if not folders:
    raise errors.UserError(f'{place} holds no .jpg, .jpeg or .png images')
  if len(folders) > 1:
    listed = ', '.join(folder or 'its top' for folder in sorted(folders)[:5])
    raise errors.UserError(
      f'{place} holds images in {len(folders)} folders ({listed}): give one of them'
    )
  [images] = folders.values()
  return Layout(tuple(sorted(images)), ('',), ((len(images),), (0,), (0,)))


def _below_top(
  names: Iterable[str], place: str, role, train: str, expected: str
) -> Iterator[tuple[str, str, list[str]]]:
  """Each visible name with its folder below the top and the parts after that folder.

  The top is the place itself, or the one folder in it that holds the training folder.
  """
  visible = [name for name in names if not any(map(_hidden, name.split('/')))]
  parts = [name.split('/') for name in visible]
  roles = {train, train.replace('A', 'B')}
  depth, tops = 0, {''}
  if not any(len(part) > 1 and role(part[0]) in roles for part in parts):
    depth = 1
    tops = {part[0] for part in parts if len(part) > 2 and role(part[1]) in roles}
    if len(tops) != 1:
      state = f'{len(tops)} folders have one ({", ".join(sorted(tops)[:5])})'
      if not tops:
        state = describe(visible, role, train)
      raise errors.UserError(
        f'{place}: no {train}/ at the top nor in one folder below it ({state}); '
        f'{expected}'
      )
  for name, part in zip(visible, parts, strict=True):
    if len(part) > depth and (not depth or part[0] in tops):
      yield name, part[depth], part[depth + 1 :]


def describe(names: Iterable[str], role, train: str) -> str:
  """What a place without a training folder holds, and how it could be arranged.

  Args:
    names: of files and, with a final '/', folders.
    role: of a folder by its name; '' if it has none.
    train: the folder that is lacking.
  """
  listed = list(names)
  tops = sorted({re.sub('/.*', '/', name) for name in listed})
  text = f'it holds {", ".join(tops[:5])}{", …" * (len(tops) > 5)}'
  folders = {part for name in listed for part in name.split('/')[:-1]}
  packed = [
    name for name in tops if name.lower().endswith(('.zip', '.tar', 'gz', 'xz'))
  ]
  deeper = sorted(name for name in folders if role(name).startswith('train'))
  near = sorted(name for name in folders if re.search('(?i)train', name))
  direct = [
    name for name in listed if name.count('/') == 1 and name.lower().endswith(SUFFIXES)
  ]
  if not tops:
    return 'it is empty'
  if packed:
    return f'{text}; unpack {packed[0]}'
  if deeper:
    above = next(name for name in listed if f'{deeper[0]}/' in name).split(deeper[0])[0]
    return f'{text}; take {above}, which holds {deeper[0]}/, as the top'
  if near and train == 'train':
    return f'{text}; rename {near[0]}/ to {train}/'
  if direct and train == 'train':
    return f'{text}; move the folders of classes into train/'
  return text


def _only_one(folders: dict[str, str], split: str, folder: str, place: str) -> None:
  """Raises UserError if two folders hold one split."""
  if folders.setdefault(split, folder) != folder:
    raise errors.UserError(
      f'{place}: both {folders[split]}/ and {folder}/ hold {split} images; keep one'
    )


def _perhaps(place: str, folder: str, names: str) -> errors.UserError:
  return errors.UserError(
    f'{place}: is {folder}/ a split? Rename it to {names}, or move it out of the folder'
  )


def _composed(name: str) -> str:
  return unicodedata.normalize('NFC', name)


def _hidden(part: str) -> bool:
  return part.startswith('.') or part.lower() in SYSTEM


def _is_image(name: str, place: str) -> bool:
  """Whether a file is an image by its suffix; UserError if of a kind not read."""
  if name.lower().endswith(OTHERS):
    raise errors.UserError(
      f'{place}: {name!r} is of a kind that is not read; convert it to .png'
    )
  return name.lower().endswith(SUFFIXES)
