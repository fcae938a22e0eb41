"""Checkpoint files are whole or not there, and nothing in them can run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from torch import nn

from bnexp.engine import checkpoint
from bnexp.errors import CheckpointError


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    content = {"model": {"weight": torch.arange(3.0)}, "state": {"step": 3, "best_loss": None, "latest": {}}}
    checkpoint.write(tmp_path / "last.pt", content)
    found = checkpoint.read(tmp_path / "last.pt")
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
    assert checkpoint.read(path) == {"step": 1}
    checkpoint.write(path, {"step": 3})
    assert checkpoint.read(path) == {"step": 3}


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
    assert order == [("sync", size), ("replace", size)]


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    """A pickle that would make a file if it were loaded."""
    marker = tmp_path / "ran"

    class Malice:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (marker,)

    for name, save in {
        "torch": torch.save,
        "pickle": lambda value, path: path.write_bytes(pickle.dumps(value)),
    }.items():
        path = tmp_path / f"{name}.pt"
        save({"model": Malice()}, path)
        with pytest.raises(CheckpointError):
            checkpoint.read(path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(2), 3])
def test_only_a_dict_is_a_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match="must be a whole file of tensors"):
        checkpoint.read(tmp_path / "file.pt")


def test_a_whole_pickled_network_is_refused_in_one_line(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "network.pt")
    with pytest.raises(CheckpointError, match="tensors and plain values") as caught:
        checkpoint.read(tmp_path / "network.pt")
    assert len(str(caught.value).splitlines()) == 1 and "weights_only" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pt does not exist"):
        checkpoint.read(tmp_path / "gone.pt")
    with pytest.raises(CheckpointError, match="Is a directory"):
        checkpoint.read(tmp_path)


@pytest.mark.parametrize("first", range(0, 256, 5))
def test_no_first_byte_gets_through(tmp_path: Path, first: int) -> None:
    """Files of other programs begin with anything, torch's reader takes it for an instruction."""
    (tmp_path / "file.pt").write_bytes(bytes([first, first, 46]) + bytes(range(40)))
    with pytest.raises(CheckpointError):
        checkpoint.read(tmp_path / "file.pt")
