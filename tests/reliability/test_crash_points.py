"""Wherever a small run is killed, the power fails or the disk is full, nothing is lost.

A sample of the points, other ones for each configuration; `scripts/harden` walks all of them.
"""

from __future__ import annotations

import random
from pathlib import Path

import crash
import pytest

SMALL = ("model=mlp", "model.hidden=[8]", "norm=builtin", "epochs=2", "telemetry.scalars_every=4")
OTHERS = [
    (*SMALL, "telemetry.histograms_every=6"),
    (*SMALL[:3], "steps=9", "telemetry=none", "checkpoint.every=2"),
    ("model=mlp", "model.hidden=[8]", "norm=none", "optimizer=adam", "epochs=2", "data.val_fraction=0"),
]
SAMPLE = 18


@pytest.mark.slow
@pytest.mark.parametrize("words", [SMALL, *OTHERS], ids=" ".join)
def test_nothing_is_lost_at_a_sample_of_points(tmp_path: Path, words: tuple[str, ...]) -> None:
    with crash.trial(tmp_path, *words) as made:
        points = range(len(made.points))
        every = [(kind, at) for kind in crash.KINDS for at in points]
        chosen = random.Random(" ".join(words)).sample(every, SAMPLE)
        assert crash.walk(made, chosen) == []


def test_the_harness_notices_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the sync before a checkpoint takes its place, a power failure leaves none."""
    from bnexp import atomic

    def hasty(path: Path, fill: object, keep: Path | None) -> None:
        with path.open("wb") as file:
            fill(file)  # type: ignore[operator]

    monkeypatch.setattr(atomic, "_write", hasty)
    with crash.trial(tmp_path, *SMALL) as made:
        last = max(at for at, point in enumerate(made.points) if point == "write last.pt")
        assert len(crash.walk(made, [("killed within", last)])) == 1
