"""A sweep on disk: what it consists of, and what has become of each job.

runs/<experiment>/sweeps/<id>.json     words, jobs and their hashes; written once, whole
runs/<experiment>/sweeps/<id>.jsonl    one line an event, appended by the processes that run jobs
runs/<experiment>/sweeps/<id>.stop     there while no further job is to start
runs/<experiment>/sweeps/<id>.seatN    locked by the worker that sees the Nth of several GPUs
runs/<experiment>/sweeps/<id>.launcher what a launcher of Hydra's keeps, such as Slurm's logs
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from bnexp import atomic, plain_files
from bnexp.choices import LOADER
from bnexp.errors import CheckpointError
from bnexp.runs.directory import SWEEPS, RunDirectory, status, unwritable

ENDS = ("ended", "failed")


@dataclass(frozen=True)
class Job:
    """One run to make: the words that describe it, its resolved configuration as YAML, and its hash."""

    words: list[str]
    config_hash: str
    config: str


@dataclass(frozen=True)
class Dropped:
    """Words that are no job of the sweep, and why."""

    words: list[str]
    reason: str


@dataclass(frozen=True)
class Event:
    """What happened to a job: `started` in the folder `run`, then `ended` or `failed`, as `detail` says.

    `lost` is a job whose process died and that is to go on, `answered` one that another run has answered.
    """

    job: int
    what: str
    run: str | None
    detail: str
    process: int
    host: str
    time: float


@dataclass(frozen=True)
class Sweep:
    """A recorded sweep; `path` is its .json file."""

    path: Path
    words: list[str]
    plugins: list[str]
    jobs: list[Job]
    dropped: list[Dropped]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def stop_file(self) -> Path:
        return self.path.with_suffix(".stop")

    @property
    def _events_file(self) -> Path:
        return self.path.with_suffix(".jsonl")

    def title(self, job: int) -> str:
        """Return the words in which a job differs from others, all of its words where there are no others."""
        common = set.intersection(*(set(other.words) for other in self.jobs)) if len(self.jobs) > 1 else set()
        return " ".join(word for word in self.jobs[job].words if word not in common) or "the defaults"

    def command(self, job: int) -> str:
        """Return the command line that makes the run of one job alone, with the threads that it has here."""
        words = list(self.jobs[job].words)
        if not any(word.startswith("threads=") for word in words):
            words.append(f"threads={yaml.load(self.jobs[job].config, Loader=LOADER)['threads']}")
        return self._command(words)

    def whole_command(self) -> str:
        """Return the command line that makes the sweep."""
        return self._command(["-m", *self.words])

    def _command(self, words: Sequence[str]) -> str:
        plugins = [word for plugin in self.plugins for word in ("--plugin", plugin)]
        return shlex.join(["bnexp", "train", *words, *plugins])

    def write(self) -> None:
        """Write the record, whole or not at all.

        Raises:
            ConfigError: its folder cannot be written.
        """
        content = {key: value for key, value in asdict(self).items() if key != "path"}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_text(self.path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise unwritable("runs_dir", self.path.parent, error) from error

    def add(self, job: int, what: str, run: Path | None = None, detail: str = "") -> None:
        """Append an event of this process; one write of one line, which processes may do side by side."""
        event = Event(
            job, what, str(run) if run else None, detail, os.getpid(), socket.gethostname(), time.time()
        )
        line = json.dumps(asdict(event), ensure_ascii=False) + "\n"
        with self._events_file.open("ab", buffering=0) as file:
            file.write(line.encode())

    def events(self) -> list[Event]:
        """Return what has happened so far, in order; a line torn by a kill is left out."""
        try:
            lines = plain_files.read_bytes(self._events_file).splitlines()
        except FileNotFoundError:
            return []
        return [event for event in map(_event, lines) if event is not None]

    def runs(self) -> dict[int, RunDirectory]:
        """Return the newest run of each job that has one with a configuration."""
        found = {event.job: self._run(Path(event.run)) for event in self.events() if event.run}
        return {job: run for job, run in found.items() if run.config_file.is_file()}

    def _run(self, written: Path) -> RunDirectory:
        """Return the run EXPERIMENT/NAME beside this record, else where it was when its event was written.

        A folder of runs that was copied from another machine or moved must not look into the old one.
        """
        moved = RunDirectory(self.path.resolve().parents[2].joinpath(*written.parts[-2:]))
        return moved if moved.config_file.is_file() else RunDirectory(written)

    def statuses(self) -> dict[int, str]:
        """Return how each job stands: its run's status, `waiting` where it has no run."""
        runs = self.runs()
        return {job: status(runs[job]) if job in runs else "waiting" for job in range(len(self.jobs))}


def read(path: Path) -> Sweep:
    """Read the record of a sweep.

    Raises:
        CheckpointError: it cannot be read, or is no record of a sweep.
    """
    try:
        content = json.loads(plain_files.read_text(path, most=1 << 28))
        jobs = [Job(**job) for job in content["jobs"]]
        dropped = [Dropped(**job) for job in content["dropped"]]
        return Sweep(path, content["words"], content["plugins"], jobs, dropped)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no readable record of a sweep ({error})") from error


def find(reference: str, root: Path) -> Path | None:
    """Return the record that `reference` means, a path or a name under `root`; None where none does."""
    given = Path(reference)
    if given.suffix == ".json" and given.is_file() and given.parent.name == SWEEPS:
        return given
    named = [path for path in records(root) if path.stem == given.stem]
    return named[0] if len(named) == 1 else None


def records(root: Path) -> list[Path]:
    """Return the records of all sweeps under the folder of runs, oldest first."""
    return sorted(root.glob(f"*/{SWEEPS}/*.json"), key=lambda path: path.stat().st_mtime_ns)


def _event(line: bytes) -> Event | None:
    try:
        content: Any = json.loads(line)
        return Event(**content)
    except (ValueError, TypeError):
        return None
