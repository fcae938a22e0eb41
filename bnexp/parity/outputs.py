"""Cells about outputs: against the formula and torch's layer, with flags off, and for unusual batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bnexp.parity.reference import copies, passed
from bnexp.parity.setup import CHANNELS, NO_TWIN, Setup, agreed, in_both_modes
from bnexp.parity.tolerances import EXACT, FLOAT64, Finding, Inapplicable, difference, largest

TRAIT = 1e-10  # what rounding leaves of what is not there
FLAGS: tuple[dict[str, Any], ...] = (
    {"affine": False},
    {"track_running_stats": False},
    {"affine": False, "track_running_stats": False},
)


@in_both_modes
def forward(setup: Setup, training: bool) -> Iterator[Finding]:
    """y against the formula."""
    layer, x = setup.layer(training=training), setup.batch()
    expected = setup.formula(layer, x)(x)
    yield Finding("", difference(layer(x), expected), FLOAT64)


@in_both_modes
def torch_layer(setup: Setup, training: bool) -> Iterator[Finding]:
    """y, gradients and state against torch's layer of the same kind, over two batches."""
    layer = setup.layer(training=training)
    twin = setup.twin(layer)
    if twin is None:
        raise Inapplicable(NO_TWIN)
    if type(twin) is type(layer):
        raise Inapplicable("it is torch's layer")
    own, its = _two_passes(layer, setup), _two_passes(twin, setup)
    for what, ours, theirs in zip(("output", "gradients"), own, its, strict=True):
        yield Finding(what, largest(map(difference, ours, theirs)), FLOAT64)
    state = layer.state_dict()
    apart = [difference(state[name], value) for name, value in twin.state_dict().items()]
    yield Finding("state", largest(apart), FLOAT64)


def _two_passes(layer: nn.Module, setup: Setup) -> tuple[list[Tensor], list[Tensor]]:
    outputs: list[Tensor] = []
    gradients: list[Tensor] = []
    for seed in (3, 4):
        x = setup.batch(seed).requires_grad_()
        outputs.append(layer(x))
        gradients += torch.autograd.grad(outputs[-1], [x, *layer.parameters()], setup.batch(seed + 10))
    return outputs, gradients


@in_both_modes
def flags(setup: Setup, training: bool) -> Iterator[Finding]:
    """affine=false leaves no parameters, track_running_stats=false no buffers; y stays the formula's."""
    fitting = [off for off in FLAGS if set(off) <= set(setup.subject.knobs)]
    if not fitting:
        raise Inapplicable("it has neither affine nor track_running_stats")
    for off in fitting:
        named = ", ".join(f"{name}=false" for name in off)
        layer, x = setup.layer(training=training, **off), setup.batch()
        left = len(list(layer.parameters())) if "affine" in off else 0
        left += len(list(layer.buffers())) if "track_running_stats" in off else 0
        yield Finding(f"{named}, tensors left", left, EXACT)
        if setup.subject.promises is not None:
            expected = setup.formula(layer, x, **off)(x)
            yield Finding(f"{named}, output", difference(layer(x), expected), FLOAT64)


def evaluation(setup: Setup) -> Iterator[Finding]:
    """Evaluation treats each example alone and leaves the buffers."""
    layer, x = setup.layer(training=False), setup.batch()
    before = copies(layer.named_buffers())
    alone = torch.cat([layer(x[i : i + 1]) for i in range(len(x))])
    yield Finding("each example alone", difference(alone, layer(x)), FLOAT64)
    moved = [difference(value, before[name]) for name, value in layer.named_buffers()]
    yield Finding("buffers stay", largest(moved), EXACT)


def traits(setup: Setup) -> Iterator[Finding]:
    """Batch mates have a say in training if that is declared, and a bias before the norm gets no gradient."""
    layer, x = setup.layer(), setup.batch()
    y, mates = passed(layer, x, {}), torch.cat([x[:1], 3 * setup.batch(1)[1:]])
    say = difference(passed(layer, mates, {})[:1], y[:1]) > TRAIT
    declared = setup.subject.declares("batch_statistics")
    wrong = f"batch_statistics is {str(declared).lower()}, and batch mates have {'a' if say else 'no'} say"
    yield Finding("batch_statistics", float(say != declared), EXACT, "" if say == declared else wrong)
    stands_in = setup.subject.declares("needs_extent") and not setup.place.spatial
    if setup.subject.declares("removes_channel_mean") and not stands_in:
        bias_C = torch.zeros(1, CHANNELS, *(1 for _ in setup.place.spatial)).to(x).requires_grad_()
        (gradient,) = torch.autograd.grad(passed(layer, x + bias_C, {}), bias_C, setup.batch(2))
        yield Finding("removes_channel_mean", difference(gradient, torch.zeros_like(gradient)), TRAIT)


def one_value(setup: Setup) -> Iterator[Finding]:
    """One value per channel is an error where the batch is measured; elsewhere one example is enough."""
    layer = setup.layer()
    if not setup.subject.measures_batches:
        x = setup.batch()
        yield Finding("one example", difference(layer(x[:1]), layer(x)[:1]), FLOAT64)
        return
    spatial = tuple(1 for _ in setup.place.spatial)
    x = setup.batch().flatten(2)[:1, :, :1].reshape(1, -1, *spatial) if spatial else setup.batch()[:1]
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


@in_both_modes
def channels_last(setup: Setup, training: bool) -> Iterator[Finding]:
    """The values are a contiguous input's, and the output keeps the format where torch's layer does."""
    memory_format = setup.place.channels_last
    if memory_format is None:
        raise Inapplicable("channels_last is for two and three spatial axes")
    plain, last = (setup.layer(training=training) for _ in range(2))
    twin = setup.twin(last)
    x, dy = setup.batch().requires_grad_(), setup.batch(1)
    x_last = x.detach().to(memory_format=memory_format, copy=True).requires_grad_()
    y, y_last = plain(x), last(x_last)
    yield Finding("output", difference(y_last, y), FLOAT64)
    (dx,), (dx_last,) = torch.autograd.grad(y, x, dy), torch.autograd.grad(y_last, x_last, dy)
    yield Finding("dx", difference(dx_last, dx), FLOAT64)
    keeps = y_last.is_contiguous(memory_format=memory_format)
    if not keeps and twin is not None and not twin(x_last).is_contiguous(memory_format=memory_format):
        yield Finding("format", reason="torch's own layer loses the format too")
    else:
        yield Finding("format", float(not keeps), EXACT, "" if keeps else "the format is lost")


@in_both_modes
def empty(setup: Setup, training: bool) -> Iterator[Finding]:
    """No examples give no output, gradients of zero, and leave the statistics."""
    layer, x = setup.layer(training=training), setup.batch()[:0].requires_grad_()
    before = copies(layer.named_buffers())

    def pass_through(module: nn.Module) -> Tensor:
        y: Tensor = module(x)
        return y

    y = agreed(pass_through, layer, setup.twin(layer))
    yield Finding("output", difference(y, x), EXACT)
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], torch.zeros_like(y), allow_unused=True)
    size = [difference(g, torch.zeros_like(g)) for g in gradients if g is not None]
    yield Finding("gradients", largest(size), EXACT)
    statistics = [(name, value) for name, value in layer.named_buffers() if value.is_floating_point()]
    moved = [difference(value, before[name]) for name, value in statistics]
    yield Finding("statistics", largest(moved), EXACT)
