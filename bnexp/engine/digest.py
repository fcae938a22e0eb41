"""A digest of nested tensors and plain values, which outlives torch.save and torch.load."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Buffer


def digest(content: Mapping[str, object]) -> str:
    """Return the SHA-256 of all values in `content` with their places, types, shapes and bytes, as hex."""
    hashed = hashlib.sha256()
    for place, value in _leaves("", content):
        if isinstance(value, Tensor) and not value.is_meta:
            hashed.update(f"{place} {value.dtype} {[*value.shape]}\n".encode())
            hashed.update(_bytes(value))
        else:
            hashed.update(f"{place} {type(value).__name__} {value!r}\n".encode())
    return hashed.hexdigest()


def _leaves(place: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield place, f"{len(value)} entries"
        for key, item in value.items():
            yield from _leaves(f"{place}/{key!r}", item)
    elif isinstance(value, (list, tuple)):
        yield place, f"{len(value)} items"
        for index, item in enumerate(value):
            yield from _leaves(f"{place}/{index}", item)
    else:
        yield place, value


def _bytes(tensor: Tensor) -> Buffer:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return cast("Buffer", flat.view(torch.uint8).numpy())
