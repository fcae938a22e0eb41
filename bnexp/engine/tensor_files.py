"""Files of tensors that torch or safetensors wrote; other files are named, and nothing in one can run."""

from __future__ import annotations

import json
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnexp import plain_files
from bnexp.errors import CheckpointError

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number before 1.6, pickled
LONGEST_HEADER = 100_000_000  # safetensors' own limit
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
TAR = "is a tar archive, of torch before 0.2 or of several files: unpack it, or save it anew"
# What other files begin with.
OTHERS = {
    b"\x89HDF": "is an HDF5 file, as Keras writes: convert it to torch's names and shapes",
    b"\x1f\x8b": "is compressed by gzip: unpack it",
    b"\xfd7zXZ": "is compressed by xz: unpack it",
    b"BZh": "is compressed by bzip2: unpack it",
    b"version https://git-lfs": "is a pointer of Git LFS: fetch the file by `git lfs pull`",
    b"<": "is a web page or other markup: download the file itself",
    b"\x80": "is a pickle that torch did not write: save a state_dict by torch.save",
}
DAMAGED = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    MemoryError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Load a dict of tensors and plain values that torch saved, in either of its formats, or safetensors.

    Raises:
        CheckpointError: the file is missing, cut short, of another kind, or holds objects of other classes.
    """
    try:
        with plain_files.opened(path) as file:
            head = file.read(512)
        size = path.stat().st_size
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    length = int.from_bytes(head[:8], "little")
    names = _archived(path)
    of_torch = head.startswith(LEGACY) or ("data.pkl" in names and "constants.pkl" not in names)
    if not of_torch and not (head[8:9] == b"{" and 2 <= length <= min(LONGEST_HEADER, size - 8)):
        raise _refusal(path, _other_format(path, head, names))
    try:
        if names and (member := _damaged_member(path)) is not None:
            raise _refusal(path, f"is damaged: {member} in it does not have its checksum")
        if of_torch:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an odd pickle protocol is no news: it is read or refused
                content = torch.load(path, map_location=device, weights_only=True)
        else:
            content = _safetensors(path, length, device)
    except CheckpointError:
        raise
    except DAMAGED as error:
        # Not torch's own words: they advise to load without `weights_only`, which runs code from the file.
        raise _refusal(path, _other_class(error)) from error
    if not isinstance(content, dict):
        raise _refusal(path, f"holds a {type(content).__name__}")
    return content


def _archived(path: Path) -> list[str]:
    """Return the names of the files in a ZIP archive, none where it is no whole one."""
    try:
        if not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            return [name.rpartition("/")[2] for name in archive.namelist()]
    except DAMAGED:
        return []


def _damaged_member(path: Path) -> str | None:
    """Return the first member of a ZIP archive whose bytes have changed, which torch would not notice."""
    with zipfile.ZipFile(path) as archive:
        # torch can be told to write no checksums
        return archive.testzip() if any(member.CRC for member in archive.infolist()) else None


def _other_format(path: Path, head: bytes, names: list[str]) -> str | None:
    if "constants.pkl" in names:
        return "is a TorchScript archive: save the state_dict() of what torch.jit.load gives"
    if names:
        return f"is an archive of other files: {', '.join(names[:3])}"
    known = next((what for start, what in OTHERS.items() if head.startswith(start)), None)
    return TAR if known is None and tarfile.is_tarfile(path) else known


def _safetensors(path: Path, length: int, device: torch.device | str) -> dict[str, Any]:
    """Read a file of a header's length (8 bytes), the header (JSON), and bytes.

    Source: https://github.com/huggingface/safetensors, "Format".
    """
    content = bytearray(path.read_bytes())
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    body = memoryview(content)[8 + length :]
    return {name: _tensor(entry, body).to(device) for name, entry in header.items()}


def _tensor(entry: dict[str, Any], body: memoryview) -> Tensor:
    start, stop = entry["data_offsets"]
    dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
    if start == stop:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(body[start:stop], dtype=dtype).reshape(shape)


def _other_class(error: Exception) -> str | None:
    """Return which class torch's reader met that is no tensor's, None where it says of none."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"holds objects of the class {found[1]}: save a state_dict alone" if found else None


def _refusal(path: Path, what: str | None) -> CheckpointError:
    return CheckpointError(
        f"{path} must be a whole file of tensors and plain values, as torch.save writes a state_dict; it "
        + (what or "is cut short, damaged or something else")
    )
