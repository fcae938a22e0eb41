"""A run whose process is killed, whose disk is full or whose power fails at a chosen point of what it writes.

In the spirit of SQLite's crash tests. Each opening for writing, write, cut, fsync, rename and removal below
the folder of runs is a point. A child of this process, forked with torch loaded and the run built, comes to
the chosen point and meets the disaster there; another child goes on from what is left. What it leaves must be
what a run without a disaster leaves, bit for bit.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from whole_runs import Ran, Silent, assert_same, assert_same_run, composed, own

from bnexp.atomic import DRAFT
from bnexp.composition.compose import Composition, restore
from bnexp.errors import BnexpError
from bnexp.experiment import run as experiment
from bnexp.experiment.recording import Recording
from bnexp.experiment.run import Experiment
from bnexp.runs.directory import RunDirectory, open_run, status
from bnexp.statuses import ANSWERED

KILLED = 77
KINDS = ("killed before", "killed within", "power fails", "disk is full", "file is cut")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class Disaster:
    """What befalls the process at point number `at`; None counts the points.

    killed before: it dies, and the operation is not done. killed within: it dies when a write is half done,
    or another operation is done. power fails: it dies, and what was never synced is gone. disk is full: from
    here on nothing can be written or made. file is cut: it dies, and the file that the operation is about, or
    the checkpoint, loses its second half.
    """

    root: str
    kind: str = ""
    at: int | None = None
    points: list[str] = field(default_factory=list)
    synced: dict[int, int] = field(default_factory=dict)
    written: dict[int, str] = field(default_factory=dict)
    is_full: bool = False

    def meet(
        self, operation: str, path: object, do: Callable[[], Any], half: Callable[[], Any] | None = None
    ) -> Any:
        """Do one operation, or what happens in its place."""
        self.points.append(f"{operation} {Path(os.fsdecode(str(path))).name}")
        grows = operation in ("open", "write", "mkdir")
        if self.is_full and grows:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.at != len(self.points) - 1:
            return do()
        if self.kind == "killed within":
            with suppress(OSError):
                (half or do)()
        elif self.kind == "power fails":
            self.cut_to_what_was_synced()
        elif self.kind == "disk is full":
            self.is_full = True
            self.at = None
            self.points.pop()
            return self.meet(operation, path, do, half)
        os._exit(KILLED)

    def cut_to_what_was_synced(self) -> None:
        for folder, _, names in os.walk(self.root):
            for name in names:
                inode = os.stat(os.path.join(folder, name)).st_ino
                if inode in self.written:
                    REAL["truncate"](os.path.join(folder, name), self.synced.get(inode, 0))

    def covers(self, path: object) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(self.root)


REAL: dict[str, Any] = {
    name: getattr(os, name) for name in ("replace", "unlink", "mkdir", "rmdir", "fsync", "truncate")
}
REAL["open"] = io.open


class Watched(io.FileIO):
    """A file each of whose writes and cuts is a point."""

    def __init__(self, path: str, mode: str, disaster: Disaster) -> None:
        super().__init__(path, mode)
        self.disaster, self.path = disaster, path
        self.inode = os.fstat(self.fileno()).st_ino

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.disaster.written[self.inode] = self.path
        written: int = self.disaster.meet(
            "write",
            self.path,
            lambda: super(Watched, self).write(view),
            lambda: super(Watched, self).write(view[: len(view) // 2]),
        )
        return written

    def truncate(self, size: int | None = None) -> int:
        self.disaster.written[self.inode] = self.path
        cut: int = self.disaster.meet("truncate", self.path, lambda: super(Watched, self).truncate(size))
        return cut


@contextmanager
def under(disaster: Disaster) -> Iterator[None]:
    """Let what this process writes below the root meet the disaster."""

    def opened(
        file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, *rest: Any, **more: Any
    ) -> Any:
        if not disaster.covers(file) or not set(mode) & set("wax+"):
            return REAL["open"](file, mode, buffering, encoding, *rest, **more)
        raw_mode = mode.replace("b", "").replace("t", "")
        raw = disaster.meet("open", file, lambda: Watched(os.fspath(file), raw_mode, disaster))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8")

    def fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        found = os.fstat(number)
        disaster.meet("fsync", "", lambda: REAL["fsync"](number))
        disaster.synced[found.st_ino] = found.st_size

    def watched(name: str) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, **more: Any) -> Any:
            if not disaster.covers(path):
                return REAL[name](path, *rest, **more)
            return disaster.meet(name, path, lambda: REAL[name](path, *rest, **more))

        return call

    builtins.open = io.open = opened  # type: ignore[assignment]
    os.fsync = fsync
    for name in ("replace", "unlink", "mkdir", "rmdir"):
        setattr(os, name, watched(name))
    try:
        yield
    finally:
        builtins.open = io.open = REAL["open"]
        for name in ("replace", "unlink", "mkdir", "rmdir", "fsync"):
            setattr(os, name, REAL[name])


def halve(folder: Path, name: str) -> None:
    """Cut away the second half of the file that an operation was about, or of the checkpoint."""
    draft = DRAFT.fullmatch(name)
    file = folder / (draft[1] if draft else name)
    if name.startswith("events."):
        file = next(folder.glob("events.*"), file)
    file = file if name and file.is_file() else folder / "last.pt"
    if file.is_file():
        os.truncate(file, file.stat().st_size // 2)


def warnings(path: Path) -> list[str]:
    """Return what the log says of damage."""
    lines = (path / "log.txt").read_text().splitlines()
    return [line for line in lines if "WARNING" in line and "is damaged" in line]


def in_a_child(act: Callable[[], str]) -> tuple[int, str]:
    """Return the exit code of a fork of this process that acts, and what `act` returns or its traceback."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            sys.stdout = sys.stderr = REAL["open"](os.devnull, "w")
            told, code = act(), 0
        except BaseException:
            told = traceback.format_exc()
        os.write(writer, told.encode()[-60_000:])
        os._exit(code)
    os.close(writer)
    with REAL["open"](reader, "rb") as pipe:
        told = pipe.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told


@dataclass
class Trial:
    """A run to be struck: built here, trained in children."""

    ready: Experiment
    words: tuple[str, ...]
    expected: Ran
    folder: Path
    count: int = 0

    @cached_property
    def points(self) -> list[str]:
        """Return what a run without a disaster does, one line a point."""

        def count() -> str:
            disaster = Disaster(str(self.folder))
            self.begin(self.folder / "counted", disaster)
            return json.dumps(disaster.points)

        code, told = in_a_child(count)
        assert code == 0, told
        found: list[str] = json.loads(told)
        return found

    def begin(self, path: Path, disaster: Disaster) -> str:
        """Train in this process; return what is told of a full disk."""
        with under(disaster):
            try:
                experiment.run(self.ready, experiment.create_at(path), Silent())
            except BnexpError as error:
                return str(error)
        return ""

    def strike(self, kind: str, at: int) -> str | None:
        """Return what is wrong after a disaster at a point and going on; None where nothing is."""
        self.count += 1
        path = self.folder / f"{self.count}"
        code, told = in_a_child(lambda: self.begin(path, Disaster(str(self.folder), kind, at)))
        if code != (0 if kind == "disk is full" else KILLED):
            return f"it ended with code {code}: {told}"
        if kind == "disk is full" and (len(told.splitlines()) > 1 or (told and "No space left" not in told)):
            return f"a full disk must be one line, it was {told}"
        if kind == "file is cut":
            halve(path, self.points[at].partition(" ")[2])
        code, told = in_a_child(
            lambda: self.go_on(path) if kind != "file is cut" else self.go_on_damaged(path)
        )
        return None if code == 0 else told

    def go_on_damaged(self, path: Path) -> str:
        """Go on from what is left: as from an undamaged run, or a line says what is wrong or lost."""
        if (path / "config.yaml").exists() and status(RunDirectory(path)) in ANSWERED:
            assert Ran(RunDirectory(path)).answer() == self.expected.answer()
            return ""
        try:
            return self.go_on(path)
        except BnexpError as error:
            assert len(str(error).splitlines()) == 1, error
        except AssertionError:
            ran = Ran(RunDirectory(path))
            if not warnings(path):
                raise
            assert_same(ran.timeless_last(), self.expected.timeless_last(), "last.pt")
            assert_same(own(ran.best), own(self.expected.best), "best.pt")
        return ""

    def go_on(self, path: Path) -> str:
        """Go on from what is left, as a person would, and compare."""
        if not (path / "config.yaml").exists():
            left = sorted(file.name for file in path.iterdir()) if path.exists() else []
            self.begin(path, Disaster("/nowhere"))
            assert (path / "config.yaml").exists(), f"neither new nor a run: {left}"
        elif status(open_run(path)) not in ANSWERED:
            config = restore(RunDirectory(path).read_config())
            with experiment.prepared(Composition(config, [], [])) as ready:
                experiment.run(ready, RunDirectory(path), Silent(), resumed=True)
        assert_same_run(Ran(RunDirectory(path)), self.expected)
        assert not warnings(path), warnings(path)
        strays = [file.name for file in path.iterdir() if file.name.startswith(".")]
        assert not strays, f"left behind: {strays}"
        return ""


@contextmanager
def trial(folder: Path, *words: str) -> Iterator[Trial]:
    """Give a run of these words, and train it once to compare with."""
    torch.set_num_threads(1)
    close_pages = Recording.close_pages
    Recording.close_pages = lambda *given: None  # type: ignore[method-assign]  # drawing takes longer than all
    try:
        with experiment.prepared(composed(f"{folder}/runs", words)) as ready:
            expected = Ran(RunDirectory(folder / "expected"))
            made = Trial(ready, words, expected, folder)
            code, told = in_a_child(lambda: made.begin(expected.path, Disaster("/nowhere")))
            assert code == 0 and not told, told
            yield made
    finally:
        Recording.close_pages = close_pages  # type: ignore[method-assign]


def walk(made: Trial, chosen: Sequence[tuple[str, int]]) -> list[str]:
    """Strike a run at each of these points; return a line for each that lost something."""
    points = made.points
    found = []
    for kind, at in chosen:
        wrong = made.strike(kind, at)
        if wrong is not None:
            found.append(f"{' '.join(made.words)}: {kind} at point {at}, {points[at]}:\n{wrong}")
    return found
