"""Command lines, in a warm process or one of their own, in an empty folder; and real runs, trained once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bnexp import cli

COMMAND = [sys.executable, "-c", "from bnexp.cli import main; main()"]

QUICK = ("threads=1", "steps=2", "data.train_size=100")
RUNS = {
    "custom": ("norm=custom",),
    "none": ("norm=none",),
    "diverged": ("norm=none", "activation=relu", "optimizer.lr=100"),
}
WORDS = ("steps=60", "data.train_size=200", "telemetry=full", "threads=1")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of three runs of 60 steps, x/custom, x/none and x/diverged."""
    root = tmp_path_factory.mktemp("trained")
    for name, words in RUNS.items():
        assert cli.run(["train", *WORDS, *words, f"output_dir='{root / 'x' / name}'"]) == 0
    return root


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def process(folder):
    """Run a command in that folder as a process of its own, away from a terminal; returns what it prints."""

    def run(*words, **environment):
        kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
        kept |= {"PYTHONIOENCODING": "utf-8", "TERM": "xterm", **environment}
        done = subprocess.run([*COMMAND, *words], env=kept, capture_output=True, encoding="utf-8", check=True)
        return done.stdout

    return run


@dataclass(frozen=True)
class Said:
    """What one command line answered."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


@pytest.fixture
def bnexp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Return a function that runs a command line in `tmp_path`, which is empty and the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BNEXP_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "path", sys.path[:])

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = cli.run(arguments)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def train(bnexp: Callable[..., Said]) -> Callable[..., Said]:
    """Return a function that runs `bnexp train` for two steps on 100 digits."""

    def run(*words: str) -> Said:
        given = {word.partition("=")[0] for word in words}
        return bnexp("train", *(word for word in QUICK if word.partition("=")[0] not in given), *words)

    return run
