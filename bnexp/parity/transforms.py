"""Cells about torch.func: gradients, forward mode, and many layers at once."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

from bnexp.parity import differences
from bnexp.parity.bench import Bench, agreed, in_both_modes
from bnexp.parity.cells import DIFFERENCES, FLOAT64, Finding, Inapplicable, difference, largest
from bnexp.parity.reference import State, copies, draws, passed, reseed

LAYERS = 3


@in_both_modes
def of_grad(bench: Bench, training: bool) -> Iterator[Finding]:
    """torch.func.grad gives autograd's gradients, and moves the buffers it is given as a plain pass does."""
    layer, x, dy = bench.layer(training=training), bench.batch(), bench.batch(1)
    parameters, buffers = copies(layer.named_parameters()), copies(layer.named_buffers())

    def loss(parameters: State, x: Tensor, buffers: State) -> Tensor:
        return (passed(layer, x, parameters, buffers) * dy).sum()

    of_parameters, of_x = grad(loss, argnums=(0, 1))(parameters, x, buffers)
    reseed(layer)  # `passed` has drawn from the layer's own generator
    wanted = torch.autograd.grad(layer(x.requires_grad_()), [x, *layer.parameters()], dy)
    yield Finding("", largest(map(difference, [of_x, *of_parameters.values()], wanted)), FLOAT64)
    moved = [difference(buffers[name], value) for name, value in layer.named_buffers()]
    yield Finding("buffers", largest(moved), FLOAT64)


@in_both_modes
def of_jvp(bench: Bench, training: bool) -> Iterator[Finding]:
    """torch.func.jvp against differences of the formula, along x and all parameters."""
    layer, x, along_x = bench.layer(training=training), bench.batch(), bench.batch(2)
    reference, parameters = bench.reference(layer, x), copies(layer.named_parameters())
    shifts = {name: 0.1 * value for name, value in parameters.items()}

    def tangent(module: nn.Module) -> Tensor:
        def function(x: Tensor, changed: State) -> Tensor:
            return passed(module, x, changed)

        found: Tensor = jvp(function, (x, parameters), (along_x, shifts))[1]
        return found

    def moved(step: float) -> list[Tensor]:
        changed = {name: value + step * shifts[name] for name, value in parameters.items()}
        return [reference(x + step * along_x, changed)]

    (wanted,) = differences.along(moved)
    with warnings.catch_warnings():
        # torch scripts some of its own rules when forward mode first runs, and warns of itself
        warnings.filterwarnings("ignore", ".torch.jit.script. is deprecated", FutureWarning)
        found = agreed(tangent, layer, bench.twin(layer))
    yield Finding("", difference(found, wanted), DIFFERENCES)


@in_both_modes
def of_vmap(bench: Bench, training: bool) -> Iterator[Finding]:
    """torch.vmap over layers, each with its own batch, gives what a loop gives, buffers included."""
    layers = [bench.layer(training=training, seed=seed) for seed in range(LAYERS)]
    if training and draws(layers[0]):
        raise Inapplicable("what it draws would differ from a loop's")
    x = torch.stack([bench.batch(seed) for seed in range(LAYERS)])
    twins = [twin for layer in layers if (twin := bench.twin(layer)) is not None]
    first_twin = twins[0] if twins else None

    def mapped(first: nn.Module) -> list[Tensor]:
        return _at_once(copy.deepcopy(layers if first is layers[0] else twins), x)

    found = agreed(mapped, layers[0], first_twin)
    outputs = torch.stack([layer(one) for layer, one in zip(layers, x, strict=True)])
    buffers = zip(*(layer.buffers() for layer in layers), strict=True)
    wanted = [outputs, *(torch.stack(each) for each in buffers)]
    yield Finding("", largest(map(difference, found, wanted)), FLOAT64)


def _at_once(layers: Sequence[nn.Module], x: Tensor) -> list[Tensor]:
    """Return the outputs and buffers, stacked."""
    if not layers[0].state_dict():
        return [vmap(layers[0])(x)]
    parameters, buffers = stack_module_state(list(layers))
    state = {name: value.detach() for name, value in parameters.items()}

    def one(state: State, buffers: State, x: Tensor) -> Tensor:
        y: Tensor = functional_call(layers[0], {**state, **buffers}, (x,))
        return y

    return [vmap(one)(state, buffers, x), *buffers.values()]
