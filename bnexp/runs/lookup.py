"""Which runs lie below a folder, when each began, which one a person means, and which answer a question."""

from __future__ import annotations

import difflib
from datetime import datetime
from pathlib import Path

from bnexp.errors import CheckpointError
from bnexp.runs.directory import STAMP, STAMP_FORMAT, RunDirectory
from bnexp.runs.identity import config_hash
from bnexp.runs.reading import as_of_now, is_config
from bnexp.statuses import ANSWERED

DEPTHS = ("*", "*/*")  # a run of `output_dir` may lie beside the experiments


def find(reference: str, root: Path) -> Path:
    """Return the folder of the run that `reference` means.

    Args:
        reference: `last` (the newest under `root`), the path of a run (from here or from `root`), or the name
            of a run that only one experiment has.
        root: the folder of experiments, runs_dir.
    Raises:
        CheckpointError: it means no run, or several.
    """
    runs = sorted((file.parent for file in files_of_runs(root, "config.yaml")), key=started)
    if reference == "last" and runs:
        return runs[-1]
    for path in (Path(reference), root / reference):
        if (path / "config.yaml").is_file():
            return path
    named = [path for path in runs if path.name == reference]
    if len(named) == 1:
        return named[0]
    for path in (Path(reference), root / reference):
        if (path / "run.lock").is_file():
            raise CheckpointError(f"{path} was left by a run that died before it began: train once more")
    if named:
        raise CheckpointError(f"{reference} names several runs, give a path: {', '.join(map(str, named))}")
    raise CheckpointError(_not_found(reference, root, [path.name for path in runs]))


def files_of_runs(root: Path, name: str) -> list[Path]:
    """Return the files called `name` of all runs below the folder of runs."""
    return [file for depth in DEPTHS for file in root.glob(f"{depth}/{name}") if file.is_file()]


def answered(root: Path) -> dict[str, RunDirectory]:
    """Return, by config_hash, the run that last answered that configuration.

    The hash is taken again, since what it leaves out may have changed since then.
    """
    found: dict[str, RunDirectory] = {}
    for file in sorted(files_of_runs(root, "result.json"), key=lambda file: file.stat().st_mtime_ns):
        run = RunDirectory(file.parent)
        try:
            result = run.read_result() or {}
        except CheckpointError:
            continue
        if result.get("status") in ANSWERED and is_config(config := result.get("config")):
            found[config_hash(as_of_now(config))] = run
    return found


def started(path: Path) -> tuple[float, int]:
    """Return the second, and for runs of one second the nanosecond, at which a run began; never raises.

    By the time in the name, which outlives copies; by the files' time for a name of the user's own.
    """
    written = _written(path)
    if stamp := STAMP.search(path.name):
        try:
            return datetime.strptime(stamp[1], STAMP_FORMAT).timestamp(), written
        except (ValueError, OverflowError):
            pass
    return written / 10**9, written


def _written(path: Path) -> int:
    for file in (path / "config.yaml", path / "result.json", path):
        try:
            return file.stat().st_mtime_ns
        except OSError:
            continue
    return 0


def _not_found(reference: str, root: Path, names: list[str]) -> str:
    if not names:
        return f"no run {reference!r}: {root} holds no runs yet; `bnexp train` makes one"
    nearest = difflib.get_close_matches(Path(reference).name, names, n=3, cutoff=0.3)
    hint = f"; the nearest are {', '.join(map(repr, nearest))}" if nearest else ""
    return f"no run {reference!r} among the {len(names)} under {root}{hint}"
