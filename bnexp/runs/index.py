"""All runs under a folder, with what their files say of them."""

from __future__ import annotations

from pathlib import Path

from bnexp.errors import CheckpointError
from bnexp.runs.directory import ANSWERED, RunDirectory


def answered(root: Path) -> dict[str, RunDirectory]:
    """Return, by config_hash, a run that has answered that configuration."""
    found: dict[str, RunDirectory] = {}
    for file in root.glob("*/*/result.json"):
        run = RunDirectory(file.parent)
        try:
            result = run.read_result() or {}
        except CheckpointError:
            continue
        if result.get("status") in ANSWERED and "config_hash" in result:
            found.setdefault(result["config_hash"], run)
    return found
