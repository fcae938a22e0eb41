"""Cells about digits: low precision, autocast, means far from zero, channels that do not vary."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from bnexp.parity.specimen import Specimen, agreed, in_both_modes
from bnexp.parity.tolerances import EXACT, FLOAT32, FLOAT32_FLOOR, FLOAT64, Finding, difference, name_of

LOW = (torch.float16, torch.bfloat16)
LOW_ATOL = 1e-6
EXAMPLES = 64
MEAN = 1e3


@in_both_modes
def single(specimen: Specimen, training: bool) -> Iterator[Finding]:
    """float32 against the formula, in every arithmetic and memory format that the layer has.

    1 / std, which reaches ten in a group of few values, multiplies the rounding of y, and twice that of dx.
    """
    last = specimen.place.channels_last
    formats = {"": torch.contiguous_format, **({} if last is None else {"channels_last": last})}
    for core, knobs in specimen.cores().items():
        for called, memory_format in formats.items():
            layer = specimen.layer(training=training, dtype=torch.float32, **knobs)
            x, dy = (_drawn(specimen, i).to(memory_format=memory_format) for i in range(2))
            wanted = _formulas(specimen, layer, x, dy)
            actual = _passed(layer, x, dy)
            for name, number, allowed in (("output", 0, 5 * FLOAT32), ("dx", 1, 10 * FLOAT32)):
                case = ", ".join(part for part in (core, called, name) if part)
                yield Finding(case, difference(actual[number], wanted[number], FLOAT32_FLOOR), allowed)


def low(specimen: Specimen) -> Iterator[Finding]:
    """float16 and bfloat16 inputs, float32 parameters: at most twice torch's error.

    Where torch has no such layer, at most twice the error of rounding the formula's values to that type.
    """
    for dtype in LOW:
        yield from _against_torch(specimen, name_of(dtype), dtype, nullcontext())


def autocast(specimen: Specimen) -> Iterator[Finding]:
    """The same under autocast, also for float32 inputs; the output has the type that torch's layer gives."""
    for cast in LOW if specimen.device.type == "cuda" else (torch.bfloat16,):
        for dtype in (torch.float32, cast):
            case = f"to {name_of(cast)}, input {name_of(dtype)}"
            yield from _against_torch(specimen, case, dtype, torch.autocast(specimen.device.type, dtype=cast))


def _against_torch(
    specimen: Specimen, case: str, dtype: torch.dtype, context: AbstractContextManager[None]
) -> Iterator[Finding]:
    layer = specimen.layer(dtype=torch.float32)
    twin = specimen.twin(layer)
    x, dy = (_drawn(specimen, i).to(dtype) for i in range(2))
    oracle = _formulas(specimen, layer, x, dy)

    def under(module: nn.Module) -> list[Tensor]:
        with context:
            return _passed(module, x, dy)

    actual = agreed(under, layer, twin)
    with warnings.catch_warnings():
        # torch says so when it leaves its fused kernels because of a float32 weight
        warnings.filterwarnings("ignore", "Mismatch dtype between input and weight", UserWarning)
        witness = under(twin) if twin is not None else [value.to(dtype) for value in oracle]
    if actual[0].dtype is not witness[0].dtype:
        yield Finding(f"{case}, type", 1.0, EXACT, f"{actual[0].dtype}, not {witness[0].dtype}")
    for name, own, theirs, wanted in zip(("output", "dx"), actual, witness, oracle, strict=True):
        size = max(1.0, float(wanted.detach().abs().max()))
        allowed = 2 * _furthest(theirs, wanted) + (FLOAT32 if dtype is torch.float32 else LOW_ATOL) * size
        yield Finding(f"{case}, {name}", _furthest(own, wanted), allowed)


def far_mean(specimen: Specimen) -> Iterator[Finding]:
    """mean/std = 1e3 in float32, where E[x^2] - E[x]^2 would have nothing left.

    A mean's last digit is 6e-5 standard deviations and moves y directly: thirty of them are allowed, because
    in a group of few values the deviation is smaller. Products dy * x lose as much, each, and dx, measured by
    its largest value, holds sums of hundreds. Variances keep their digits.
    """
    for core, knobs in specimen.cores().items():
        prefix = f"{core}, " if core else ""
        layer = specimen.layer(dtype=torch.float32, **knobs)
        x, dy = _far(specimen), _drawn(specimen, 1)
        wanted, actual = _formulas(specimen, layer, x, dy), _passed(layer, x, dy)
        yield Finding(f"{prefix}output", difference(actual[0], wanted[0]), 2e-3)
        size = max(1.0, float(wanted[1].abs().max()))
        yield Finding(f"{prefix}dx", difference(actual[1], wanted[1], size), 1e-2)
        yield from _far_statistics(specimen, prefix, knobs)


def _far_statistics(specimen: Specimen, prefix: str, knobs: dict[str, Any]) -> Iterator[Finding]:
    promises, given = specimen.subject.promises, {**specimen.subject.knobs, **knobs, "momentum": 1.0}
    if promises is None or promises.buffers is None or "momentum" not in specimen.subject.knobs:
        return
    layer, x = specimen.fresh(torch.float32, momentum=1.0, **knobs), _far(specimen)
    start = {name: value.double() for name, value in layer.state_dict().items()}
    wanted = promises.buffers([x.double()], start, given)
    layer(x)
    after = dict(layer.named_buffers())
    for name, value in wanted.items():
        yield Finding(f"{prefix}{name}", difference(after[name], value, FLOAT32_FLOOR), FLOAT32)


def _drawn(specimen: Specimen, seed: int) -> Tensor:
    return specimen.batch(seed, dtype=torch.float32, examples=EXAMPLES)


def _formulas(specimen: Specimen, layer: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """Return y and dx of the formula in float64, for the layer as it stands."""
    reference = specimen.reference(layer, x)
    leaf = x.double().requires_grad_()
    y = reference(leaf)
    return [y, *torch.autograd.grad(y, leaf, dy.double())]


def _passed(layer: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """Return y and dx of the layer."""
    leaf = x.clone().requires_grad_()
    y = layer(leaf)
    return [y, *torch.autograd.grad(y, leaf, dy.to(y.dtype))]


def _far(specimen: Specimen) -> Tensor:
    return specimen.batch(mean=MEAN, dtype=torch.float32, examples=EXAMPLES)


def constant(specimen: Specimen) -> Iterator[Finding]:
    """Channels of one value give what the formula gives, and finite gradients.

    Their centred values are rounding noise, which 1 / sqrt(eps) magnifies.
    """
    for value in (0.0, 1.5, 1234.567):
        layer, x = specimen.layer(), specimen.batch()
        x[:, :2] = value
        wanted = specimen.reference(layer, x)(x)
        y = layer(x.requires_grad_())
        amplified = value * 2**-52 / float(specimen.subject.knobs.get("eps", 1.0)) ** 0.5
        yield Finding(f"{value:g}, output", difference(y, wanted), FLOAT64 + 4 * amplified)
        gradients = torch.autograd.grad(y, [x, *layer.parameters()], specimen.batch(1))
        broken = sum(int((~gradient.isfinite()).sum()) for gradient in gradients)
        yield Finding(f"{value:g}, gradients not finite", broken, EXACT)


def _furthest(actual: Tensor, wanted: Tensor) -> float:
    """Return the largest |actual - wanted|, infinite where they cannot be compared."""
    scale = 1e9  # difference() with a floor far above every value is absolute
    return difference(actual, wanted, scale) * scale
