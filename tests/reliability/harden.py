"""Walks every point of small runs, and writes docs/reliability.md: see scripts/harden."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import crash  # noqa: E402

PAGE = HERE.parents[1] / "docs" / "reliability.md"
MLP = ("model=mlp", "model.hidden=[8]")
RUNS = {
    "a norm with running statistics": (*MLP, "norm=builtin", "epochs=2", "telemetry.scalars_every=4"),
    "histograms": (*MLP, "norm=custom", "epochs=2", "telemetry=full", "telemetry.histograms_every=6"),
    "no telemetry, a checkpoint every second epoch": (
        *MLP,
        "steps=9",
        "telemetry=none",
        "checkpoint.every=2",
    ),
    "adam, no validation split": (*MLP, "norm=none", "optimizer=adam", "epochs=2", "data.val_fraction=0"),
    "early stopping, accumulation": (*MLP, "epochs=3", "accumulate=2", "early_stopping.patience=1"),
    "a convolutional network in float16": ("model=lenet", "norm=renorm", "epochs=2", "precision=float16"),
}
TEXT = """# What has been tried to lose a run

Written by `scripts/harden`. A run is struck at every point of what it writes: each opening, write, cut,
fsync, rename and removal. It is killed before the operation or half-way through it; the power fails, and what
was never synced is gone; the disk is full from there on; or it is killed and the file is cut in half. Then it
goes on as a person would let it. It must leave the weights, optimizer, streams, rows and result of a run that
nothing befell, bit for bit; only where a file was cut may a line say instead what is damaged or lost.

| run | points | {kinds} | lost |
|---|---|{rules}|---|
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", choices=[*RUNS, []], help="which runs; all, and the page, if none")
    chosen = parser.parse_args().runs
    rows, wrong = [], []
    for name in chosen or RUNS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, crash.trial(Path(folder), *RUNS[name]) as made:
            every = [(kind, at) for kind in crash.KINDS for at in range(len(made.points))]
            found = crash.walk(made, every)
        struck = Counter(kind for kind, _ in every)
        counts = " | ".join(str(struck[kind]) for kind in crash.KINDS)
        rows.append(f"| {name} | {len(every) // len(crash.KINDS)} | {counts} | {len(found)} |")
        wrong += found
        print(
            f"{name}: {len(every)} disasters, {len(found)} lost, {time.monotonic() - began:.0f} s", flush=True
        )
    print("\n".join(wrong), file=sys.stderr)
    if not chosen:
        head = TEXT.format(kinds=" | ".join(crash.KINDS), rules="|".join(["---"] * len(crash.KINDS)))
        PAGE.write_text(head + "\n".join(rows) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
