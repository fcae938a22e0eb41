"""The bytes of tensors that are alive: what a graph keeps for the backward pass, and the most of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class Alive(TorchDispatchMode):
    """Follows every storage that an operation of its block makes, until it is freed.

    saved_tensors_hooks would not do: of nested hooks only the innermost are called. What a kernel needs while
    it runs is not seen.

    most: the most bytes that were alive after any operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = {tensor.untyped_storage()._cdata for tensor in _tensors(args)}
        result = function(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:
                self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.most = max(self.most, self.bytes())
        return result

    def bytes(self) -> int:
        """Return how many are alive now."""
        self._made = {key: (ref, size) for key, (ref, size) in self._made.items() if not ref.expired()}
        return sum(size for _, size in self._made.values())


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values if isinstance(values, (tuple, list)) else [values]:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)
