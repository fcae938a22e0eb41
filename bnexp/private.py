"""The private names of libraries that bnexp uses, all of them torch's; no other module uses any.

Each has a public stand-in for versions that have lost the name. It gives the same answer and takes longer,
which is why it is not used in the first place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad


def transforms_active() -> bool:
    """Whether a transform of torch.func (grad, vmap, jvp and so on) is active."""
    try:
        return bool(torch._C._are_functorch_transforms_active())
    except AttributeError:
        return _refused_by_transforms()


def modes_active() -> bool:
    """Whether a TorchDispatchMode, such as torch.utils.flop_counter's, is told of each operation.

    There is nothing public to ask. "Yes" is the answer then: norms compute with torch's operations alone, as
    with `norm.core=eager`.
    """
    try:
        return int(torch._C._len_torch_dispatch_stack()) > 0
    except AttributeError:
        return True


def dual_level_active() -> bool:
    """Whether a level of forward-mode differentiation is active (torch.autograd.forward_ad, torch.func)."""
    try:
        return int(forward_ad._current_level) >= 0
    except AttributeError:
        return _takes_dual_numbers()


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norm of each tensor, at least one; on the CPU, too, in one call from Python."""
    try:
        return list(torch._foreach_norm(list(tensors)))
    except AttributeError:
        return [torch.linalg.vector_norm(tensor) for tensor in tensors]


class _Untransformable(Function):
    """A function that does not say how torch.func is to set it up, and so is refused by it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()


def _refused_by_transforms() -> bool:
    try:
        _Untransformable.apply(torch.empty(0))
    except RuntimeError:
        return True
    return False


def _takes_dual_numbers() -> bool:
    try:
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))  # type: ignore[no-untyped-call]
    except RuntimeError:  # without a level there are none
        return False
    return True
