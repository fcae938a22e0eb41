"""Cells about derivatives: what the layer says against differences of the formula."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from bnexp.parity import differences
from bnexp.parity.bench import Bench, in_both_modes
from bnexp.parity.cells import DIFFERENCES, Finding, Inapplicable, difference
from bnexp.parity.reference import Formula, copies


@in_both_modes
def of_input(bench: Bench, training: bool) -> Iterator[Finding]:
    """dx."""
    layer, x, dy = bench.layer(training=training), bench.batch(), bench.batch(1)
    reference = bench.reference(layer, x)

    def loss(moved: Tensor) -> Tensor:
        return (reference(moved) * dy).sum()

    wanted = differences.gradient(loss, x, mapped=isinstance(reference, Formula))
    (found,) = torch.autograd.grad(layer(x.requires_grad_()), x, dy)
    yield Finding("", difference(found, wanted), DIFFERENCES)


@in_both_modes
def of_parameters(bench: Bench, training: bool) -> Iterator[Finding]:
    """The gradient of every parameter."""
    layer, x, dy = bench.layer(training=training), bench.batch(), bench.batch(1)
    reference, parameters = bench.reference(layer, x), dict(layer.named_parameters())
    if not parameters:
        raise Inapplicable("it has no parameters")
    found = torch.autograd.grad(
        layer(x), list(parameters.values()), dy, allow_unused=True, materialize_grads=True
    )
    for (name, parameter), gradient in zip(parameters.items(), found, strict=True):

        def loss(moved: Tensor, name: str = name) -> Tensor:
            return (reference(x, {name: moved}) * dy).sum()

        wanted = differences.gradient(loss, parameter, mapped=isinstance(reference, Formula))
        yield Finding(name, difference(gradient, wanted), DIFFERENCES)


@in_both_modes
def twice(bench: Bench, training: bool) -> Iterator[Finding]:
    """Second derivatives: the gradient of <v, dL/d(x, parameters)> for one v, by all of them and by dy."""
    layer = bench.layer(training=training)
    wanted = _shift_of_gradients(bench, layer)
    names = ["x", *(name for name, _ in layer.named_parameters()), "dy"]
    found = second(layer, bench, [bench.batch(), *layer.parameters()])
    for name, own, witness in zip(names, found, wanted, strict=True):
        yield Finding(name, difference(own, witness), DIFFERENCES)


def second(called: Callable[[Tensor], Tensor], bench: Bench, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the derivative of <v, dL/dleaves> by the leaves (x first) and by dy, through two backwards."""
    dy = bench.batch(1).requires_grad_()
    for leaf in leaves:
        leaf.requires_grad_()
    first = torch.autograd.grad(called(leaves[0]), leaves, dy, create_graph=True)
    products = [(one * v).sum() for one, v in zip(first, _direction(bench, leaves), strict=True)]
    return torch.autograd.grad(
        torch.stack(products).sum(), [*leaves, dy], allow_unused=True, materialize_grads=True
    )


def _direction(bench: Bench, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return v: one tensor for each leaf."""
    drawn = [bench.batch(20 + number).flatten() for number in range(len(leaves))]
    return [v[: leaf.numel()].view(leaf.shape) for v, leaf in zip(drawn, leaves, strict=True)]


def _shift_of_gradients(bench: Bench, layer: nn.Module) -> list[Tensor]:
    """Return how the first gradients, and y, change along v: the second derivatives, which are symmetric."""
    x, dy = bench.batch(), bench.batch(1)
    reference, parameters = bench.reference(layer, x), copies(layer.named_parameters())
    of_x, *of_parameters = _direction(bench, [x, *parameters.values()])

    def at(step: float) -> list[Tensor]:
        moved = [x + step * of_x]
        moved += [p + step * v for p, v in zip(parameters.values(), of_parameters, strict=True)]
        leaves = [leaf.requires_grad_() for leaf in moved]
        y = reference(leaves[0], dict(zip(parameters, leaves[1:], strict=True)))
        gradients = torch.autograd.grad(y, leaves, dy, allow_unused=True, materialize_grads=True)
        return [*gradients, y]

    return differences.along(at)
