"""Warnings before training: each where it is true, and not where it is not."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bnexp.composition.compose import Composition, compose
from bnexp.experiment import assembly
from bnexp.models.resnet import ResNet
from bnexp.norms.custom import CustomNorm

GROUPS = ("norm", "head_norm", "model", "optimizer")
SMALL = ("threads=1", "data.train_size=200")  # 180 to train on: an epoch is 3 steps of 64
CALM = "momentum=null"  # no moving average to wonder about


@cache
def composed(*choices: str) -> Composition:
    return compose([*SMALL, *choices])


def warned(*words: str) -> list[str]:
    """Return the warnings of a small run; knobs are set on a copy, because composing is slow."""
    choices = tuple(word for word in words if word.partition("=")[0] in GROUPS)
    config = copy.deepcopy(composed(*choices).config)
    for word in set(words) - set(choices):
        key, _, value = word.partition("=")
        assign(config, key, yaml.safe_load(value))
    return assembly.build(config).warnings


def assign(config: Any, key: str, value: Any) -> None:
    """Do what the word KEY=VALUE does."""
    *parents, name = key.split(".")
    if name == "steps":
        config.epochs = None
    if key in ("momentum", "norm.affine", "norm.track_running_stats"):
        for node in (config.norm, config.head_norm):
            if name in node:
                node[name] = value
    node = getattr(config, parents[0]) if parents else config
    if isinstance(node, dict):
        node[name] = value
    else:
        setattr(node, name, value)


def one(*words: str) -> str:
    (line,) = warned(*words)
    assert "\n" not in line
    assert ": " in line, "it says what to do"
    return line


def test_the_default_run_is_warned_of_nothing() -> None:
    assert assembly.build(compose(["threads=1"]).config).warnings == []


def test_averages_that_keep_their_start_are_told_with_the_share() -> None:
    line = one("momentum=0.01", "steps=150")
    assert line.startswith("momentum 0.01 over 150 steps: running statistics of all 4 norms keep 22 % of")
    assert "momentum=null" in line


def test_every_forward_pass_counts() -> None:
    lines = warned("momentum=0.01", "steps=50", "accumulate=3")
    assert any(line.startswith("momentum 0.01 over 150 forward passes") for line in lines)


def frozen_after(step: int, what: str = "both") -> tuple[str, ...]:
    return f"freeze_norm.after={step}", f"freeze_norm.what={what}"


def test_passes_after_the_statistics_are_frozen_do_not_count() -> None:
    words = ("momentum=0.1", "steps=300")
    line = one(*words, *frozen_after(9))
    assert line.startswith("momentum 0.1 over 9 steps before they are frozen: ")
    assert "keep 39 %" in line and "a later freeze_norm.after" in line
    assert warned(*words, *frozen_after(9, "affine")) == warned(*words) == []


def test_statistics_that_are_frozen_from_the_start_measure_and_average_nothing() -> None:
    words = ("momentum=0.01", "batch_size=2", "accumulate=2", "steps=3", "precision=float16")
    assert len(warned(*words)) == 4
    assert warned(*words, *frozen_after(0)) == []


def test_norms_of_different_momenta_are_told_apart() -> None:
    slow, fast = warned("steps=10", "norm.momentum=0.01", "head_norm.momentum=0.02")
    assert "momentum 0.01" in slow
    assert "conv1.norm, conv2.norm keep 90 %" in slow
    assert "dense1.norm, dense2.norm keep 82 %" in fast


@pytest.mark.parametrize(
    "words",
    [
        ("momentum=0.01", "steps=400"),
        ("momentum=null", "steps=2"),
        ("norm=group", "momentum=0.01", "steps=2"),
        ("norm.track_running_stats=false", "momentum=0.01", "steps=2"),
    ],
    ids=" ".join,
)
def test_averages_that_forget_their_start_are_not_told(words: tuple[str, ...]) -> None:
    assert warned(*words) == []


def test_averages_that_start_from_a_trained_network_may_keep_it(tmp_path: Path) -> None:
    torch.save(assembly.build(composed().config).learner.model.state_dict(), tmp_path / "start.pt")
    assert warned("momentum=0.01", "steps=2", f"weights={tmp_path / 'start.pt'}") == []


def test_kerass_momentum_is_recognized() -> None:
    line = one("momentum=0.99")
    assert line.startswith("momentum 0.99 is the weight of the NEW batch: the last one makes 99 % of")
    assert line.endswith("is decay=0.99 here")
    assert warned("momentum=0.5") == []


@pytest.mark.parametrize(("batch_size", "survives"), [(2, "0 %"), (3, "33 %")])
def test_few_values_a_channel_are_told_with_what_gradient_survives(batch_size: int, survives: str) -> None:
    line = one(CALM, f"batch_size={batch_size}")
    assert line.startswith(f"batch norm over {batch_size} values a channel in dense1.norm, dense2.norm: ")
    assert f"(n - 2)/n = {survives} of the gradient survives" in line
    assert "head_norm=none" in line


def test_that_share_of_the_gradient_survives_indeed() -> None:
    """n = 3, mean over 20,000 channels: each share has mean 1/3 and standard deviation below 1/2."""
    generator = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, 3, 20_000, generator=generator, dtype=torch.float64)
    x.requires_grad_()
    norm = CustomNorm(20_000, (), eps=1e-12).double()
    norm(x).backward(dy)
    share = (x.grad.square().sum(0) * x.detach().var(0, correction=0) / dy.square().sum(0)).mean()
    assert abs(share - 1 / 3) < 4 * 0.5 / 20_000**0.5


@pytest.mark.parametrize(
    "words",
    [("batch_size=4",), ("batch_size=2", "head_norm=none"), ("batch_size=2", "norm=group")],
    ids=" ".join,
)
def test_enough_values_are_not_told(words: tuple[str, ...]) -> None:
    assert warned(CALM, *words) == []


def test_a_short_ghost_batch_is_told_where_it_is_met() -> None:
    in_each_pass = one(CALM, "batch_size=10", "norm_batch=4")
    assert in_each_pass.startswith("batch norm over 2 values a channel in the last ghost batch of each pass ")
    assert "use a norm_batch that divides 10" in in_each_pass
    at_the_end = one(CALM, "batch_size=32", "norm_batch=8", "data.train_size=180")  # 162 = 5 * 32 + 2
    assert at_the_end.startswith("batch norm over 2 values a channel in the last batch of each epoch ")
    everywhere = one(CALM, "batch_size=32", "norm_batch=2")
    assert everywhere.startswith("batch norm over 2 values a channel in dense1.norm")
    assert "use a larger norm_batch" in everywhere
    assert warned(CALM, "batch_size=10", "norm_batch=5") == []


def test_a_small_last_batch_is_told_where_the_run_meets_it() -> None:
    words = (CALM, "batch_size=89")  # 180 = 2 * 89 + 2
    line = one(*words)
    assert line.startswith(
        "batch norm over 2 values a channel in the last batch of each epoch in dense1.norm"
    )
    assert "drop_last=true" in line
    assert warned(*words, "steps=2") == warned(*words, "drop_last=true") == []


def test_accumulation_is_told_with_what_the_norms_see() -> None:
    line = one(CALM, "batch_size=8", "accumulate=4")
    assert line.startswith("accumulate=4 makes the optimizer's batch 32 examples and leaves the norms 8 at a")
    assert warned(CALM, "batch_size=8", "accumulate=4", "norm=group") == []
    assert warned(CALM, "batch_size=180", "accumulate=4") == []
    ghosts = one(CALM, "batch_size=8", "norm_batch=4", "accumulate=4")
    assert ghosts.endswith("leaves the norms 4 at a time: for statistics over more use a larger norm_batch")


def test_dropout_before_a_norm_is_told_with_the_ratio() -> None:
    line = one(CALM, "model=simple_cnn")
    assert line.startswith(
        "conv1.dropout (p = 0.5) stands before conv2.norm: in evaluation the variance behind"
    )
    assert "conv2.linear is 0." in line


@pytest.mark.parametrize(
    "words",
    [
        ("model=simple_cnn", "model.dropout=0"),
        ("model=simple_cnn", "norm=group"),
        ("model=simple_cnn", "norm.track_running_stats=false"),
        ("model=classifier", "model.widths=[4,4]"),
    ],
    ids=" ".join,
)
def test_dropout_that_shifts_no_variance_is_not_told(words: tuple[str, ...]) -> None:
    assert warned(CALM, *words) == []


def test_sigmoids_without_a_norm_are_told() -> None:
    assert one("norm=none").startswith(
        "4 sigmoids and no norm: each lets at most 1/4 of the gradient through"
    )


@pytest.mark.parametrize(
    "words",
    [("activation=relu",), ("optimizer=adam",), ("model=mlp", "model.hidden=[9]")],
    ids=" ".join,
)
def test_networks_that_learn_without_a_norm_are_not_told(words: tuple[str, ...]) -> None:
    assert warned("norm=none", *words) == []


def test_frozen_norms_that_nothing_has_filled_count_as_none(tmp_path: Path) -> None:
    assert one("norm=frozen").startswith("4 sigmoids and frozen norms that no weights=RUN has filled: ")
    assert warned("norm=frozen", "activation=relu") == []
    torch.save(assembly.build(composed().config).learner.model.state_dict(), tmp_path / "start.pt")
    assert warned("norm=frozen", f"weights={tmp_path / 'start.pt'}") == []


def test_frn_in_dense_layers_is_told_to_be_a_sign() -> None:
    line = one("norm=frn")
    assert line.startswith("frn over one value a channel in dense1.norm, dense2.norm is x / sqrt(x^2 + 1e-4)")
    assert "head_norm=group" in line
    assert warned("norm=frn", "head_norm=group") == []
    assert warned("norm=frn", "model=resnet") == []


def test_weight_decay_on_norms_is_told_where_it_reaches_them() -> None:
    words = (CALM, "optimizer.weight_decay=0.0005")
    assert one(*words).startswith("weight decay 0.0005 also pulls weights and biases of norms towards 0")
    assert warned(*words, "optimizer.decay_norm=false") == []
    assert warned(*words, "norm.affine=false") == []
    assert warned(*words, "norm=none", "activation=relu") == []


@pytest.mark.parametrize(("norm", "same"), [("sync", "custom"), ("sync_builtin", "builtin")])
def test_statistics_of_one_process_are_told(norm: str, same: str) -> None:
    assert one(CALM, f"norm={norm}").endswith(f"there is one: use norm={same}, whose result is the same")


def test_float16_is_told_where_running_statistics_can_be_spoilt() -> None:
    assert one(CALM, "precision=float16").startswith("float16 ends at 65504")
    assert warned(CALM, "precision=bfloat16") == warned("norm=group", "precision=float16") == []


def test_float16_spoils_running_statistics_indeed() -> None:
    norm = CustomNorm(1, ())
    norm(torch.tensor([[7e4], [0.0]]).half())
    norm(torch.tensor([[1.0], [0.0]]).half())
    assert not norm.running_mean.isfinite()


@pytest.mark.parametrize(("words", "passes"), [((), 1), (("model=simple_cnn",), 2)])
def test_a_network_is_passed_through_once_and_once_more_for_dropout(
    words: tuple[str, ...], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    forward = torch.nn.Sequential.forward

    def counting(self: torch.nn.Sequential, x: torch.Tensor) -> torch.Tensor:
        if hasattr(self, "classifier"):
            seen.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(torch.nn.Sequential, "forward", counting)
    warned(CALM, *(words or ("model=resnet", "model.depth=18")))
    assert len(seen) == passes
    assert max(seen) <= 64
    assert ResNet.forward is counting
