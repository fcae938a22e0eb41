"""Whole runs as a fixture; what they are made of stands in whole_runs.py."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from whole_runs import Ran, Silent, Train, ready

from bnexp import experiment
from bnexp.recording import Recording


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the confusion matrix takes longer than one of these runs."""
    monkeypatch.setattr(Recording, "close_pages", lambda *arguments: None)


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Train with the words of SMALL and others; `stop_after` updates a signal arrives."""

    def run(*words: str, stop_after: int | None = None, number: int = signal.SIGINT) -> Ran:
        with ready(tmp_path, *words) as prepared:
            ran = Ran(experiment.new_directory(prepared.config))
            ran.outcome = experiment.run(prepared, ran.directory, Silent(stop_after, number))
        return ran

    return run
