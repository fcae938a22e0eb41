"""A warm process that takes many command lines, each in an empty working directory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bnexp import cli

QUICK = ("threads=1", "steps=2", "data.train_size=100")


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
        return bnexp("train", *QUICK, *words)

    return run
