"""Cells about what a layer keeps: running statistics, buffers, state dicts, copies."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from bnexp.parity.reference import copies
from bnexp.parity.specimen import NO_TWIN, Specimen
from bnexp.parity.tolerances import EXACT, FLOAT64, Finding, Inapplicable, difference, largest

MOMENTA: tuple[float | None, ...] = (0.3, None, 0.0, 1.0)
BATCHES = 4


def running(specimen: Specimen) -> Iterator[Finding]:
    """Every buffer after batches of different sizes, against its closed form."""
    yield from _after_batches(specimen, "")
    if "running_var" in specimen.subject.knobs:
        for value in ("unbiased", "biased"):
            yield from _after_batches(specimen, f"running_var={value}, ", running_var=value)


def momenta(specimen: Specimen) -> Iterator[Finding]:
    """The same for each kind of momentum: a number, null for the cumulative average, 0 and 1."""
    for momentum in MOMENTA:
        text = "null" if momentum is None else momentum
        yield from _after_batches(specimen, f"momentum={text}, ", momentum=momentum)


def _after_batches(specimen: Specimen, case: str, **knobs: Any) -> Iterator[Finding]:
    layer = specimen.fresh(**knobs)
    start = copies(layer.named_buffers())
    if not start:
        raise Inapplicable("it keeps no running statistics")
    promises = specimen.subject.promises
    if promises is None or promises.buffers is None:
        raise Inapplicable("no closed form is known for this norm")
    batches = [specimen.batch(i, examples=specimen.place.examples + i) for i in range(BATCHES)]
    expected = promises.buffers(batches, start, {**specimen.subject.knobs, **knobs})
    for x in batches:
        layer(x)
    after = dict(layer.named_buffers())
    for name, value in expected.items():
        yield Finding(f"{case}{name}", difference(after[name], value), FLOAT64)


def buffers(specimen: Specimen) -> Iterator[Finding]:
    """Buffers move in place and carry no graph."""
    layer = specimen.layer()
    held = dict(layer.named_buffers())
    if not held:
        raise Inapplicable("it has no buffers")
    layer(specimen.batch().requires_grad_())
    after = dict(layer.named_buffers())
    replaced = [name for name, value in held.items() if after[name] is not value]
    yield Finding("moved in place", len(replaced), EXACT, _listed("replaced", replaced))
    graphs = [name for name, value in after.items() if value.requires_grad or value.grad_fn is not None]
    yield Finding("without a graph", len(graphs), EXACT, _listed("with a graph", graphs))


def state_dict(specimen: Specimen) -> Iterator[Finding]:
    """States go to a new layer of the same kind, to torch's layer and back, and mean the same there."""
    layer = specimen.layer(training=False)
    others = {"own layer": specimen.fresh().eval(), "torch's layer": specimen.twin(layer)}
    for name, other in others.items():
        if other is None:
            yield Finding(name, reason=NO_TWIN)
            continue
        yield Finding(f"to {name}", _moved(layer, other, specimen), FLOAT64)
        yield Finding(f"from {name}", _moved(_shifted(other), specimen.fresh().eval(), specimen), FLOAT64)


def _moved(source: nn.Module, target: nn.Module, specimen: Specimen) -> float:
    """Return how far apart outputs are once the state has gone over; infinite if the names are others."""
    target.load_state_dict(source.state_dict())
    if list(source.state_dict()) != list(target.state_dict()):
        return float("inf")
    return difference(target(specimen.batch(5)), source(specimen.batch(5)))


def _shifted(layer: nn.Module) -> nn.Module:
    """Change the state, so that getting it back is seen."""
    with torch.no_grad():
        for value in layer.state_dict().values():
            value.add_(1)
    return layer


def deep_copy(specimen: Specimen) -> Iterator[Finding]:
    """A copy made after a training step computes the same and shares nothing."""
    layer = specimen.layer()
    layer(specimen.batch().requires_grad_()).sum().backward()
    twin = copy.deepcopy(layer)
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    yield Finding("state", _largest(layer, before), EXACT)
    layer(specimen.batch(1))
    _shifted(layer)
    yield Finding("stays when the first moves", _largest(twin, before), EXACT)
    layer.load_state_dict(before)
    x = specimen.batch(2)
    yield Finding("output", difference(twin.eval()(x), layer.eval()(x)), EXACT)


def _largest(layer: nn.Module, state: dict[str, torch.Tensor]) -> float:
    return largest(difference(value, state[name]) for name, value in layer.state_dict().items())


def _listed(what: str, names: list[str]) -> str:
    return f"{what}: {', '.join(names)}" if names else ""
