"""Files of tensors are read in three formats, other files are named, and nothing in one can run."""

from __future__ import annotations

import argparse
import gzip
import json
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnexp.engine.tensor_files import read
from bnexp.errors import CheckpointError

STATE = {
    "conv.weight": torch.arange(12.0).view(2, 3, 2),
    "norm.num_batches_tracked": torch.tensor(7),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "empty": torch.zeros(0, 3),
}


def safetensors(state: dict[str, Tensor], **changes: object) -> bytes:
    """Return the bytes of a file of version 0.3 or later, written by hand from the format's description."""
    names = {torch.float32: "F32", torch.int64: "I64", torch.bfloat16: "BF16"}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in state.items():
        content = bytes(tensor.contiguous().view(-1).view(torch.uint8).tolist()) if tensor.numel() else b""
        offsets = [len(body), len(body) + len(content)]
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        body += content
    text = json.dumps(header | changes).encode()
    return struct.pack("<Q", len(text)) + text + body


def legacy(state: object, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


WRITERS: dict[str, Callable[[dict[str, Tensor], Path], object]] = {
    "zip": torch.save,
    "legacy": legacy,
    "safetensors": lambda state, path: path.write_bytes(safetensors(state)),
}


@pytest.mark.parametrize("format", WRITERS)
def test_three_formats_are_read(tmp_path: Path, format: str) -> None:
    WRITERS[format](dict(STATE), tmp_path / "file")
    found = read(tmp_path / "file")
    assert found.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.mark.parametrize("format", WRITERS)
def test_a_file_cut_short_or_changed_is_refused_or_read_and_never_trips(tmp_path: Path, format: str) -> None:
    path = tmp_path / "file"
    WRITERS[format](dict(STATE), path)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="must be a whole file of tensors"):
            read(path)
    draw = random.Random(0)
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(draw.choice((1, 3, 20))):
            changed[draw.randrange(min(len(changed), draw.choice((30, 400, 10_000))))] = draw.randrange(256)
        path.write_bytes(changed)
        try:
            read(path)
        except CheckpointError as error:
            assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"conv.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 48]}},
        {"conv.weight": {"dtype": "F32", "shape": [12], "data_offsets": [0, 480_000]}},
        {"conv.weight": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        {"conv.weight": {"dtype": "X9", "shape": [12], "data_offsets": [0, 48]}},
        {"conv.weight": {"shape": [12]}},
        {"conv.weight": None},
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    (tmp_path / "odd.safetensors").write_bytes(safetensors(STATE, **changes))
    with pytest.raises(CheckpointError, match="cut short, damaged or something else"):
        read(tmp_path / "odd.safetensors")


def script(path: Path) -> None:
    """Write the names that torch.jit.save writes; torch deprecates making a real one."""
    with zipfile.ZipFile(path, "w") as zipped:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py", "version"):
            zipped.writestr(f"archive/{name}", "x")


def packed(path: Path) -> None:
    member = path.with_name("weight")
    member.write_bytes(b"x")
    with tarfile.open(path, "w") as tar:
        tar.add(member, "storages")


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("model.weights.h5", "x")


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "TorchScript": (script, "is a TorchScript archive: save the state_dict()"),
    "tar": (packed, "is a tar archive, of torch before 0.2 or of several files"),
    "Keras": (archive, "is an archive of other files: model.weights.h5"),
    "numpy": (lambda path: np.savez(path.open("wb"), a=np.zeros(2)), "is an archive of other files: a.npy"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600)), "is an HDF5 file"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x" * 100)), "is compressed by gzip: unpack it"),
    "LFS": (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "page": (lambda path: path.write_bytes(b"<!DOCTYPE html><html>"), "is a web page"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "is a pickle that torch did not write"),
    "text": (lambda path: path.write_text('{"conv": 1}'), "is cut short, damaged or something else"),
    "list": (lambda path: torch.save([1, 2], path), "holds a list"),
    "tensor": (lambda path: torch.save(torch.zeros(2), path), "holds a Tensor"),
    "network": (
        lambda path: torch.save(nn.Linear(2, 2), path),
        "holds objects of the class torch.nn.modules",
    ),
    "legacy network": (lambda path: legacy(nn.Linear(2, 2), path), "class torch.nn.modules.linear.Linear"),
    "arguments": (
        lambda path: torch.save({"model": STATE, "args": argparse.Namespace(lr=1)}, path),
        "holds objects of the class argparse.Namespace: save a state_dict alone",
    ),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_named_in_one_line(tmp_path: Path, kind: str) -> None:
    write, name = OTHERS[kind]
    write(tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match="must be a whole file of tensors and plain values") as caught:
        read(tmp_path / "file.pt")
    assert name in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1 and "weights_only" not in str(caught.value)


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
            read(path)
    assert not marker.exists()


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pt does not exist"):
        read(tmp_path / "gone.pt")
    with pytest.raises(CheckpointError, match="Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize("first", range(0, 256, 5))
def test_no_first_byte_gets_through(tmp_path: Path, first: int) -> None:
    """Files of other programs begin with anything, torch's reader takes it for an instruction."""
    (tmp_path / "file.pt").write_bytes(bytes([first, first, 46]) + bytes(range(40)))
    with pytest.raises(CheckpointError):
        read(tmp_path / "file.pt")
