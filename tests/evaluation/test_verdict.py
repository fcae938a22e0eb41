"""What the verdict says of scores that are made up: each case in its words, chance told from difference."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnexp.evaluation.three_way import Scores, ThreeWay
from bnexp.evaluation.verdict import differ, points, verdict


def scores(right: int, num: int = 1000, loss: float = 1.0) -> Scores:
    """The first `right` of `num` examples are right."""
    return Scores(torch.full((num,), loss, dtype=torch.float64), torch.arange(num) < right)


def said(running: Scores, batch: Scores, recalibrated: Scores | None, failure: str | None = None) -> str:
    found = {"running": running, "batch": batch}
    found |= {"recalibrated": recalibrated} if recalibrated else {}
    return verdict(ThreeWay(found, ["norm"], nn.Identity(), 16, failure))


def test_stale_averages_are_called_stale() -> None:
    assert said(scores(800), scores(920), scores(918)) == (
        "evaluation falls 12.0 points short of batch statistics: the running averages are stale; "
        "recalibrated they recover 11.8"
    )


def test_what_recalibration_does_not_mend_is_not_called_stale() -> None:
    text = said(scores(800), scores(920), scores(802))
    assert text.startswith(
        "evaluation falls 12.0 points short of batch statistics, and recalibration does not"
    )
    assert "(+0.2)" in text and "stale" not in text
    text = said(scores(800), scores(920), scores(840))
    assert "recalibrated statistics recover only 4.0" in text and "stale" not in text
    text = said(scores(800), scores(920), scores(700))
    assert "does not mend it (-10.0)" in text


def test_equal_statistics_are_as_good() -> None:
    assert said(scores(900), scores(902), scores(903)) == (
        "running statistics are as good as the batch's (-0.2 points, within chance); "
        "recalibration changes nothing that counts"
    )


def test_a_gain_by_recalibration_is_told_where_the_batch_is_no_better() -> None:
    assert said(scores(900), scores(901), scores(950)).endswith("; recalibrated they gain 5.0 points")
    assert said(scores(900), scores(901), scores(850)).endswith("; recalibrated they lose 5.0 points")


def test_batches_that_measure_roughly_are_told() -> None:
    text = said(scores(900), scores(700), scores(905))
    assert text.startswith("running statistics are 20.0 points better than the batch's: batches of 16 ")
    assert text.endswith("; recalibrated they gain 0.5 points")


def test_a_higher_loss_at_the_same_accuracy_is_told() -> None:
    text = said(scores(900, loss=0.5), scores(900, loss=0.4), scores(900, loss=0.41))
    assert "as accurate as the batch's" in text and "at a loss of 0.500 against 0.400" in text
    assert "as good as" in said(scores(900, loss=0.43), scores(900, loss=0.4), scores(900, loss=0.4))


def test_a_failed_recalibration_is_told() -> None:
    text = said(scores(800), scores(920), None, "what flows into conv1.norm is not finite")
    assert text == (
        "evaluation falls 12.0 points short of batch statistics; not recalibrated: what flows into "
        "conv1.norm is not finite"
    )


def test_without_layers_there_is_nothing_to_compare() -> None:
    text = verdict(ThreeWay({"running": scores(5)}, [], nn.Identity(), 16))
    assert "nothing to compare" in text


@pytest.mark.parametrize(
    "only_one, only_other, sure", [(4, 0, False), (5, 0, True), (29, 18, False), (35, 18, True)]
)
def test_differences_count_beyond_two_standard_errors(only_one: int, only_other: int, sure: bool) -> None:
    """Two standard errors are 2 sqrt(only_one + only_other): 4 of 4, 4.5 of 5, 13.7 of 11, 14.6 of 17."""
    one, other = torch.zeros(1000, dtype=torch.bool), torch.zeros(1000, dtype=torch.bool)
    one[:only_one], other[only_one : only_one + only_other] = True, True
    one[200:700], other[200:700] = True, True
    losses = torch.ones(1000)
    assert differ(Scores(losses, one), Scores(losses, other)) is sure
    assert differ(Scores(losses, other), Scores(losses, one)) is sure
    assert points(Scores(losses, one), Scores(losses, other)) == pytest.approx((only_one - only_other) / 10)
