"""Cells about what torch makes of a layer: torch.func's gradients, forward mode, many at once, compiled."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

from bnexp.parity.gradients import second, slopes_by_differences
from bnexp.parity.reference import State, copies, draws, passed, reseed
from bnexp.parity.specimen import DENSE, PLANE, Specimen, agreed, in_both_modes
from bnexp.parity.tolerances import DIFFERENCES, FLOAT64, Finding, Inapplicable, difference, largest

LAYERS = 3
COMPILED_AT = (DENSE, PLANE)
COMPILED = 1e-11  # the compiler adds in another order
# what torch says, depending on whether it gives the backward pass buffers to overwrite
NO_DOUBLE_BACKWARD = ("does not currently support double backward", "requires create_graph=False")


@in_both_modes
def of_grad(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """torch.func.grad gives autograd's gradients, and moves the buffers it is given as a plain pass does."""
    layer, x, dy = specimen.layer(training=training), specimen.batch(), specimen.batch(1)
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
def of_jvp(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """torch.func.jvp against differences of the formula, along x and all parameters."""
    layer, along_x = specimen.layer(training=training), specimen.batch(2)
    x = specimen.smooth_batch(layer)
    reference, parameters = specimen.reference(layer, x), copies(layer.named_parameters())
    shifts = {name: 0.1 * value for name, value in parameters.items()}

    def tangent(module: nn.Module) -> Tensor:
        def function(x: Tensor, changed: State) -> Tensor:
            return passed(module, x, changed)

        actual: Tensor = jvp(function, (x, parameters), (along_x, shifts))[1]
        return actual

    def moved(step: float) -> list[Tensor]:
        changed = {name: value + step * shifts[name] for name, value in parameters.items()}
        return [reference(x + step * along_x, changed)]

    (wanted,) = slopes_by_differences(moved)
    with warnings.catch_warnings():
        # torch scripts some of its own rules when forward mode first runs, and warns of itself
        warnings.filterwarnings("ignore", ".torch.jit.script. is deprecated", FutureWarning)
        actual = agreed(tangent, layer, specimen.twin(layer))
    yield Finding("", difference(actual, wanted), DIFFERENCES)


@in_both_modes
def of_vmap(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """torch.vmap over layers, each with its own batch, gives what a loop gives, buffers included."""
    layers = [specimen.layer(training=training, seed=seed) for seed in range(LAYERS)]
    if training and draws(layers[0]):
        raise Inapplicable("what it draws would differ from a loop's")
    x = torch.stack([specimen.batch(seed) for seed in range(LAYERS)])
    twins = [twin for layer in layers if (twin := specimen.twin(layer)) is not None]
    first_twin = twins[0] if twins else None

    def mapped(first: nn.Module) -> list[Tensor]:
        return _at_once(copy.deepcopy(layers if first is layers[0] else twins), x)

    actual = agreed(mapped, layers[0], first_twin)
    outputs = torch.stack([layer(one) for layer, one in zip(layers, x, strict=True)])
    buffers = zip(*(layer.buffers() for layer in layers), strict=True)
    wanted = [outputs, *(torch.stack(each) for each in buffers)]
    yield Finding("", largest(map(difference, actual, wanted)), FLOAT64)


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


@in_both_modes
def compiled(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """Output, gradients and buffers of the compiled layer against the plain one."""
    _only_some_places(specimen)
    torch.compiler.reset()
    plain, other = (specimen.layer(training=training) for _ in range(2))
    actual, wanted = _pass(torch.compile(other), other, specimen), _pass(plain, plain, specimen)
    yield Finding("", largest(map(difference, actual, wanted)), COMPILED)


def compiled_twice(specimen: Specimen) -> Iterator[Finding]:
    """Double backward through the compiled layer, which torch refuses."""
    _only_some_places(specimen)
    torch.compiler.reset()
    plain, other = specimen.layer(), specimen.layer()
    wanted = second(plain, specimen, [specimen.batch(), *plain.parameters()])
    try:
        actual = second(torch.compile(other), specimen, [specimen.batch(), *other.parameters()])
    except RuntimeError as error:
        if not any(words in str(error) for words in NO_DOUBLE_BACKWARD):
            raise
        raise Inapplicable("a limit of torch's: compiled layers can be differentiated once") from error
    yield Finding("train", largest(map(difference, actual, wanted)), COMPILED)


def _pass(called: Callable[[Tensor], Tensor], layer: nn.Module, specimen: Specimen) -> list[Tensor]:
    x = specimen.batch().requires_grad_()
    y = called(x)
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], specimen.batch(1))
    return [y, *gradients, *layer.buffers()]


def _only_some_places(specimen: Specimen) -> None:
    if specimen.place not in COMPILED_AT:
        raise Inapplicable(
            f"compiling takes seconds, so only {' and '.join(p.name for p in COMPILED_AT)} are tried"
        )
    if specimen.device.type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++")):
        raise Inapplicable("torch.compile needs a C++ compiler here")
