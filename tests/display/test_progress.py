"""At a terminal the lines of epochs stay, and the bar below names the epoch under way."""

from __future__ import annotations

import io

import pytest
from tqdm import tqdm

from bnexp.display.progress import TrainingProgress


def test_lines_stay_above_a_bar_that_names_the_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    screen = io.StringIO()
    with tqdm(total=200, file=screen, ncols=80, mininterval=0) as bar:
        progress = TrainingProgress(bar, 2.0)
        progress.start(0)
        for epoch in (0.0, 1.0, 2.0):
            progress.epoch(epoch, f"epoch {epoch:g}/2: loss 1")
            if epoch < 2:
                progress.advance(100, 0.5, {})
                bar.refresh()
    drawn = [line for line in screen.getvalue().split("\r") if "/200" in line]
    assert any(line.startswith("epoch 1/2") and "loss 0.5" in line for line in drawn)
    assert drawn[-1].startswith("epoch 2/2") and "200/200" in drawn[-1]
    assert capsys.readouterr().out.splitlines() == [f"epoch {n}/2: loss 1" for n in range(3)]


def test_a_resumed_run_begins_in_its_epoch() -> None:
    with tqdm(total=200, file=io.StringIO()) as bar:
        progress = TrainingProgress(bar, 2.0)
        progress.start(150)
        assert bar.desc.startswith("epoch 2/2")
