"""All checks of all norms at all places: the matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from bnexp.parity import gradients, outputs, rounding, state, transforms
from bnexp.parity.specimen import PLACES, Check, Place, Specimen, Subject, first_line, own_stream
from bnexp.parity.tolerances import Finding, Inapplicable, MatrixCell

CHECKS: Mapping[str, Check] = {
    "forward": outputs.forward,
    "torch's layer": outputs.torch_layer,
    "input gradient": gradients.of_input,
    "parameter gradients": gradients.of_parameters,
    "double backward": gradients.twice,
    "running statistics": state.running,
    "momentum kinds": state.momenta,
    "flags": outputs.flags,
    "evaluation": outputs.evaluation,
    "buffers": state.buffers,
    "state dict": state.state_dict,
    "deepcopy": state.deep_copy,
    "channels_last": outputs.channels_last,
    "float32": rounding.single,
    "low precision": rounding.low,
    "autocast": rounding.autocast,
    "torch.func.grad": transforms.of_grad,
    "torch.func.jvp": transforms.of_jvp,
    "torch.vmap": transforms.of_vmap,
    "constant channels": rounding.constant,
    "mean/std 1000": rounding.far_mean,
    "traits": outputs.traits,
    "one value": outputs.one_value,
    "empty batch": outputs.empty,
}
COMPILED_CHECKS: Mapping[str, Check] = {
    "compiled": transforms.compiled,
    "compiled, double backward": transforms.compiled_twice,
}


def cells(
    subjects: Iterable[Subject],
    device: torch.device,
    checks: Mapping[str, Check] = CHECKS,
    places: Iterable[Place] = PLACES,
) -> Iterator[MatrixCell]:
    """Yield every cell of the matrix, norm by norm; torch's random streams stay as they were.

    What a norm raises is a failed cell that says so: the matrix goes on.
    """
    with own_stream():
        for subject in subjects:
            for check, measure in checks.items():
                for place in places:
                    for finding in _findings(measure, Specimen(subject, place, device)):
                        yield MatrixCell(subject.name, check, place.name, finding)


def _findings(measure: Check, specimen: Specimen) -> Iterator[Finding]:
    try:
        yield from measure(specimen)
    except Inapplicable as reason:
        yield Finding("", reason=str(reason))
    except Exception as error:  # a norm under test may be anybody's, and so may what it raises
        yield Finding("", None, 0.0, f"{type(error).__name__}: {first_line(error)}")


def summary(matrix: Iterable[MatrixCell]) -> dict[str, Any]:
    """Return the matrix as JSON has it; an error that is no number is null and explained by its reason.

    error: the largest |actual - expected| / (floor + |expected|), floor 1 except where the check says other;
    absolute where the tolerance is twice torch's error.
    """
    listed = list(matrix)
    statuses = [cell.finding.status for cell in listed]
    return {
        "passed": statuses.count("pass"),
        "failed": statuses.count("fail"),
        "not_applicable": statuses.count("not applicable"),
        "cells": [_as_json(cell) for cell in listed],
    }


def _as_json(cell: MatrixCell) -> dict[str, Any]:
    finding = cell.finding
    finite = finding.error is not None and finding.error < float("inf")
    return {
        "norm": cell.norm,
        "check": cell.check,
        "place": cell.place,
        "case": finding.case,
        "status": finding.status,
        "error": finding.error if finite else None,
        "tolerance": finding.tolerance,
        "reason": finding.reason or ("" if finding.tolerance is None or finite else "not comparable"),
    }
