"""What a comparison says, in plain words."""

from __future__ import annotations

import math

from bnexp.evaluation.three_way import Scores, ThreeWay

SURE = 2.0  # standard errors beyond which a difference is not laid to chance
NOTABLE = 0.1  # share by which a loss must be higher to be mentioned


def verdict(comparison: ThreeWay) -> str:
    """Return one sentence on whether running statistics do what the batch's do, and what recalibration mends.

    Accuracies are compared example by example: a difference counts where the examples that only one kind
    gets right outnumber those that only the other does by more than two standard errors of their difference,
    the root of how many they are together (McNemar's test). Points are hundredths of accuracy.
    """
    if not comparison.layers:
        return (
            "no layer has running statistics in place of the batch's: evaluation and training normalize "
            "alike, and there is nothing to compare"
        )
    scores = comparison.scores
    running, batch, recalibrated = scores["running"], scores["batch"], scores.get("recalibrated")
    found = f"{_against_batches(running, batch, recalibrated, comparison.batch_size)}"
    return f"{found}; not recalibrated: {comparison.failure}" if comparison.failure else found


def _against_batches(running: Scores, batch: Scores, recalibrated: Scores | None, batch_size: int) -> str:
    short = points(batch, running)
    if not differ(batch, running):
        return _as_good(running, batch, recalibrated)
    if short < 0:
        found = (
            f"running statistics are {-short:.1f} points better than the batch's: batches of {batch_size} "
            "measure them too roughly"
        )
        return found + _change(running, recalibrated)
    found = f"evaluation falls {short:.1f} points short of batch statistics"
    if recalibrated is None:
        return found
    recovered = points(recalibrated, running)
    if differ(recalibrated, running) and recovered >= short / 2:
        return f"{found}: the running averages are stale; recalibrated they recover {recovered:.1f}"
    if differ(recalibrated, running) and recovered > 0:
        how_much = f"recalibrated statistics recover only {recovered:.1f}"
    else:
        how_much = f"recalibration does not mend it ({recovered:+.1f})"
    return f"{found}, and {how_much}: the network relies on the statistics of the very batch"


def _as_good(running: Scores, batch: Scores, recalibrated: Scores | None) -> str:
    found = (
        f"running statistics are as good as the batch's ({points(running, batch):+.1f} points, within chance)"
    )
    if running.loss > (1 + NOTABLE) * batch.loss:
        found = (
            f"running statistics are as accurate as the batch's ({points(running, batch):+.1f} points), at a "
            f"loss of {running.loss:.3f} against {batch.loss:.3f}"
        )
    return found + _change(running, recalibrated)


def _change(running: Scores, recalibrated: Scores | None) -> str:
    if recalibrated is None:
        return ""
    if not differ(recalibrated, running):
        return "; recalibration changes nothing that counts"
    change = points(recalibrated, running)
    return f"; recalibrated they {'gain' if change > 0 else 'lose'} {abs(change):.1f} points"


def points(one: Scores, other: Scores) -> float:
    """Return by how many points `one` is the more accurate."""
    return 100 * (one.accuracy - other.accuracy)


def differ(one: Scores, other: Scores) -> bool:
    """Whether the accuracies differ by more than chance would let them."""
    only_one = int((one.hits & ~other.hits).sum())
    only_other = int((other.hits & ~one.hits).sum())
    return abs(only_one - only_other) > SURE * math.sqrt(only_one + only_other)
