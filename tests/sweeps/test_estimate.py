"""How long jobs will take, by a clock that counts forward passes."""

from __future__ import annotations

import pytest

from bnexp.composition.compose import as_yaml, compose
from bnexp.engine.learner import Learner, Passes
from bnexp.protocols import Batch
from bnexp.runs.sweeps import Job
from bnexp.sweeps import estimate

WORDS = ("threads=1", "data.train_size=100", "data.val_fraction=0", "batch_size=10", "model=mlp")


@pytest.mark.parametrize(
    ("accumulate", "steps", "passes"),
    [(1, 30, 30), (4, 30, 100), (4, 2, 8), (4, 3, 10), (7, 13, 7 * 7 + 3 * 6)],
)
def test_an_estimate_counts_the_passes_that_the_run_will_make(
    accumulate: int, steps: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten passes an epoch; the last step of an epoch has what is left of them."""
    made = 0
    compute = Learner.compute_gradients

    def counting(self: Learner, group: list[Batch]) -> Passes:
        nonlocal made
        made += len(group)
        return compute(self, group)

    monkeypatch.setattr(Learner, "compute_gradients", counting)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: float(made))
    config = compose([*WORDS, f"accumulate={accumulate}", f"steps={steps}"]).config
    assert estimate._timed(Job([], "", as_yaml(config)), []) == passes
