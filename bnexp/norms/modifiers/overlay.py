"""More behaviour for a finished layer, whose class, names and state dict stay what they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

UNTRACKED = "no norm of this run keeps running statistics"


def overlay(layer: nn.Module, behaviour: type[nn.Module], **attributes: Any) -> nn.Module:
    """Put `behaviour`, whose methods call `super()`, in front of the class of `layer`, in place.

    The layer is still an instance of its class, and is shown under that class's name.

    Args:
        attributes: of the behaviour, set on the layer.
    """
    kinds: tuple[Any, Any] = behaviour, type(layer)
    layer.__class__ = _combined(*kinds)
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


@cache
def _combined(behaviour: Any, base: Any) -> type[nn.Module]:
    return type(
        base.__name__, (behaviour, base), {"__module__": behaviour.__module__, "__doc__": base.__doc__}
    )


def buffers(layer: nn.Module) -> list[tuple[nn.Module, str, Tensor]]:
    """Return every buffer of `layer` and its parts, with the module that holds it and its name there."""
    return [
        (module, name, buffer)
        for module in layer.modules()
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
    ]


def on_copies(
    layer: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return forward(x) and the buffers as it leaves them; the layer's own stay as they were.

    Not done by writing old values back: autograd may keep a buffer that forward has read, and would refuse
    one that was written to since.
    """
    own = buffers(layer)
    for module, name, buffer in own:
        setattr(module, name, buffer.clone())
    try:
        y = forward(x)
        return y, [module.get_buffer(name) for module, name, _ in own]
    finally:
        for module, name, buffer in own:
            setattr(module, name, buffer)


def write(layer: nn.Module, values: Sequence[Tensor]) -> None:
    """Write values into the buffers of `layer`, in place and in the order of `buffers`."""
    with torch.no_grad():
        for (_, _, buffer), value in zip(buffers(layer), values, strict=True):
            buffer.copy_(value)


def running_statistics(layer: nn.Module) -> list[Tensor]:
    """Return the buffers of `layer` and its parts that are running statistics: those named `running_...`."""
    return [buffer for _, name, buffer in buffers(layer) if name.startswith("running_")]
