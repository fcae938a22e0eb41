"""Runs and files that a word may name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bnexp.completion.line import Candidate


def runs(current: str, runs_dir: Path) -> Iterator[Candidate]:
    """Give `last` and the runs under `runs_dir`: by name, or by experiment/name where several share it.

    Args:
        current: what the names begin with; only those are looked at, so that thousands cost nothing.
    """
    folders = [(experiment.name, name) for experiment in _folders(runs_dir) for name in _names(experiment)]
    count = Counter(name for _, name in folders)
    for experiment, name in sorted(folders):
        text = name if count[name] == 1 and "/" not in current else f"{experiment}/{name}"
        if text.startswith(current) and (runs_dir / experiment / name / "config.yaml").is_file():
            yield Candidate(text, experiment)
    if folders and "last".startswith(current):
        yield Candidate("last", "the newest run")


def sweeps(runs_dir: Path) -> Iterator[Candidate]:
    """Give the names of sweeps."""
    for file in sorted(runs_dir.glob("*/sweeps/*.json")):
        yield Candidate(file.stem, f"a sweep of {file.parts[-3]}")


def experiments(runs_dir: Path) -> Iterator[Candidate]:
    """Give the names of experiments that have runs."""
    for folder in sorted(_folders(runs_dir)):
        yield Candidate(folder.name, "an experiment")


def paths(current: str, *, only_folders: bool = False) -> Iterator[Candidate]:
    """Give the files and folders that `current` is the beginning of; hidden ones where it ends in a dot."""
    folder, slash, start = current.rpartition("/")
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder + slash) or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if not entry.name.startswith(start) or (entry.name.startswith(".") and not start.startswith(".")):
            continue
        if entry.is_dir():
            yield Candidate(f"{folder}{slash}{entry.name}/")
        elif not only_folders:
            yield Candidate(f"{folder}{slash}{entry.name}")


def _folders(path: Path) -> list[Path]:
    try:
        return [Path(entry) for entry in os.scandir(path) if entry.is_dir()]
    except OSError:
        return []


def _names(experiment: Path) -> list[str]:
    return [folder.name for folder in _folders(experiment) if folder.name != "sweeps"]
