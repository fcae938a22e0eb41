"""Cells about what a batch looks like: channels_last, and no examples at all."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bnexp.parity.bench import Bench, agreed, in_both_modes
from bnexp.parity.cells import EXACT, FLOAT64, Finding, Inapplicable, difference, largest
from bnexp.parity.reference import copies


@in_both_modes
def channels_last(bench: Bench, training: bool) -> Iterator[Finding]:
    """The values are a contiguous input's, and the output keeps the format where torch's layer does."""
    memory_format = bench.place.channels_last
    if memory_format is None:
        raise Inapplicable("channels_last is for two and three spatial axes")
    plain, last = (bench.layer(training=training) for _ in range(2))
    twin = bench.twin(last)
    x, dy = bench.batch().requires_grad_(), bench.batch(1)
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
def empty(bench: Bench, training: bool) -> Iterator[Finding]:
    """No examples give no output, gradients of zero, and leave the statistics."""
    layer, x = bench.layer(training=training), bench.batch()[:0].requires_grad_()
    before = copies(layer.named_buffers())

    def pass_through(module: nn.Module) -> Tensor:
        y: Tensor = module(x)
        return y

    y = agreed(pass_through, layer, bench.twin(layer))
    yield Finding("output", difference(y, x), EXACT)
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], torch.zeros_like(y), allow_unused=True)
    size = [difference(g, torch.zeros_like(g)) for g in gradients if g is not None]
    yield Finding("gradients", largest(size), EXACT)
    statistics = [(name, value) for name, value in layer.named_buffers() if value.is_floating_point()]
    moved = [difference(value, before[name]) for name, value in statistics]
    yield Finding("statistics", largest(moved), EXACT)
