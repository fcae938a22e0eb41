"""Cells about outputs: against the formula and torch's layer, with flags off, and for unusual batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bnexp.parity.reference import copies, passed
from bnexp.parity.specimen import CHANNELS, NO_TWIN, Specimen, agreed, in_both_modes
from bnexp.parity.tolerances import EXACT, FLOAT64, Finding, Inapplicable, difference, largest

TRAIT = 1e-10  # what rounding leaves of what is not there
FLAGS: tuple[dict[str, Any], ...] = (
    {"affine": False},
    {"track_running_stats": False},
    {"affine": False, "track_running_stats": False},
)


@in_both_modes
def forward(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """y against the formula."""
    layer, x = specimen.layer(training=training), specimen.batch()
    expected = specimen.formula(layer, x)(x)
    yield Finding("", difference(layer(x), expected), FLOAT64)


@in_both_modes
def torch_layer(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """y, gradients and state against torch's layer of the same kind, over two batches."""
    layer = specimen.layer(training=training)
    twin = specimen.twin(layer)
    if twin is None:
        raise Inapplicable(NO_TWIN)
    if type(twin) is type(layer):
        raise Inapplicable("it is torch's layer")
    own, its = _two_passes(layer, specimen), _two_passes(twin, specimen)
    for what, ours, theirs in zip(("output", "gradients"), own, its, strict=True):
        yield Finding(what, largest(map(difference, ours, theirs)), FLOAT64)
    state = layer.state_dict()
    apart = [difference(state[name], value) for name, value in twin.state_dict().items()]
    yield Finding("state", largest(apart), FLOAT64)


def _two_passes(layer: nn.Module, specimen: Specimen) -> tuple[list[Tensor], list[Tensor]]:
    outputs: list[Tensor] = []
    gradients: list[Tensor] = []
    for seed in (3, 4):
        x = specimen.batch(seed).requires_grad_()
        outputs.append(layer(x))
        gradients += torch.autograd.grad(outputs[-1], [x, *layer.parameters()], specimen.batch(seed + 10))
    return outputs, gradients


@in_both_modes
def flags(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """affine=false leaves no parameters, track_running_stats=false no buffers; y stays the formula's."""
    fitting = [off for off in FLAGS if set(off) <= set(specimen.subject.knobs)]
    if not fitting:
        raise Inapplicable("it has neither affine nor track_running_stats")
    for off in fitting:
        named = ", ".join(f"{name}=false" for name in off)
        layer, x = specimen.layer(training=training, **off), specimen.batch()
        left = len(list(layer.parameters())) if "affine" in off else 0
        left += len(list(layer.buffers())) if "track_running_stats" in off else 0
        yield Finding(f"{named}, tensors left", left, EXACT)
        if specimen.subject.promises is not None:
            expected = specimen.formula(layer, x, **off)(x)
            yield Finding(f"{named}, output", difference(layer(x), expected), FLOAT64)


def evaluation(specimen: Specimen) -> Iterator[Finding]:
    """Evaluation treats each example alone and leaves the buffers."""
    layer, x = specimen.layer(training=False), specimen.batch()
    before = copies(layer.named_buffers())
    alone = torch.cat([layer(x[i : i + 1]) for i in range(len(x))])
    yield Finding("each example alone", difference(alone, layer(x)), FLOAT64)
    moved = [difference(value, before[name]) for name, value in layer.named_buffers()]
    yield Finding("buffers stay", largest(moved), EXACT)


def traits(specimen: Specimen) -> Iterator[Finding]:
    """Batch mates have a say in training if that is declared, and a bias before the norm gets no gradient."""
    layer, x = specimen.layer(), specimen.batch()
    y, mates = passed(layer, x, {}), torch.cat([x[:1], 3 * specimen.batch(1)[1:]])
    say = difference(passed(layer, mates, {})[:1], y[:1]) > TRAIT
    declared = specimen.subject.declares("batch_statistics")
    wrong = f"batch_statistics is {str(declared).lower()}, and batch mates have {'a' if say else 'no'} say"
    yield Finding("batch_statistics", float(say != declared), EXACT, "" if say == declared else wrong)
    stands_in = specimen.subject.declares("needs_extent") and not specimen.place.spatial
    if specimen.subject.declares("removes_channel_mean") and not stands_in:
        bias_C = torch.zeros(1, CHANNELS, *(1 for _ in specimen.place.spatial)).to(x).requires_grad_()
        (gradient,) = torch.autograd.grad(passed(layer, x + bias_C, {}), bias_C, specimen.batch(2))
        yield Finding("removes_channel_mean", difference(gradient, torch.zeros_like(gradient)), TRAIT)


def one_value(specimen: Specimen) -> Iterator[Finding]:
    """One value per channel is an error where the batch is measured; elsewhere one example is enough."""
    layer = specimen.layer()
    if not specimen.subject.measures_batches:
        x = specimen.batch()
        yield Finding("one example", difference(layer(x[:1]), layer(x)[:1]), FLOAT64)
        return
    spatial = tuple(1 for _ in specimen.place.spatial)
    x = specimen.batch().flatten(2)[:1, :, :1].reshape(1, -1, *spatial) if spatial else specimen.batch()[:1]
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
def channels_last(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """The values are a contiguous input's, and the output keeps the format where torch's layer does."""
    memory_format = specimen.place.channels_last
    if memory_format is None:
        raise Inapplicable("channels_last is for two and three spatial axes")
    plain, last = (specimen.layer(training=training) for _ in range(2))
    twin = specimen.twin(last)
    x, dy = specimen.batch().requires_grad_(), specimen.batch(1)
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
def empty(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """No examples give no output, gradients of zero, and leave the statistics."""
    layer, x = specimen.layer(training=training), specimen.batch()[:0].requires_grad_()
    before = copies(layer.named_buffers())

    def pass_through(module: nn.Module) -> Tensor:
        y: Tensor = module(x)
        return y

    y = agreed(pass_through, layer, specimen.twin(layer))
    yield Finding("output", difference(y, x), EXACT)
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], torch.zeros_like(y), allow_unused=True)
    size = [difference(g, torch.zeros_like(g)) for g in gradients if g is not None]
    yield Finding("gradients", largest(size), EXACT)
    statistics = [(name, value) for name, value in layer.named_buffers() if value.is_floating_point()]
    moved = [difference(value, before[name]) for name, value in statistics]
    yield Finding("statistics", largest(moved), EXACT)
