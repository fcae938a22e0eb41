"""Runs that answer a configuration, whatever sweep or person asked for them."""

from __future__ import annotations

from pathlib import Path

from bnexp.errors import CheckpointError
from bnexp.runs.directory import RunDirectory
from bnexp.runs.finding import files_of_runs
from bnexp.statuses import ANSWERED


def answered(root: Path) -> dict[str, RunDirectory]:
    """Return, by config_hash, the run that last answered that configuration."""
    found: dict[str, RunDirectory] = {}
    for file in sorted(files_of_runs(root, "result.json"), key=lambda file: file.stat().st_mtime_ns):
        run = RunDirectory(file.parent)
        try:
            result = run.read_result() or {}
        except CheckpointError:
            continue
        if result.get("status") in ANSWERED and "config_hash" in result:
            found[result["config_hash"]] = run
    return found
