"""What a norm promises to compute, declared beside its layer, for `bnexp check` and the tests to hold it to.

A norm without promises works all the same; it is then compared with itself and not with a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

ATTRIBUTE = "promises"
Knobs = Mapping[str, Any]
State = Mapping[str, Tensor]
Target = TypeVar("Target", bound=Callable[..., nn.Module])


@dataclass(frozen=True)
class Given:
    """All that decides a norm's output; tensors are float64.

    x: (N, C, *). at: x itself where it is a constant: what a norm treats as one is taken at this point, since
        its backward pass does not go through it, and differences of the formula must not either.
    state: parameters and buffers by name, as they are before the pass.
    knobs: those of the YAML.
    noise: what the layer draws in this pass, as `Promises.draw` gives it.
    total_steps: the length of the run, for norms with a schedule.
    """

    x: Tensor
    at: Tensor
    state: State
    knobs: Knobs
    training: bool
    noise: tuple[Tensor, ...] = ()
    total_steps: int = 1


@dataclass(frozen=True)
class Promises:
    """What a norm computes, written out by itself: nothing here may call what the layer computes with.

    formula: y, by plain operations that autograd sees through.
    buffers: where the buffers must stand after some batches, from those of the start: a closed form, no
        update after update. None where that is not known.
    torch_layer: makes torch's layer of the same kind for num_features, spatial and knobs; returns None where
        torch has none for these.
    torch_trains_alike: False where torch's layer shares the state and evaluation only.
    draw: what the layer draws in a training pass, for the shape of x, knobs, a dtype and a generator in the
        state of the layer's.
    kinks: values at whose zeros the formula has no derivative, as x - mean in |x - mean|; derivatives are
        compared where all of them are off zero.
    """

    formula: Callable[[Given], Tensor]
    buffers: Callable[[Sequence[Tensor], State, Knobs], dict[str, Tensor]] | None = None
    torch_layer: Callable[[int, tuple[int, ...], Knobs], nn.Module | None] | None = None
    torch_trains_alike: bool = True
    draw: Callable[[tuple[int, ...], Knobs, torch.dtype, torch.Generator], tuple[Tensor, ...]] | None = None
    kinks: Callable[[Given], Tensor] | None = None

    def __call__(self, target: Target) -> Target:
        """Declare them of a norm: `@Promises(formula)` stands above its class or function."""
        setattr(target, ATTRIBUTE, self)
        return target


def promises_of(target: Callable[..., nn.Module]) -> Promises | None:
    """Return what a norm promises, None if nothing; a subclass does not promise what its parents do."""
    declared = getattr(target, "__dict__", {}).get(ATTRIBUTE)
    return declared if isinstance(declared, Promises) else None
