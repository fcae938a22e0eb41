"""Real runs, trained once, and an empty working directory."""

import os
import subprocess
import sys

import pytest

from bnexp import cli

COMMAND = [sys.executable, "-c", "from bnexp.cli import main; main()"]

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
