"""Sweeps as a person starts them: processes of their own, in an empty folder, killed where a test wants."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 180
BNEXP = "from bnexp.cli import main; main()"
FEW = ("data.train_size=300", "telemetry.histograms_every=10")
QUICK = (*FEW, "epochs=2")
TWELVE = ("-m", "norm=custom,none,group", "batch_size=8,16", "seed=0,1", *QUICK)


def bnexp(folder: Path, *arguments: str, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    """Run one command line to its end."""
    return subprocess.run(
        [sys.executable, "-c", BNEXP, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
    )


@contextmanager
def started(
    folder: Path, *arguments: str, stderr: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """Start one command line at the head of a process group of its own, which is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-c", BNEXP, *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill_all(process)


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def kill_all(process: subprocess.Popen[str]) -> None:
    """End the process and all that it started, at once."""
    for number in (*descendants(process.pid), process.pid):
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def descendants(process: int) -> set[int]:
    """Return all that `process` and those that it started have started."""
    files = Path(f"/proc/{process}/task").glob("*/children")
    children = {int(child) for file in files for child in file.read_text().split()}
    return children.union(*map(descendants, children))


def alive(processes: set[int]) -> set[int]:
    """Return those that still run; the dead that nobody has waited for do not."""
    found = set()
    for process in processes:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found |= {process} if state != "Z" else set()
    return found


def events(folder: Path) -> list[dict[str, Any]]:
    """Return what the sweep's processes have written of its jobs."""
    files = list(folder.glob("runs/*/sweeps/*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def ended(folder: Path) -> int:
    """Return how many jobs have ended without an error."""
    return sum(event["what"] == "ended" for event in events(folder))


def begun(folder: Path) -> int:
    """Return how often a job was started."""
    return sum(event["what"] == "started" for event in events(folder))


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results of all runs by their configuration's hash; a configuration run twice is an error."""
    found: dict[str, dict[str, Any]] = {}
    for file in folder.glob("runs/*/*/result.json"):
        result = json.loads(file.read_text())
        assert result["config_hash"] not in found, f"{file.parent} repeats a run"
        found[result["config_hash"]] = result
    return found


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
