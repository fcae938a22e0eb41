"""Shows the norm layers of one training step to those who look at them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bnexp.protocols import Batch, Reading
from bnexp.telemetry.intervals import Due, Intervals


class Observer(Protocol):
    """Looks at layers by name; keeps copies or numbers only, because x and y may change in place later.

    `begin` comes before the forward pass, with the buffers of before the step; `enter` and `leave` at most
    once a layer and step, with what goes in and comes out, detached; then `readings`.
    """

    def begin(self, due: Due) -> None: ...
    def enter(self, layer: str, x: Tensor) -> None: ...
    def leave(self, layer: str, y: Tensor) -> None: ...
    def readings(self) -> list[Reading]: ...


class LayerProbe:
    """Hooks the layers for the first training pass of a due step, and shows each observer in and out.

    Compiled code does not see hooks that come after it. So for a compiled network the pass on the step's
    batch is made once more beforehand, eagerly, by a copy with its own buffers and random streams.

    Args:
        layers: the modules to look at, of the network that `watching` gets.
        autocast: the number format of the training passes, for the copy's pass.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        observers: Sequence[Observer],
        intervals: Intervals,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._layers, self._observers = layers, observers
        self._intervals, self._autocast = intervals, autocast

    def due(self, step: int) -> bool:
        due = self._intervals.at(step)
        return bool(self._layers) and (due.scalars or due.histograms)

    @contextmanager
    def watching(self, model: nn.Module, batch: Batch, step: int) -> Iterator[None]:
        due = self._intervals.at(step)
        for observer in self._observers:
            observer.begin(due)
        if model._compiled_call_impl is None:
            with self._hooked(model, self._layers):
                yield
        else:
            self._rehearse(model, batch)
            yield

    def measure(self, model: nn.Module, step: int) -> list[Reading]:
        return [reading for observer in self._observers for reading in observer.readings()]

    @contextmanager
    def _hooked(self, model: nn.Module, layers: Mapping[str, nn.Module]) -> Iterator[None]:
        handles = []
        try:
            for name, layer in layers.items():
                handles.append(layer.register_forward_pre_hook(self._entering(model, name)))
                handles.append(layer.register_forward_hook(self._leaving(model, name)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, model: nn.Module, name: str) -> Callable[..., None]:
        fresh = True

        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal fresh
            if fresh and model.training:
                fresh = False
                for observer in self._observers:
                    observer.enter(name, inputs[0].detach())

        return hook

    def _leaving(self, model: nn.Module, name: str) -> Callable[..., None]:
        fresh = True

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal fresh
            if fresh and model.training:
                fresh = False
                for observer in self._observers:
                    observer.leave(name, output.detach())

        return hook

    def _rehearse(self, model: nn.Module, batch: Batch) -> None:
        double = copy.deepcopy(model)
        modules = dict(double.named_modules())
        streams = [batch.inputs.device] if batch.inputs.device.type == "cuda" else []
        with (
            torch.random.fork_rng(streams),
            self._autocast(),
            torch.no_grad(),
            self._hooked(double, {name: modules[name] for name in self._layers}),
        ):
            double(batch.inputs)
