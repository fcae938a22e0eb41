"""The images of a tree train/CLASS/* and test/CLASS/*, and a line for everything in it that is left out."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnexp.data.findings import Findings, Kind, counted, readable, several
from bnexp.data.picture import endings
from bnexp.errors import DataError

PARTS = ("train", "test")
VALIDATION = ("val", "valid", "validation")
WANTED = "data.root must name a folder with train/CLASS/* and test/CLASS/*"
# Of Windows, macOS, Synology, QNAP, ext4 and Python; names that begin with a dot are left out in any case.
CLUTTER = frozenset(
    name.casefold()
    for name in (
        *("Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"),
        *("__MACOSX", "Icon\r", "Network Trash Folder", "Temporary Items"),
        *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot"),
        *("lost+found", "__pycache__"),
    )
)
HIDDEN = Kind(
    "left out",
    "file or folder hidden or of an operating system",
    "files or folders hidden or of an operating system",
    harmless=True,
)
OUTSIDE = Kind(
    "left out",
    "file or folder outside of the classes",
    "files or folders outside of the classes",
    harmless=True,
)
CYCLES = Kind("left out", "link to a folder that it lies in", "links to folders that they lie in")
IRREGULAR = Kind(
    "left out",
    "entry with an image's ending that is no regular file",
    "entries with an image's ending that are no regular files",
)
NESTED = Kind(
    "labelled by the class folder",
    "image in a folder inside of it",
    "images in folders inside of it",
    harmless=True,
)
TWINS = Kind(
    "perhaps there twice",
    "image whose name differs from another's in the form of Unicode only",
    "images whose names differ from others' in the form of Unicode only",
)

Identity = tuple[int, int]  # device and inode, the same through every link
Classes = dict[str, list[Path]]  # class -> images, both sorted by name


@dataclass(frozen=True)
class ImageTree:
    """The images of each part by class, and what a user should know of the tree.

    parts: train and test, and val where the tree has a validation folder; all have the same classes in the
        same order, and val may have no images of some.
    """

    root: Path
    parts: dict[str, Classes]
    notes: list[str]
    warnings: list[str]

    @property
    def files(self) -> list[Path]:
        return [image for part in self.parts.values() for images in part.values() for image in images]


def image_tree(root: Path) -> ImageTree:
    """List the images below `root`.

    The classes are the folders of train, sorted by name. Names are compared as people see them, in Unicode's
    composed form (NFC). Links are followed. What is left out is counted, a line for each kind.

    Raises:
        DataError: a missing folder, classes that differ between the parts, a class of train or test without
            images, a folder that cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"{WANTED}, got {readable(root)}, which is no folder")
    walk = _Walk(root)
    folders = _part_folders(walk)
    parts = {part: walk.classes(folder) for part, folder in folders.items()}
    _compare(parts, folders)
    parts = {part: {name: found.get(name, []) for name in parts["train"]} for part, found in parts.items()}
    warnings = walk.findings.lines(harmless=False) + walk.other_endings() + _alike(list(parts["train"]))
    return ImageTree(root, parts, walk.findings.lines(harmless=True), warnings)


def _part_folders(walk: _Walk) -> dict[str, Path]:
    root, entries = walk.root, walk.entries(walk.root)
    folders = [entry.name for entry in entries if _is_folder(entry)]
    held_out = [name for name in VALIDATION if name in folders]
    if len(held_out) > 1:
        raise DataError(
            f"one folder can be the validation split, {readable(root)} has {several(held_out)}: keep one"
        )
    for part in PARTS:
        if part not in folders:
            hint = f", only {several(folders)}" if folders else ""
            hint += f": rename {held_out[0]} to be tested on it" if part == "test" and held_out else ""
            raise DataError(f"{WANTED}, got {readable(root)}, which holds no folder {part}{hint}")
    for entry in entries:
        if entry.name not in (*PARTS, *held_out):
            walk.add(OUTSIDE, Path(entry.path))
    validation = {"val": root / held_out[0]} if held_out else {}
    return {part: root / part for part in PARTS} | validation


def _compare(parts: Mapping[str, Classes], folders: Mapping[str, Path]) -> None:
    """Refuse parts with other classes than train's; val may lack some."""
    for part, other in (PARTS, PARTS[::-1], ("val", "train")):
        lacking = sorted(parts.get(part, {}).keys() - parts[other].keys())
        if lacking:
            near = {name.casefold(): name for name in parts[other]}.get(lacking[0].casefold())
            hint = f" (it has {near}: rename one of them)" if near else ""
            raise DataError(
                f"all parts must hold the same classes, {readable(folders[other])} lacks {several(lacking)}"
                + hint
            )


def _alike(classes: Sequence[str]) -> list[str]:
    folded = [name.casefold() for name in classes]
    alike = [name for name in classes if folded.count(name.casefold()) > 1]
    return [f"two classes whose names differ in case only: {several(alike)}"] if alike else []


class _Walk:
    """Goes through the tree at `root` and keeps count of what it leaves out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings = Findings()
        self._others: list[Path] = []

    def add(self, kind: Kind, path: Path) -> None:
        self.findings.add(kind, readable(path.relative_to(self.root)))

    def other_endings(self) -> list[str]:
        if not self._others:
            return []
        example = readable(self._others[0].relative_to(self.root))
        return [f"left out: {_by_ending(self._others)}, e.g. {example}; what is read: {' '.join(endings())}"]

    def entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """Return what is in `folder`, by name, without what belongs to operating systems."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{readable(folder)} cannot be read ({error.strerror}): allow it") from error
        kept = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in CLUTTER:
                self.add(HIDDEN, Path(entry.path))
            else:
                kept.append(entry)
        return kept

    def classes(self, part: Path) -> Classes:
        """Return the images of each class folder in `part`, of which the validation folder's may be empty."""
        folders: dict[str, Path] = {}
        for entry in self.entries(part):
            name = unicodedata.normalize("NFC", readable(entry.name))
            if not _is_folder(entry):
                self.add(OUTSIDE, Path(entry.path))
            elif name in folders:
                raise DataError(
                    f"every class must have one folder, {readable(part)} has two called {readable(name)} in "
                    "different forms of Unicode: put their images into one"
                )
            else:
                folders[name] = Path(entry.path)
        if not folders:
            raise DataError(f"{WANTED}, got {readable(part)}, which holds no folders")
        known = len(self._others)
        above = frozenset({_identity(self.root), _identity(part)})
        found = {name: sorted(self._images(folder, above)) for name, folder in sorted(folders.items())}
        empty = [name for name, images in found.items() if not images]
        if empty and part.name not in VALIDATION:
            others = self._others[known:]
            only = f" (left out: {_by_ending(others)})" if others else ""
            raise DataError(
                f"every class must hold images, but {readable(part)} has none in {several(empty)}{only}"
            )
        return found

    def _images(self, folder: Path, above: frozenset[Identity], *, nested: bool = False) -> Iterator[Path]:
        """Yield the images in `folder` and below; `above` are the folders that it lies in."""
        above |= {_identity(folder)}
        names: set[str] = set()
        for entry in self.entries(folder):
            path = Path(entry.path)
            if _is_folder(entry):
                if _identity(path) in above:
                    self.add(CYCLES, path)
                else:
                    yield from self._images(path, above, nested=True)
            elif path.suffix.lower() not in endings():
                self._others.append(path)
            elif _is_irregular(entry):
                self.add(IRREGULAR, path)
            else:
                name = unicodedata.normalize("NFC", entry.name)
                if name in names:
                    self.add(TWINS, path)
                names.add(name)
                if nested:
                    self.add(NESTED, path)
                yield path


def _identity(folder: Path) -> Identity:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # DirEntry.is_dir fails where links go round in a circle.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_irregular(entry: os.DirEntry[str]) -> bool:
    """Whether opening it could wait for ever or do something else; a link to nowhere is not meant."""
    if entry.is_symlink():
        return os.path.exists(entry.path) and not os.path.isfile(entry.path)
    return not entry.is_file()


def _by_ending(files: Sequence[Path]) -> str:
    """Return how many files there are of each ending, the most frequent first."""
    counts = Counter(file.suffix.lower() for file in files)
    kinds = [f"{count:,} {ending or 'without an ending'}" for ending, count in counts.most_common()]
    return f"{counted(len(files), 'file')} ({several(kinds)})"
