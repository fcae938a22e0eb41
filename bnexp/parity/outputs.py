"""Cells about outputs: against the formula, against torch's layer, with the flags off, in evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bnexp.parity.bench import NO_TWIN, Bench, in_both_modes
from bnexp.parity.cells import EXACT, FLOAT64, Finding, Inapplicable, difference, largest
from bnexp.parity.reference import copies

FLAGS: tuple[dict[str, Any], ...] = (
    {"affine": False},
    {"track_running_stats": False},
    {"affine": False, "track_running_stats": False},
)


@in_both_modes
def forward(bench: Bench, training: bool) -> Iterator[Finding]:
    """y against the formula."""
    layer, x = bench.layer(training=training), bench.batch()
    expected = bench.oracle(layer, x)(x)
    yield Finding("", difference(layer(x), expected), FLOAT64)


@in_both_modes
def torch_layer(bench: Bench, training: bool) -> Iterator[Finding]:
    """y, gradients and state against torch's layer of the same kind, over two batches."""
    layer = bench.layer(training=training)
    twin = bench.twin(layer)
    if twin is None:
        raise Inapplicable(NO_TWIN)
    if type(twin) is type(layer):
        raise Inapplicable("it is torch's layer")
    own, its = _two_passes(layer, bench), _two_passes(twin, bench)
    for what, ours, theirs in zip(("output", "gradients"), own, its, strict=True):
        yield Finding(what, largest(map(difference, ours, theirs)), FLOAT64)
    state = layer.state_dict()
    apart = [difference(state[name], value) for name, value in twin.state_dict().items()]
    yield Finding("state", largest(apart), FLOAT64)


def _two_passes(layer: nn.Module, bench: Bench) -> tuple[list[Tensor], list[Tensor]]:
    outputs: list[Tensor] = []
    gradients: list[Tensor] = []
    for seed in (3, 4):
        x = bench.batch(seed).requires_grad_()
        outputs.append(layer(x))
        gradients += torch.autograd.grad(outputs[-1], [x, *layer.parameters()], bench.batch(seed + 10))
    return outputs, gradients


@in_both_modes
def flags(bench: Bench, training: bool) -> Iterator[Finding]:
    """affine=false leaves no parameters, track_running_stats=false no buffers; y stays the formula's."""
    fitting = [off for off in FLAGS if set(off) <= set(bench.subject.knobs)]
    if not fitting:
        raise Inapplicable("it has neither affine nor track_running_stats")
    for off in fitting:
        named = ", ".join(f"{name}=false" for name in off)
        layer, x = bench.layer(training=training, **off), bench.batch()
        left = len(list(layer.parameters())) if "affine" in off else 0
        left += len(list(layer.buffers())) if "track_running_stats" in off else 0
        yield Finding(f"{named}, tensors left", left, EXACT)
        if bench.subject.kind is not None:
            expected = bench.oracle(layer, x, **off)(x)
            yield Finding(f"{named}, output", difference(layer(x), expected), FLOAT64)


def evaluation(bench: Bench) -> Iterator[Finding]:
    """Evaluation treats each example alone and leaves the buffers."""
    layer, x = bench.layer(training=False), bench.batch()
    before = copies(layer.named_buffers())
    alone = torch.cat([layer(x[i : i + 1]) for i in range(len(x))])
    yield Finding("each example alone", difference(alone, layer(x)), FLOAT64)
    moved = [difference(value, before[name]) for name, value in layer.named_buffers()]
    yield Finding("buffers stay", largest(moved), EXACT)


def one_value(bench: Bench) -> Iterator[Finding]:
    """One value per channel is an error where the batch is measured; elsewhere one example is enough."""
    layer = bench.layer()
    if not bench.subject.measures_batches:
        x = bench.batch()
        yield Finding("one example", difference(layer(x[:1]), layer(x)[:1]), FLOAT64)
        return
    spatial = tuple(1 for _ in bench.place.spatial)
    x = bench.batch().flatten(2)[:1, :, :1].reshape(1, -1, *spatial) if spatial else bench.batch()[:1]
    before = copies(layer.named_buffers())
    try:
        layer(x)
    except ValueError:
        yield Finding("one value is refused", 0.0, EXACT)
    else:
        yield Finding("one value is refused", 1.0, EXACT, "it was accepted")
    floating = [name for name, value in before.items() if value.is_floating_point()]
    after = dict(layer.named_buffers())
    moved = [difference(after[name], before[name]) for name in floating]
    yield Finding("buffers stay", largest(moved), EXACT)
