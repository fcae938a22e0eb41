"""Runs for reports, and the command."""

import os

from synthetic_runs import config, telling_rows, write_run

from bnexp import cli
from bnexp.protocols import Measurement

LOG = "2026-11-28 10:00:00,000"
TOLD = "4 sigmoids & no norm: <nothing> learns"
QUIET = {0: Measurement({"loss/val": 2.3, "accuracy/val": 0.1}), 400: Measurement({"loss/val": 1.0})}


def finished(root, name, norm, *, batch_size=64, seed=0, accuracy=0.5, rows=None, **changed):
    """Leave a run under root/default/name that ended well, or as `changed` says."""
    result = {
        "status": "finished",
        "accuracy/test": accuracy,
        "loss/test": 1 - accuracy,
        "peak_memory_bytes": 2**28,
        "examples": 64 * 400,
        "seconds": 2.0,
        "step": 400,
        "device": "cpu",
        "threads": 1,
        "versions": {"torch": "2.14.1"},
        "git_commit": "abc",
        "git_dirty": False,
        "command": f"bnexp train norm={norm}",
        **changed,
    }
    settings = config(norm, seed=seed, batch_size=batch_size)
    rows = telling_rows(norm, seed) if rows is None else rows
    run = write_run(root / "default" / name, rows, config=settings, result=result)
    started = f"{LOG} INFO started by bnexp train norm={norm} batch_size={batch_size} seed={seed}\n"
    warned = f"{LOG} WARNING {TOLD}\n" if norm == "none" else ""
    run.log_file.write_text(started + warned + f"{LOG} INFO finished at step 400\n")
    return run


def report(*words, root):
    """Run the command; return its exit code."""
    return cli.run(["report", *words, "--runs-dir", os.fspath(root)])
