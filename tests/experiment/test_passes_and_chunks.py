"""What is said before training of passes and ghost batches, against what training does."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from torch import Tensor, nn
from whole_runs import Train

from bnexp.composition.compose import Composition, compose
from bnexp.experiment import assembly
from bnexp.experiment.assembly import Parts
from bnexp.norms.custom import CustomNorm
from bnexp.norms.renorm import BatchRenorm
from bnexp.preflight.course import row

PLAIN = ("threads=1", "model=mlp", "model.hidden=[3]", "data.val_fraction=0", "telemetry=none", "epochs=null")
# images, batch_size, norm_batch, accumulate, drop_last, steps
SIZES = [
    *itertools.product((20, 37), (10, 16), (None, 3, 4, 7, 9), (1, 2, 3), ("auto",), (1, 3, 8)),
    *itertools.product((22, 38), (4, 5, 10), (3, 4), (2,), (True, False), (1, 2, 5, 11)),
    *itertools.product((21, 31), (4, 5, 10), (3,), (1, 2), ("auto",), (4, 9)),
    (20, 64, 4, 2, "auto", 3),
]


@cache
def composed(norm: str) -> Composition:
    return compose([*PLAIN, f"norm={norm}", "steps=1"])


def built(norm: str, size: tuple[Any, ...]) -> Parts:
    """Return the parts of a run of that size; knobs are set on a copy, because composing is slow."""
    images, batch_size, norm_batch, accumulate, drop_last, steps = size
    config = copy.deepcopy(composed(norm).config)
    config.data["train_size"] = images
    config.batch_size, config.norm_batch = batch_size, norm_batch or batch_size
    config.accumulate, config.drop_last, config.steps = accumulate, drop_last, steps
    return assembly.build(config)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Return the sizes of all batches that norms by hand are going to measure in training, in order."""
    sizes: list[int] = []
    forward = CustomNorm.forward

    def watched(self: CustomNorm, x: Tensor) -> Tensor:
        if self.training:
            sizes.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(CustomNorm, "forward", watched)
    yield sizes


def trained(parts: Parts, measured: list[int]) -> list[list[list[int]]]:
    """Take every step; return the measured batches of each forward pass of each step."""
    taken: list[list[list[int]]] = []
    parts.learner.model.train()
    handle = parts.learner.model.register_forward_pre_hook(lambda *_: taken[-1].append([]))
    try:
        for step in range(parts.total_steps):
            taken.append([])
            del measured[:]
            parts.learner.compute_gradients(parts.batches.group(step))
            passes, left = taken[-1], list(measured)
            sizes = [len(batch) for batch in parts.batches.group(step)]
            for number, size in enumerate(sizes):
                while sum(passes[number]) < size:
                    passes[number].append(left.pop(0))
            assert not left
    finally:
        handle.remove()
    return taken


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_doctor_says_what_training_does(size: tuple[Any, ...], measured: list[int]) -> None:
    parts = built("custom", size)
    taken = trained(parts, measured)
    passes = [one for step in taken for one in step]
    assert parts.course.passes == len(passes)
    assert parts.total_examples == sum(map(sum, passes))
    (site,) = parts.sites
    for one in passes:
        assert site.batches(sum(one)) == one
        assert site.values(sum(one)) == min(one)
    found = row(site, parts.course)
    epoch = [one for step in taken[: parts.batches.steps_per_epoch] for one in step]
    assert found.values == min(epoch[0])
    assert parts.course.reaches_last == (parts.total_steps >= parts.batches.steps_per_epoch)
    if parts.course.reaches_last:
        assert found.values_last == min(epoch[-1])
    assert site.module.num_batches_tracked == len(passes)


@pytest.mark.parametrize("size", SIZES[::4], ids=str)
def test_renorms_schedule_ends_with_the_last_pass(size: tuple[Any, ...], measured: list[int]) -> None:
    parts = built("renorm", size)
    trained(parts, measured)
    (norm,) = [module for module in parts.learner.model.modules() if isinstance(module, BatchRenorm)]
    assert norm.total_steps == norm.num_batches_tracked


def test_a_remainder_of_ghost_batches_is_a_trap_that_is_named() -> None:
    parts = built("custom", (100, 10, 4, 1, "auto", 5))
    assert row(parts.sites[0], parts.course).values == 2
    (line,) = [line for line in parts.warnings if "values a channel" in line]
    assert line.startswith("batch norm over 2 values a channel in the last ghost batch of each pass ")
    assert "use a norm_batch that divides 10" in line


def test_a_whole_run_makes_as_many_passes_as_doctor_says(train: Train, measured: list[int]) -> None:
    words = ("model=mlp", "model.hidden=[3]", "accumulate=4", "norm_batch=7", "steps=5", "norm=custom")
    silent = ("telemetry.scalars_every=null", "telemetry.histograms_every=null")
    passes: list[int] = []
    forward = nn.Sequential.forward

    def counting(self: nn.Sequential, x: Tensor) -> Tensor:
        if hasattr(self, "classifier") and self.training:
            passes.append(len(x))
        return forward(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Sequential, "forward", counting)
        ran = train(*words, *silent)
    # 90 images in passes of 16, four a step: 4 + 2 passes an epoch
    assert len(passes) == 4 + 2 + 4 + 2 + 4
    assert ran.last["model"]["dense1.norm.num_batches_tracked"] == len(passes)
