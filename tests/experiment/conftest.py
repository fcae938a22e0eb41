"""Whole runs as a fixture; what they are made of stands in whole_runs.py."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import pytest
from whole_runs import Ran, Train, trained

from bnexp.experiment.recording import Recording


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the confusion matrix takes longer than one of these runs."""
    monkeypatch.setattr(Recording, "close_pages", lambda *arguments: None)


@pytest.fixture(scope="session")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """A run of these words, made once a session to compare with: look at it, leave it alone."""

    @cache
    def run(*words: str) -> Ran:
        return trained(tmp_path_factory.mktemp("settled"), *words)

    return run


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Train with the words of SMALL and others; `stop_after` updates a signal arrives."""

    return partial(trained, tmp_path)
