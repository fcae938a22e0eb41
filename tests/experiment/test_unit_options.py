"""Whole runs with the options of the units."""

from __future__ import annotations

import math

import pytest
from whole_runs import Train, assert_same, assert_same_run, resume

SHORT = ("steps=8", "data.train_size=200")
RESNET = ("model=resnet", "model.depth=8", "model.width=4")


@pytest.mark.parametrize(
    "words",
    [
        ("model=lenet", "weight_standardization=true", "norm=group"),
        (*RESNET, "weight_standardization=true", "norm=custom"),
        ("model=lenet", "weight_standardization=true", "fused=true", "norm=group"),
        (*RESNET, "norm=none", "model.residual=skipinit", "init=he_normal"),
        (*RESNET, "norm=none", "model.residual=fixup", "init=he_normal", "placement=preact"),
    ],
    ids=" ".join,
)
def test_a_network_with_the_option_trains(words: tuple[str, ...], train: Train) -> None:
    ran = train(*SHORT, *words)
    assert ran.result["status"] == "finished"
    assert math.isfinite(ran.result["loss/test"])


def test_a_fused_run_is_bitwise_the_plain_one_and_resumes_so(train: Train) -> None:
    words = (*SHORT, *RESNET)
    plain, whole = train(*words), train(*words, "fused=true")
    assert_same(whole.timeless_last(), plain.timeless_last())
    assert whole.timeless_rows() == plain.timeless_rows()
    assert any(tag.startswith("percentile/stage1.0.conv1.norm/in/") for tag in whole.rows[0])
    halted = train(*words, "fused=true", stop_after=3)
    assert_same_run(resume(halted), whole)


@pytest.mark.parametrize(
    "words",
    [
        ("weight_standardization=true", "norm=group"),
        (*RESNET, "norm=none", "model.residual=fixup", "optimizer.lr=0.01"),
    ],
    ids=" ".join,
)
def test_a_run_with_the_option_resumes_bit_for_bit(words: tuple[str, ...], train: Train) -> None:
    words = (*SHORT, *words)
    whole, halted = train(*words), train(*words, stop_after=3)
    assert_same_run(resume(halted), whole)
