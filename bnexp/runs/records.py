"""Every run under a folder, with what its small files say of it; a broken run is listed and stops nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bnexp.errors import CheckpointError
from bnexp.runs.directory import STAMP, STAMP_FORMAT, SWEEPS, TRACES, RunDirectory, status
from bnexp.runs.reading import read_config

GROUPS = ("norm", "head_norm", "model", "data", "optimizer", "schedule", "init", "telemetry", "convention")
ABSENT = object()  # a value that a run does not have, unlike null


@dataclass(frozen=True)
class Record:
    """One run as its files stand now.

    config: the resolved configuration; result: what result.json holds; both empty where they cannot be read.
    started: seconds since 1970; problem: why the run is broken.
    """

    run: RunDirectory
    status: str
    started: float
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    problem: str | None = None

    @property
    def name(self) -> str:
        return self.run.path.name

    @property
    def experiment(self) -> str:
        return self.run.path.parent.name

    @property
    def age_s(self) -> float:
        return max(0.0, time.time() - self.started)

    def value(self, key: str) -> Any:
        """Return what `key` means for this run, ABSENT where it means nothing.

        Args:
            key: a group (`norm` is the name of the choice), a dotted key of the configuration, a metric's tag
                or another key of result.json, or `name`, `experiment`, `status`, `age`, `started`.
        """
        if key in ("name", "experiment", "status", "started"):
            return getattr(self, key)
        if key == "age":
            return self.age_s
        choices = self.config.get("choices") or {}
        if key in GROUPS:
            return choices.get(key, ABSENT)
        found = _at(self.config, key)
        found = _at(self.result, key) if found is ABSENT else found
        return self.result.get(key, ABSENT) if found is ABSENT else found

    def metric(self, tag: str) -> float | None:
        """Return a measurement of result.json, None where it has none; `step_time_ms` is derived."""
        if tag == "step_time_ms":
            seconds, steps = self.result.get("seconds"), self.result.get("step")
            return 1000 * seconds / steps if seconds and steps else None
        value = self.result.get(tag)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def read_record(run: RunDirectory) -> Record:
    """Read one run; never raises."""
    found, problem = status(run), None
    config: Mapping[str, Any] = {}
    result: Mapping[str, Any] = {}
    try:
        result = run.read_result() or {}
        # The copy in result.json reads fifty times as fast as YAML.
        config = result.get("config") or read_config(run)
    except CheckpointError as error:
        found, problem = "broken", str(error)
    return Record(run, found, _started(run.path), config, result, problem)


def all_records(root: Path) -> list[Record]:
    """Return every run under the folder of runs, newest first; what holds traces of a run is broken."""
    records = [read_record(RunDirectory(folder)) for folder in _folders(root)]
    return sorted(records, key=lambda record: (record.started, record.name), reverse=True)


def _folders(root: Path) -> Iterator[Path]:
    for experiment in sorted(path for path in root.glob("*") if path.is_dir()):
        for entry in os.scandir(experiment):
            if entry.name != SWEEPS and entry.is_dir() and _holds_run(os.listdir(entry.path)):
                yield Path(entry.path)


def _holds_run(names: Sequence[str]) -> bool:
    """Whether these are the files of a run, or of one that has not begun to write."""
    return not names or any(fnmatchcase(name, trace) for name in names for trace in TRACES)


def _started(path: Path) -> float:
    """By the time in the name, which outlives copies; by the files' time for a name of the user's own."""
    stamp = STAMP.search(path.name)
    if stamp:
        return time.mktime(time.strptime(stamp[1], STAMP_FORMAT))
    times = [
        file.stat().st_mtime for file in (path, path / "config.yaml", path / "result.json") if file.exists()
    ]
    return max(times, default=0.0)


def _at(node: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return ABSENT
        node = node[part]
    return node
