"""The parity matrix: green for every norm that ships, red where something is wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from norm_subjects import (
    CPU,
    Detached,
    Doubling,
    Folded,
    Mingling,
    Raising,
    Secretive,
    failed,
    found,
    subject,
)
from torch import Tensor

from bnexp.norms.contract.formulas import batch_axes, moments
from bnexp.norms.contract.promises import Given, Promises
from bnexp.parity import matrix
from bnexp.parity.specimen import DENSE, LINE, PLANE, SOLID, Subject
from bnexp.parity.tolerances import Finding, MatrixCell, difference

NORMS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "norm").glob("*.yaml"))


@pytest.mark.parametrize("name", NORMS)
def test_every_norm_is_what_it_says(name: str) -> None:
    cells = found(subject(name), places=(DENSE, PLANE))
    assert failed(cells) == set()
    assert {cell.check for cell in cells} == set(matrix.CHECKS)
    assert sum(cell.finding.status == "pass" for cell in cells) > 50


def test_a_norm_is_held_to_the_formula_that_it_promises() -> None:
    def doubled(given: Given) -> Tensor:
        return given.x * given.state["weight"].reshape(1, -1, *(1 for _ in given.x.shape[2:]))

    for formula, failures in ((doubled, set()), (lambda given: 1.01 * doubled(given), {"train", "eval"})):
        norm = Promises(formula)(type("Promising", (Doubling,), {}))
        cells = found(Subject("mine", norm, {"factor": 2.0}), "forward", places=(DENSE, PLANE))
        assert {case for _, case in failed(cells)} == failures
        assert len(cells) == 4


def test_a_norm_without_a_formula_gets_the_cells_that_need_none() -> None:
    cells = found(Subject("mine", Doubling, {"factor": 2.0}), places=(DENSE,))
    assert failed(cells) == set()
    passed = {cell.check for cell in cells if cell.finding.status == "pass"}
    assert {"input gradient", "double backward", "low precision", "state dict", "torch.vmap"} <= passed
    assert "forward" not in passed


def test_a_wrong_gradient_is_found_without_a_formula() -> None:
    cells = found(Subject("wrong", Detached, {}), "input gradient", places=(DENSE,))
    assert failed(cells) == {("input gradient", "train"), ("input gradient", "eval")}


def test_looking_at_batch_mates_in_evaluation_is_found() -> None:
    cells = found(Subject("wrong", Mingling, {}), "evaluation", places=(DENSE,))
    assert failed(cells) == {("evaluation", "each example alone")}


def test_what_a_norm_raises_is_a_failure_that_says_so() -> None:
    cells = found(Subject("raising", Raising, {}), "evaluation", "buffers", places=(DENSE,))
    assert [cell.finding.reason for cell in cells] == ["ZeroDivisionError: nothing to divide by"] * 2
    assert [cell.finding.status for cell in cells] == ["fail", "fail"]


def test_traits_that_are_declared_wrongly_are_found() -> None:
    cells = found(Subject("wrong", Secretive, {}), "traits", places=(DENSE, PLANE))
    assert failed(cells) == {("traits", "batch_statistics"), ("traits", "removes_channel_mean")}
    assert cells[0].finding.reason == "batch_statistics is false, and batch mates have a say"


def test_derivatives_are_compared_off_the_kinks_that_a_norm_promises() -> None:
    """At the place LINE a value of the first batch lies near its channel's mean."""

    def folded(given: Given) -> Tensor:
        return centred(given).abs()

    def centred(given: Given) -> Tensor:
        axes = batch_axes(given.x)
        return given.x - moments(given.x, axes)[0]

    checks = ("input gradient", "double backward", "torch.func.jvp")
    for promises, fails in ((Promises(folded), True), (Promises(folded, kinks=centred), False)):
        norm = promises(type("Promising", (Folded,), {}))
        cells = found(Subject("mine", norm, {}), *checks, places=(DENSE, LINE, PLANE, SOLID))
        assert bool(failed(cells)) == fails


def test_random_streams_stay_as_they_were() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    found(subject("custom"), "evaluation", places=(DENSE,))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("actual", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5 / 3.5),
        ([math.inf], [math.inf], 0.0),
        ([math.nan], [1.0], math.inf),
        ([math.inf], [1.0], math.inf),
        ([1.0], [1.0, 1.0], math.inf),
        ([], [], 0.0),
    ],
)
def test_differences_are_relative_and_never_hide_what_is_not_finite(
    actual: list[float], expected: list[float], error: float
) -> None:
    assert difference(torch.tensor(actual), torch.tensor(expected)) == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize(
    ("finding", "status"),
    [
        (Finding("", 1e-13, 1e-12), "pass"),
        (Finding("", 1e-11, 1e-12), "fail"),
        (Finding("", math.inf, 1e-12), "fail"),
        (Finding("", None, 0.0, "ValueError"), "fail"),
        (Finding("", 0.0, 0.0), "pass"),
        (Finding("", reason="has none"), "not applicable"),
    ],
)
def test_a_finding_passes_within_its_tolerance_only(finding: Finding, status: str) -> None:
    assert finding.status == status


def test_json_has_a_number_or_a_reason_for_every_error() -> None:
    listed = [MatrixCell("n", "c", "2d", Finding("", error, 1e-12)) for error in (1e-13, math.inf)]
    summary = json.loads(json.dumps(matrix.summary(listed), allow_nan=False))
    assert (summary["passed"], summary["failed"], summary["not_applicable"]) == (1, 1, 0)
    assert [cell["error"] for cell in summary["cells"]] == [1e-13, None]
    assert summary["cells"][1]["reason"]


@pytest.mark.slow
def test_compiled_layers_give_the_same_numbers() -> None:
    cells = list(matrix.cells([subject("custom")], CPU, matrix.COMPILED_CHECKS, (PLANE,)))
    assert [cell.finding.status for cell in cells] == ["pass", "pass", "not applicable"]
    assert "limit of torch" in cells[-1].finding.reason
