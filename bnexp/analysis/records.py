"""Every run under a folder, with what its small files say of it; a broken run is listed and stops nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bnexp import metrics
from bnexp.choices import GROUPS
from bnexp.errors import CheckpointError
from bnexp.runs.directory import SWEEPS, TRACES, RunDirectory, standing
from bnexp.runs.lookup import started
from bnexp.runs.reading import as_of_now, is_config, read_config

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
        if key in GROUPS:
            return chosen(self.config, key)
        found = at(self.config, key)
        found = at(self.result, key) if found is ABSENT else found
        return self.result.get(key, ABSENT) if found is ABSENT else found

    def metric(self, tag: str) -> float | None:
        """Return a finite measurement of result.json, None where it has none; `step_time_ms` is derived."""
        if tag == "step_time_ms":
            seconds, steps = self.metric("seconds"), self.metric("step")
            return 1000 * seconds / steps if seconds and steps else None
        value = self.result.get(tag)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return None
        return float(value) if abs(value) <= sys.float_info.max else None

    def examples(self, tag: str) -> int | None:
        """Return on how many examples a metric was measured; None where that is not known."""
        sizes = self.result.get(metrics.SPLIT_EXAMPLES)
        found = sizes.get(metrics.split_of(tag)) if isinstance(sizes, Mapping) else None
        return found if isinstance(found, int) and found > 0 else None


def read_record(run: RunDirectory) -> Record:
    """Read one run; never raises."""
    config: Mapping[str, Any] = {}
    result: Mapping[str, Any] = {}
    try:
        result = run.read_result() or {}
        stands, problem = standing(run, result), None
        copy = result.get("config")  # reads fifty times as fast as YAML
        if is_config(copy) and stands != "broken":
            config = as_of_now(copy)
        elif stands != "running" or run.config_file.exists():
            config = read_config(run)
    except CheckpointError as error:
        stands, problem = "broken", str(error)
    return Record(run, stands, started(run.path)[0], config, result, problem)


def all_records(root: Path) -> list[Record]:
    """Return every run under the folder of runs, newest first; what holds traces of a run is broken."""
    records = [read_record(RunDirectory(folder)) for folder in _folders(root)]
    return sorted(records, key=lambda record: started(record.run.path), reverse=True)


def _folders(root: Path) -> Iterator[Path]:
    for experiment in _subfolders(root):
        if os.path.isfile(f"{experiment}/config.yaml"):  # a run of `output_dir`
            yield Path(experiment)
            continue
        for folder in _subfolders(experiment):
            if not folder.endswith(f"/{SWEEPS}") and holds_run(folder):
                yield Path(folder)


def _subfolders(path: str | Path) -> list[str]:
    """Return the folders in a folder, none where it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.name[0] != "." and os.path.isdir(entry.path)]
    except OSError:
        return []


def holds_run(folder: str | Path) -> bool:
    """Say whether a folder counts as a run: it holds files of one, is empty, or cannot be listed."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    traces = (*TRACES, "run.lock")  # a lock alone is a run that begins, or one that died before it began
    return not names or any(fnmatchcase(name, trace) for trace in traces for name in names)


def chosen(config: Mapping[str, Any], group: str) -> Any:
    """Return the option that a group took, ABSENT if unknown; a head norm that none chose copies the norm."""
    choices = config.get("choices") or {}
    option = choices.get(group, ABSENT)
    return choices.get("norm", ABSENT) if group == "head_norm" and option is None else option


def at(node: Mapping[str, Any], key: str) -> Any:
    """Return what stands under a dotted key, ABSENT where nothing does."""
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return ABSENT
        node = node[part]
    return node
