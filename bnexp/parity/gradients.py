"""Cells about derivatives: what the layer says, against four-point differences of the formula."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from bnexp.parity.reference import Formula, copies
from bnexp.parity.specimen import Specimen, in_both_modes
from bnexp.parity.tolerances import DIFFERENCES, Finding, Inapplicable, difference

STEP = 1e-4
# f'(0) h = (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12, exact for polynomials up to degree 4
STENCIL = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))


def by_differences(function: Callable[[Tensor], Tensor], at: Tensor, *, mapped: bool = False) -> Tensor:
    """Return the derivative of a scalar function by every element of `at`, without any calculus.

    Args:
        mapped: evaluate all differences in one torch.vmap, which the function must bear.
    """
    units = torch.eye(at.numel(), dtype=at.dtype, device=at.device).view(-1, *at.shape)
    slopes = torch.zeros(at.numel(), dtype=at.dtype, device=at.device)
    for steps, share in STENCIL:
        moved = at.detach() + steps * STEP * units
        values = torch.vmap(function)(moved) if mapped else torch.stack([function(one) for one in moved])
        slopes += share / STEP * values.detach()
    return slopes.view(at.shape)


def slopes_by_differences(function: Callable[[float], Sequence[Tensor]]) -> list[Tensor]:
    """Return the derivative at 0 of a function of one number that gives several tensors."""
    values = [(share, function(steps * STEP)) for steps, share in STENCIL]
    parts = zip(*(tensors for _, tensors in values), strict=True)
    shares = [share for share, _ in values]
    return [
        torch.stack([share * tensor.detach() for share, tensor in zip(shares, each, strict=True)]).sum(0)
        / STEP
        for each in parts
    ]


@in_both_modes
def of_input(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """dx."""
    layer, dy = specimen.layer(training=training), specimen.batch(1)
    x = specimen.smooth_batch(layer)
    reference = specimen.reference(layer, x)

    def loss(moved: Tensor) -> Tensor:
        return (reference(moved) * dy).sum()

    wanted = by_differences(loss, x, mapped=isinstance(reference, Formula))
    (actual,) = torch.autograd.grad(layer(x.requires_grad_()), x, dy)
    yield Finding("", difference(actual, wanted), DIFFERENCES)


@in_both_modes
def of_parameters(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """The gradient of every parameter."""
    layer, dy = specimen.layer(training=training), specimen.batch(1)
    x = specimen.smooth_batch(layer)
    reference, parameters = specimen.reference(layer, x), dict(layer.named_parameters())
    if not parameters:
        raise Inapplicable("it has no parameters")
    actual = torch.autograd.grad(
        layer(x), list(parameters.values()), dy, allow_unused=True, materialize_grads=True
    )
    for (name, parameter), gradient in zip(parameters.items(), actual, strict=True):

        def loss(moved: Tensor, name: str = name) -> Tensor:
            return (reference(x, {name: moved}) * dy).sum()

        wanted = by_differences(loss, parameter, mapped=isinstance(reference, Formula))
        yield Finding(name, difference(gradient, wanted), DIFFERENCES)


@in_both_modes
def twice(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """Second derivatives: the gradient of <v, dL/d(x, parameters)> for one v, by all of them and by dy."""
    layer = specimen.layer(training=training)
    x = specimen.smooth_batch(layer)
    wanted = _shift_of_gradients(specimen, layer, x)
    names = ["x", *(name for name, _ in layer.named_parameters()), "dy"]
    actual = second(layer, specimen, [x, *layer.parameters()])
    for name, own, witness in zip(names, actual, wanted, strict=True):
        yield Finding(name, difference(own, witness), DIFFERENCES)


def second(
    called: Callable[[Tensor], Tensor], specimen: Specimen, leaves: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Return the derivative of <v, dL/dleaves> by the leaves (x first) and by dy, through two backwards."""
    dy = specimen.batch(1).requires_grad_()
    for leaf in leaves:
        leaf.requires_grad_()
    first = torch.autograd.grad(called(leaves[0]), leaves, dy, create_graph=True)
    products = [(one * v).sum() for one, v in zip(first, _direction(specimen, leaves), strict=True)]
    return torch.autograd.grad(
        torch.stack(products).sum(), [*leaves, dy], allow_unused=True, materialize_grads=True
    )


def _direction(specimen: Specimen, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return v: one tensor for each leaf."""
    drawn = [specimen.batch(20 + number).flatten() for number in range(len(leaves))]
    return [v[: leaf.numel()].view(leaf.shape) for v, leaf in zip(drawn, leaves, strict=True)]


def _shift_of_gradients(specimen: Specimen, layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Return how the first gradients, and y, change along v: the second derivatives, which are symmetric."""
    dy = specimen.batch(1)
    reference, parameters = specimen.reference(layer, x), copies(layer.named_parameters())
    of_x, *of_parameters = _direction(specimen, [x, *parameters.values()])

    def at(step: float) -> list[Tensor]:
        moved = [x + step * of_x]
        moved += [p + step * v for p, v in zip(parameters.values(), of_parameters, strict=True)]
        leaves = [leaf.requires_grad_() for leaf in moved]
        y = reference(leaves[0], dict(zip(parameters, leaves[1:], strict=True)))
        gradients = torch.autograd.grad(y, leaves, dy, allow_unused=True, materialize_grads=True)
        return [*gradients, y]

    return slopes_by_differences(at)
