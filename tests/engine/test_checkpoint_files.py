"""Checkpoint files are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from bnexp.engine import checkpoint
from bnexp.engine.checkpoint import whole


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    content = {"model": {"weight": torch.arange(3.0)}, "state": {"step": 3, "best_loss": None, "latest": {}}}
    checkpoint.write(tmp_path / "last.pt", content)
    found = whole(tmp_path / "last.pt")
    assert torch.equal(found["model"]["weight"], torch.arange(3.0))
    assert found["state"] == content["state"]
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    checkpoint.write(path, {"step": 1})

    def torn(content: object, target: BinaryIO) -> None:
        target.write(b"half of it")
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(torch, "save", torn)
        checkpoint.write(path, {"step": 2})
    assert whole(path) == {"step": 1}
    checkpoint.write(path, {"step": 3})
    assert whole(path) == {"step": 3}


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        order.append(("sync", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def replaced(draft: Path, path: Path) -> None:
        order.append(("replace", draft.stat().st_size))
        replace(draft, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    checkpoint.write(tmp_path / "last.pt", {"model": {"weight": torch.zeros(1000)}})
    size = (tmp_path / "last.pt").stat().st_size
    assert order[:2] == [("sync", size), ("replace", size)]
