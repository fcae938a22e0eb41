"""Seconds of a sweep on one worker and on two, in turns, and of what a warm worker needs between two jobs.

For short and for longer jobs, each round runs the same twelve on digits twice, as `bnexp train -m ... --jobs
1` and `--jobs 2`, each in an empty folder; a speed-up is the median over rounds of each round's own ratio of
wall times, start and planning included. Between two jobs of one worker: from the end of one run to the start
of the next, which has then been built. One thread a worker.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from processor import processor

WORDS = ("norm=custom,builtin,group,none", "batch_size=8", "seed=0,1,2")
EPOCHS = (5, 20)
BNEXP = "from bnexp.cli import main; main()"


def sweep(jobs: int, words: tuple[str, ...]) -> tuple[float, list[float]]:
    """Run the sweep once; return its seconds, and those between two jobs of a worker."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", BNEXP, "train", "-m", *words, "--jobs", str(jobs)],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        seconds = time.perf_counter() - start
        (file,) = Path(folder).glob("runs/*/sweeps/*.jsonl")
        events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return seconds, pauses(events)


def pauses(events: list[dict[str, Any]]) -> list[float]:
    """Return the seconds from each `ended` to the next `started` of the same process."""
    found, ended = [], {}
    for event in events:
        if event["what"] == "started" and event["process"] in ended:
            found.append(event["time"] - ended[event["process"]])
        ended[event["process"]] = event["time"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--words", nargs="+", default=WORDS)
    parser.add_argument("--epochs", nargs="+", type=int, default=EPOCHS)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    found = {
        str(epochs): measure((*options.words, f"epochs={epochs}"), options.rounds)
        for epochs in options.epochs
    }
    machine = {"device": processor(), "torch": torch.__version__, "python": platform.python_version()}
    record = {"machine": machine, "words": list(options.words), "epochs": found}
    options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def measure(words: tuple[str, ...], rounds: int) -> dict[str, Any]:
    """Return the seconds of each round, and the medians that count."""
    found = []
    for _ in range(rounds):
        (one, _), (two, between) = sweep(1, words), sweep(2, words)
        found.append(
            {"one_worker_s": one, "two_workers_s": two, "between_jobs_s": statistics.median(between)}
        )
    speed_up = statistics.median(each["one_worker_s"] / each["two_workers_s"] for each in found)
    pause = statistics.median(each["between_jobs_s"] for each in found)
    print(
        f"{' '.join(words)}: two workers {speed_up:.2f} times as fast, {pause:.3f} s between two jobs",
        flush=True,
    )
    return {"rounds": found, "speed_up": speed_up, "between_jobs_s": pause}


if __name__ == "__main__":
    main()
