"""Cells about torch.compile: the same numbers, once differentiated; twice is beyond torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from bnexp.parity.bench import DENSE, PLANE, Bench, in_both_modes
from bnexp.parity.cells import Finding, Inapplicable, difference, largest
from bnexp.parity.gradients import second

PLACES = (DENSE, PLANE)
COMPILED = 1e-11  # the compiler adds in another order
# what torch says, depending on whether it gives the backward pass buffers to overwrite
NO_DOUBLE_BACKWARD = ("does not currently support double backward", "requires create_graph=False")


@in_both_modes
def once(bench: Bench, training: bool) -> Iterator[Finding]:
    """Output, gradients and buffers of the compiled layer against the plain one."""
    _only_some_places(bench)
    torch.compiler.reset()
    plain, other = (bench.layer(training=training) for _ in range(2))
    found, wanted = _pass(torch.compile(other), other, bench), _pass(plain, plain, bench)
    yield Finding("", largest(map(difference, found, wanted)), COMPILED)


def twice(bench: Bench) -> Iterator[Finding]:
    """Double backward through the compiled layer, which torch refuses."""
    _only_some_places(bench)
    torch.compiler.reset()
    plain, other = bench.layer(), bench.layer()
    wanted = second(plain, bench, [bench.batch(), *plain.parameters()])
    try:
        found = second(torch.compile(other), bench, [bench.batch(), *other.parameters()])
    except RuntimeError as error:
        if not any(words in str(error) for words in NO_DOUBLE_BACKWARD):
            raise
        raise Inapplicable("a limit of torch's: compiled layers can be differentiated once") from error
    yield Finding("train", largest(map(difference, found, wanted)), COMPILED)


def _pass(called: Callable[[Tensor], Tensor], layer: nn.Module, bench: Bench) -> list[Tensor]:
    x = bench.batch().requires_grad_()
    y = called(x)
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], bench.batch(1))
    return [y, *gradients, *layer.buffers()]


def _only_some_places(bench: Bench) -> None:
    if bench.place not in PLACES:
        raise Inapplicable(
            f"compiling takes seconds, so only {' and '.join(p.name for p in PLACES)} are tried"
        )
    if bench.device.type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++")):
        raise Inapplicable("torch.compile needs a C++ compiler here")
