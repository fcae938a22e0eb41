"""Whole runs with the options of the units."""

from __future__ import annotations

import math

import pytest
from whole_runs import Train, assert_same, assert_same_run, resume

SHORT = ("steps=8", "data.train_size=200")


@pytest.mark.parametrize(
    "words",
    [
        ("model=lenet", "weight_standardization=true", "norm=group"),
        ("model=resnet", "model.depth=8", "model.width=4", "weight_standardization=true", "norm=custom"),
        ("model=lenet", "weight_standardization=true", "fused=true", "norm=group"),
    ],
    ids=" ".join,
)
def test_a_network_with_the_option_trains(words: tuple[str, ...], train: Train) -> None:
    ran = train(*SHORT, *words)
    assert ran.result["status"] == "finished"
    assert math.isfinite(ran.result["loss/test"])


def test_a_fused_run_is_bitwise_the_plain_one_and_resumes_so(train: Train) -> None:
    words = (*SHORT, "model=resnet", "model.depth=8", "model.width=4")
    plain, whole = train(*words), train(*words, "fused=true")
    assert_same(whole.timeless_last(), plain.timeless_last())
    assert whole.timeless_rows() == plain.timeless_rows()
    assert any(tag.startswith("percentile/stage1.0.conv1.norm/in/") for tag in whole.rows[0])
    halted = train(*words, "fused=true", stop_after=3)
    assert_same_run(resume(halted), whole)


def test_a_standardized_run_resumes_bit_for_bit(train: Train) -> None:
    words = (*SHORT, "weight_standardization=true", "norm=group")
    whole, halted = train(*words), train(*words, stop_after=3)
    assert_same_run(resume(halted), whole)
