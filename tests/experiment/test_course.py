"""The course of training: the hand-written norm's, PyTorch's, a plain loop's, and the one of record."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from whole_runs import Train, ready

DEFAULTS = ("data.train_size=null", "epochs=5")

# bnexp train norm=builtin steps=20 telemetry=full: loss/train of metrics.jsonl to six places, torch 2.15 on
# an x86 CPU, one thread and two. norm=custom gave the same list but for one last digit.
GOLDEN = (
    *(2.274374, 2.177758, 2.130718, 2.097164, 1.978771, 1.846468, 1.823613, 1.808989, 1.701419, 1.681386),
    *(1.611731, 1.616563, 1.576022, 1.632388, 1.577334, 1.605351, 1.592963, 1.502087, 1.552812, 1.428748),
)


@pytest.mark.parametrize("norm", ["builtin", "custom"])
def test_twenty_losses_are_those_of_record(train: Train, norm: str) -> None:
    ran = train(DEFAULTS[0], "batch_size=64", f"norm={norm}", "steps=20")
    assert ran.column("loss/train")[:20] == pytest.approx(GOLDEN, rel=1e-4)


@pytest.mark.parametrize("batch_size", [8, 64])
def test_the_handwritten_norm_follows_pytorchs_for_fifty_steps(train: Train, batch_size: int) -> None:
    """Default recipe; float32 rounding alone tells the two apart (rtol 1e-4 of the losses)."""
    words = (*DEFAULTS, f"batch_size={batch_size}", "telemetry=full", "telemetry.histograms_every=null")
    custom, builtin = (
        train(*words, f"norm={norm}", stop_after=50).column("loss/train") for norm in ("custom", "builtin")
    )
    assert len(custom) == 50
    assert custom == pytest.approx(builtin, rel=1e-4)
    assert custom != builtin


@pytest.mark.parametrize("words", [(), ("model=simple_cnn",), ("norm=none", "accumulate=2")], ids=" ".join)
def test_a_plain_loop_makes_the_same_losses_bit_for_bit(
    train: Train, tmp_path: Path, words: tuple[str, ...]
) -> None:
    given = words if "norm=none" in words else ("norm=builtin", *words)
    ran = train(*given, "steps=15")
    with ready(tmp_path, *given, "steps=15") as prepared:
        model, batches = prepared.parts.learner.model, prepared.parts.batches
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for step in range(15):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * step / 15)) / 2
        optimizer.zero_grad()
        group = batches.group(step)
        total = sum(len(batch.targets) for batch in group)
        parts = [F.cross_entropy(model(batch.inputs), batch.targets) for batch in group]
        weighted = [part * (len(batch.targets) / total) for part, batch in zip(parts, group, strict=True)]
        for loss in weighted:
            loss.backward()
        losses.append(torch.stack(weighted).sum().item())
        optimizer.step()
    assert ran.column("loss/train")[:15] == losses
