"""Whole runs in this process: small, silent, stopped where a test wants."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from bnexp.composition.compose import Composition, compose, restore
from bnexp.experiment import run as experiment
from bnexp.experiment.run import Experiment
from bnexp.models.lenet import LeNet
from bnexp.protocols import Outcome
from bnexp.runs.directory import RunDirectory

SMALL = ("threads=1", "data.train_size=100", "batch_size=16", "epochs=3", "telemetry=full")
STEPS_PER_EPOCH = 6  # 90 images to train on


class Silent:
    """Progress that nobody sees; after `stop_after` updates it sends this process a signal."""

    def __init__(self, stop_after: int | None = None, number: int = signal.SIGINT) -> None:
        self.updates = 0
        self.stop_after = stop_after
        self.number = number

    def note(self, line: str) -> None: ...
    def start(self, examples: int) -> None: ...

    def advance(self, examples: int, loss: float | None, latest: Mapping[str, float]) -> None:
        self.updates += 1
        if self.updates == self.stop_after:
            os.kill(os.getpid(), self.number)

    def epoch(self, epoch: float, latest: Mapping[str, float]) -> None: ...


@dataclass
class Ran:
    """What a run left."""

    directory: RunDirectory
    outcome: Outcome | None = None

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.directory.metrics_file.read_text().splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.directory.result_file.read_text())
        return content

    @property
    def last(self) -> dict[str, Any]:
        return load(self.directory.last_file)

    @property
    def best(self) -> dict[str, Any]:
        return load(self.directory.best_file)

    def column(self, tag: str) -> list[Any]:
        return [row[tag] for row in self.rows if tag in row]

    def answer(self) -> dict[str, Any]:
        """What two equal runs must share of result.json: how it ended and all that was measured."""
        kept = ("status", "step", "epoch", "examples", "best_step", "config_hash")
        return {key: value for key, value in self.result.items() if key in kept or "/" in key}

    def timeless_rows(self) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in row.items() if key != "examples_per_second"} for row in self.rows
        ]

    def timeless_last(self) -> dict[str, Any]:
        last = own(self.last)
        del last["state"]["seconds"], last["files"]
        return last


Train = Callable[..., Ran]


@contextmanager
def ready(tmp_path: Path, *words: str) -> Iterator[Experiment]:
    """Build what SMALL and `words` describe; a word that names steps replaces the epochs of SMALL."""
    with experiment.prepared(composed(f"{tmp_path}/runs", words)) as prepared:
        yield prepared


def composed(runs_dir: str, words: Sequence[str]) -> Composition:
    composition = copy.deepcopy(_composed(tuple(words)))
    composition.config.runs_dir = runs_dir
    return composition


@cache
def _composed(words: tuple[str, ...]) -> Composition:
    given = [word.partition("=")[0] for word in words]
    small = [word for word in SMALL if word.partition("=")[0] not in given]
    if "steps" in given:
        small = [word for word in small if not word.startswith("epochs=")]
    return compose([*small, *words])


def trained(folder: Path, *words: str, stop_after: int | None = None, number: int = signal.SIGINT) -> Ran:
    with ready(folder, *words) as prepared:
        ran = Ran(experiment.new_directory(prepared.config))
        ran.outcome = experiment.run(prepared, ran.directory, Silent(stop_after, number))
    return ran


def resume(ran: Ran, *, stop_after: int | None = None) -> Ran:
    """Go on with a run from what its folder holds, and nothing else."""
    config = restore(ran.directory.config_file.read_text())
    with experiment.prepared(Composition(config, [], [])) as prepared:
        ran.outcome = experiment.run(prepared, ran.directory, Silent(stop_after), resumed=True)
    return ran


def fail_at(step: int, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Ran:
    """Return a run, the first in this folder, whose network broke in training pass number `step`."""
    compute, passes = LeNet.forward, 0

    def forward(model: LeNet, images: torch.Tensor) -> torch.Tensor:
        nonlocal passes
        passes += model.training
        if passes > step:
            raise ZeroDivisionError("in the middle")
        return compute(model, images)

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(LeNet, "forward", forward)
        train(*words)
    (path,) = tmp_path.glob("runs/*/*")
    return Ran(RunDirectory(path))


def own(content: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint holds besides what tells whose it is, and its digest."""
    return {key: value for key, value in content.items() if key not in ("run", "config", "digest")}


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def assert_same(actual: Any, expected: Any, where: str = "") -> None:
    """Nested dicts, lists, tensors and values are equal, bit for bit."""
    if isinstance(expected, torch.Tensor):
        assert isinstance(actual, torch.Tensor) and actual.dtype == expected.dtype, where
        assert torch.equal(actual, expected), where
    elif isinstance(expected, Mapping):
        assert actual.keys() == expected.keys(), where
        for key in expected:
            assert_same(actual[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), where
        for index, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_same(one, other, f"{where}[{index}]")
    else:
        assert actual == expected, where


def assert_same_run(actual: Ran, expected: Ran) -> None:
    """Two runs left the same weights, optimizer, streams, rows and result; only times may differ."""
    assert_same(actual.timeless_last(), expected.timeless_last(), "last.pt")
    assert actual.directory.best_file.exists() == expected.directory.best_file.exists()
    if expected.directory.best_file.exists():
        assert_same(own(actual.best), own(expected.best), "best.pt")
    assert_same(actual.timeless_rows(), expected.timeless_rows(), "metrics.jsonl")
    assert_same(actual.answer(), expected.answer(), "result.json")
