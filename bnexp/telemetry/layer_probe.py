"""Shows the norm layers of one training step to those who look at them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

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
    """Taps the layers for the first training pass of a due step, and shows each observer in and out.

    A tap takes the place of a layer's `forward` and calls it: a fifth of the time that two hooks take to put
    up, call and remove, which matters where every step is logged.

    Compiled code does not see taps that come after it. So for a compiled network the pass on the step's batch
    is made once more beforehand, eagerly, by a copy with its own buffers and random streams.

    Args:
        layers: the modules to look at, of the network that `watching` gets.
        autocast: the number format of the training passes, for the copy's pass.
        compiled: whether the network is compiled.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        observers: Sequence[Observer],
        intervals: Intervals,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
        compiled: bool = False,
    ) -> None:
        self._layers, self._observers = layers, observers
        self._intervals, self._autocast, self._compiled = intervals, autocast, compiled

    def due(self, step: int) -> bool:
        due = self._intervals.at(step)
        return bool(self._layers) and (due.scalars or due.histograms)

    def end(self, step: int) -> None:
        self._intervals.last = step

    @contextmanager
    def watching(self, model: nn.Module, batch: Batch, step: int) -> Iterator[None]:
        due = self._intervals.at(step)
        for observer in self._observers:
            observer.begin(due)
        if self._compiled:
            self._rehearse(model, batch)
            yield
        else:
            with self._tapped(model, self._layers):
                yield

    def measure(self, model: nn.Module, step: int) -> list[Reading]:
        return [reading for observer in self._observers for reading in observer.readings()]

    @contextmanager
    def _tapped(self, model: nn.Module, layers: Mapping[str, nn.Module]) -> Iterator[None]:
        own = {name: vars(layer).get("forward") for name, layer in layers.items()}
        try:
            for name, layer in layers.items():
                vars(layer)["forward"] = self._tap(model, name, layer.forward)
            yield
        finally:
            for name, layer in layers.items():
                vars(layer).pop("forward", None)
                if own[name] is not None:
                    vars(layer)["forward"] = own[name]

    def _tap(self, model: nn.Module, name: str, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        fresh = True

        def tapped(x: Tensor, *more: object, **named: object) -> Tensor:
            nonlocal fresh
            if not (fresh and model.training):
                return forward(x, *more, **named)
            fresh = False
            seen = x.detach()
            for observer in self._observers:
                observer.enter(name, seen)
            y = forward(x, *more, **named)
            seen = y.detach()
            for observer in self._observers:
                observer.leave(name, seen)
            return y

        return tapped

    def _rehearse(self, model: nn.Module, batch: Batch) -> None:
        double = copy.deepcopy(model)
        modules = dict(double.named_modules())
        streams = [batch.inputs.device] if batch.inputs.device.type == "cuda" else []
        with (
            torch.random.fork_rng(streams),
            self._autocast(),
            torch.no_grad(),
            self._tapped(double, {name: modules[name] for name in self._layers}),
        ):
            double(batch.inputs)
