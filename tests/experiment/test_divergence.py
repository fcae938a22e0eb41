"""Divergence is a finding: the run ends well and names what stopped being finite first."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import nn
from whole_runs import Ran, Train, load, ready

from bnexp import cli
from bnexp.display import tables
from bnexp.engine.fit import Plan
from bnexp.experiment import run as experiment
from bnexp.experiment.run import Experiment

HUGE = [
    ("norm=none", "model=mlp", "activation=relu", "optimizer.lr=1e10"),
    ("norm=none", "model=lenet", "optimizer.lr=1e38"),
    ("norm=custom", "model=lenet", "activation=relu", "optimizer.lr=1e10"),
    ("norm=custom", "model=lenet", "optimizer.lr=1e20"),
    ("norm=custom", "model=simple_cnn", "activation=sigmoid", "optimizer.lr=1e20"),
    ("norm=builtin", "model=lenet", "activation=relu", "optimizer.lr=1e20"),
    ("norm=builtin", "model=resnet", "model.depth=8", "model.width=4", "optimizer.lr=1e10"),
    ("norm=group", "model=mlp", "activation=relu", "optimizer.lr=1e10", "accumulate=2"),
    ("norm=none", "model=mlp", "activation=relu", "init=normal", "init.std=3e6", "optimizer=adam"),
    ("norm=none", "model=mlp", "init=normal", "init.std=5", "optimizer.lr=3e38"),
    ("norm=none", "model=mlp", "activation=relu", "init=he_normal", "optimizer.lr=1e3", "precision=float16"),
]


@pytest.mark.parametrize("words", HUGE, ids=" ".join)
def test_origin_is_what_an_instrumented_loop_finds_first(
    settled: Train, tmp_path: Path, words: tuple[str, ...]
) -> None:
    ran = settled(*words)
    with ready(tmp_path, *words) as prepared:
        step, what = first_non_finite(prepared)
    assert ran.result["status"] == "diverged"
    found = ran.result["diverged"]
    assert found["origin"] == f"{what} at step {step}"
    assert found["first_step"] == step <= found["last_step"] <= ran.result["step"]
    assert_sound(ran)


@pytest.mark.parametrize("check_every", [1, 3, 1000])
@pytest.mark.parametrize("words", [HUGE[0], HUGE[3], HUGE[5]], ids=" ".join)
def test_an_accelerator_finds_the_same_origin_later(
    train: Train, settled: Train, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], check_every: int
) -> None:
    """Here the CPU is told to behave like an accelerator: losses are not read step by step."""
    reference = settled(*words).result["diverged"]
    monkeypatch.setattr(experiment, "Plan", lambda **knobs: Plan(**{**knobs, "loss_on_host": False}))
    ran = train(*words, f"check_every={check_every}")
    found = ran.result["diverged"]
    assert found["origin"] == reference["origin"]
    assert found["first_step"] == reference["first_step"] <= found["last_step"]
    assert found["last_step"] - found["first_step"] <= min(check_every, 6)
    assert_sound(ran)


def test_a_diverged_run_answers_with_its_best_weights_only(train: Train) -> None:
    """The learning rate leaps in the middle of the second of three epochs."""
    leap = ("schedule=step", "schedule.milestones=[0.5]", "schedule.gamma=1e30")
    ran = train("activation=relu", "norm=none", *leap)
    calm = train("activation=relu", "norm=none", "schedule=constant", "epochs=1")
    assert ran.result["status"] == "diverged" and ran.result["best_step"] == 6
    assert ran.result["diverged"]["first_step"] == 10
    assert ran.result["loss/test"] == calm.result["loss/test"]
    assert ran.result["loss/test_last"] is None and ran.result["accuracy/test_last"] is None
    assert_sound(ran)


def test_a_validation_loss_that_overflows_alone_is_the_origin(train: Train) -> None:
    """Normalized by batches twelve layers train on; by running statistics that never moved they overflow."""
    deep = ("model=mlp", f"model.hidden={[20] * 12}".replace(" ", ""), "activation=relu")
    ran = train(*deep, "norm=custom", "momentum=0", "optimizer.lr=100")
    found = {"first_step": 6, "last_step": 6, "origin": "the validation loss at step 6"}
    assert (ran.result["status"], ran.result["diverged"]) == ("diverged", found)
    assert None not in ran.column("loss/train") and ran.column("loss/val")[1:] == [None]
    assert ran.result["best_step"] is None and not ran.directory.best_file.exists()
    for split in ("train_eval", "val", "test", "val_last", "test_last"):  # no number, but a metric
        assert ran.result[f"loss/{split}"] is ran.result[f"accuracy/{split}"] is None
    assert "the first to stop being finite was the validation loss at step 6" in told(ran)
    assert_sound(ran)


def test_a_buffer_that_overflows_under_a_finite_loss_is_told_as_that(settled: Train) -> None:
    """running_var overflows at step 1; the losses of steps 1 and 2 are finite."""
    ran = settled(*HUGE[3])
    found = ran.result["diverged"]
    assert math.isfinite(ran.column("loss/train")[found["first_step"]])
    said = f"the first to stop being finite was {found['origin']}, noticed at step {found['last_step']}"
    assert found["first_step"] < found["last_step"]
    assert said in told(ran)


def test_without_validation_a_diverged_run_has_no_answer_but_ends_well(train: Train) -> None:
    ran = train(*HUGE[0], "data.val_fraction=0")
    assert ran.result["status"] == "diverged"
    for name in ("loss", "accuracy", "top5", "nll", "brier", "ece"):
        assert ran.result[f"{name}/test"] is None and ran.result[f"{name}/test_last"] is None
    assert not ran.directory.best_file.exists()


@pytest.mark.parametrize("step", range(1, 5))
def test_stopping_a_run_that_has_just_overflowed_saves_nothing_non_finite(train: Train, step: int) -> None:
    """running_var overflows at step 1 under a finite loss, and the run is stopped there or a little later."""
    ran = train(*HUGE[3], stop_after=step)
    assert ran.result["status"] == ("interrupted" if step < 2 else "diverged")
    assert_sound(ran)


def test_the_train_verb_takes_divergence_for_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["threads=1", "data.train_size=100", "steps=8", f"output_dir={tmp_path}/run"]
    assert cli.run(["train", *words, *HUGE[0]]) == 0
    printed = capsys.readouterr()
    assert "diverged after" in printed.out and "Traceback" not in printed.out + printed.err


def test_float16_overflow_of_gradients_is_no_divergence(train: Train) -> None:
    """Loss scaling starts at 65536 and comes down until the gradients fit; such updates are skipped."""
    words = (
        "precision=float16",
        "norm=builtin",
        "init=normal",
        "init.std=3",
        "model=mlp",
        "model.hidden=[20]",
    )
    ran = train(*words)
    assert ran.result["status"] == "finished"
    assert ran.last["scaler"]["scale"] < 65536
    assert None in ran.column("grad_norm")
    assert_sound(ran)


def told(ran: Ran) -> str:
    console = Console(file=io.StringIO(), width=200)
    assert ran.outcome is not None and isinstance(console.file, io.StringIO)
    tables.how_it_ended(console, ran.outcome, ran.directory)
    return console.file.getvalue()


def first_non_finite(prepared: Experiment) -> tuple[int, str]:
    """Train with checks after every module, gradient, moment and weight; return the first that fails."""
    parts = prepared.parts
    model, optimizer = parts.learner.model, parts.learner.optimizer
    names = {parameter: name for name, parameter in model.named_parameters()}
    base = optimizer.param_groups[0]["lr"]
    half = parts.learner.precision.dtype is torch.float16
    scaler = torch.amp.GradScaler("cpu", enabled=half)
    seen: list[str] = []
    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, x, y, name=name: seen.extend(forward_faults(name, m, y)))
    model.train()
    for step in range(parts.total_steps):
        optimizer.param_groups[0]["lr"] = base * parts.schedule(step)
        optimizer.zero_grad()
        group = parts.batches.group(step)
        total = 0.0
        for batch in group:
            with torch.autocast("cpu", torch.float16, enabled=half):
                loss = F.cross_entropy(model(batch.inputs), batch.targets)
            loss = loss * len(batch) / sum(map(len, group))
            scaler.scale(loss).backward()
            total += loss.item()
        if seen or not math.isfinite(total):
            return step, seen[0] if seen else "the loss"
        faults = [f"the gradient of {name}" for p, name in names.items() if bad(p.grad) and not half][::-1]
        if not faults:
            scaler.step(optimizer)
            scaler.update()
            moments = [(p, kind, t) for p in names for kind, t in optimizer.state[p].items()]
            faults = [f"{kind} of {names[p]} after the update" for p, kind, t in moments if bad(t)]
            faults += [f"{name} after the update" for p, name in names.items() if bad(p)]
        if faults:
            return step, faults[0]
    raise AssertionError("everything stayed finite")


def forward_faults(name: str, module: nn.Module, output: torch.Tensor) -> list[str]:
    found = [f"the output of {name}"] if bad(output) else []
    return found + [f"{name}.{kind}" for kind, buffer in module.named_buffers() if bad(buffer)]


def bad(tensor: torch.Tensor | None) -> bool:
    return tensor is not None and tensor.is_floating_point() and not bool((tensor.abs() < math.inf).all())


def assert_sound(ran: Ran) -> None:
    """Nothing in the run's checkpoints is infinite or not a number."""
    files = list(ran.path.glob("*.pt"))
    assert ran.directory.last_file in files
    for file in files:
        assert not non_finite(load(file)), file.name


def non_finite(content: Any) -> list[Any]:
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, (list, tuple)):
        return [fault for item in content for fault in non_finite(item)]
    if isinstance(content, float):
        content = torch.tensor(content)
    return [content] if isinstance(content, torch.Tensor) and bad(content) else []
