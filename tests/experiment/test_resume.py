"""A run that was stopped, failed or was killed goes on as if nothing had happened."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from whole_runs import (
    STEPS_PER_EPOCH,
    Ran,
    Silent,
    Train,
    assert_same_run,
    composed,
    fail_at,
    ready,
    resume,
)

from bnexp import cli
from bnexp.composition.compose import as_yaml
from bnexp.experiment import run as experiment
from bnexp.models.lenet import LeNet

# With these words the validation loss soon rises again.
IMPATIENT = ("norm=none", "model=mlp", "model.hidden=[20]", "optimizer.lr=1", "schedule=constant", "epochs=9")
STOPS = [
    ((), 8),
    ((), 1),
    ((), STEPS_PER_EPOCH),
    ((), 3 * STEPS_PER_EPOCH),
    (("optimizer=adam",), 8),
    (("optimizer=adamw", "optimizer.decay_norm=false", "schedule=onecycle"), 9),
    (("model=simple_cnn",), 8),
    (("model=simple_cnn", "data.augment=true", "momentum=null"), 2 * STEPS_PER_EPOCH),
    (("accumulate=3", "drop_last=false"), 3),
    (("precision=float16", "norm=builtin"), 8),
    (("precision=bfloat16", "checkpoint.every=2"), 8),
    (("channels_last=true", "model=resnet", "model.depth=8", "model.width=4"), 8),
    (("data.val_fraction=0",), 8),
    (("norm=renorm",), 8),  # its limits grow from step 2 to step 14
    (("norm=renorm", "model=simple_cnn", "accumulate=2"), 3),
    (("norm=noisy",), 9),
    (("norm=noisy", "norm_batch=4", "data.augment=true"), 8),
    (("steps=8", "telemetry=default"), 7),
    ((*IMPATIENT, "early_stopping.patience=2"), 5 * STEPS_PER_EPOCH + 2),
    ((*IMPATIENT, "early_stopping.patience=2"), 5 * STEPS_PER_EPOCH),
]


@pytest.mark.parametrize(
    ("words", "step"), STOPS, ids=[f"{' '.join(words) or 'plain'} at {step}" for words, step in STOPS]
)
def test_a_stopped_and_resumed_run_is_the_uninterrupted_one(
    train: Train, settled: Train, words: tuple[str, ...], step: int
) -> None:
    number = signal.SIGTERM if step % 2 else signal.SIGINT
    stopped = train(*words, stop_after=step, number=number)
    assert stopped.result["status"] == "interrupted"
    assert stopped.result["step"] == step == stopped.last["state"]["step"]
    assert "loss/test" not in stopped.result
    resume(stopped)
    assert_same_run(stopped, settled(*words))


def test_the_impatient_words_do_stop_early(settled: Train) -> None:
    ran = settled(*IMPATIENT, "early_stopping.patience=2")
    assert ran.result["status"] == "stopped_early"
    assert 0 < ran.result["best_step"] < ran.result["step"] < 9 * STEPS_PER_EPOCH


def test_a_run_may_be_stopped_again_and_again(train: Train, settled: Train) -> None:
    stopped = train(stop_after=4)
    for _ in range(3):
        assert resume(stopped, stop_after=4).result["status"] == "interrupted"
    assert_same_run(resume(stopped), settled())


def test_a_second_signal_ends_a_run_at_once_and_loses_no_checkpoint(settled: Train, tmp_path: Path) -> None:
    class Insistent(Silent):
        def advance(self, examples: int, loss: float | None, latest: Mapping[str, float]) -> None:
            super().advance(examples, loss, latest)
            if self.updates == self.stop_after:
                os.kill(os.getpid(), signal.SIGINT)

    with ready(tmp_path) as prepared, pytest.raises(KeyboardInterrupt):
        ran = Ran(experiment.new_directory(prepared.config))
        experiment.run(prepared, ran.directory, Insistent(stop_after=8))
    assert ran.result["status"] == "interrupted"
    assert ran.last["state"]["step"] == STEPS_PER_EPOCH
    assert_same_run(resume(ran), settled())


@pytest.mark.parametrize(
    ("words", "saved"), [((), 12), (("checkpoint.every=2",), 12), (("checkpoint.every=3",), 0)]
)
def test_a_failed_run_goes_on_from_its_last_checkpoint(
    train: Train,
    settled: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    saved: int,
) -> None:
    """It breaks in the third epoch."""
    failed = fail_at(14, train, tmp_path, monkeypatch, *words)
    assert failed.last["state"]["step"] == saved
    assert_same_run(resume(failed), settled(*words))


def test_a_run_that_failed_after_its_last_epoch_does_not_outlive_its_patience(
    settled: Train, tmp_path: Path
) -> None:
    words = (*IMPATIENT, "early_stopping.patience=1")
    with ready(tmp_path, *words) as prepared:
        prepared.parts = dataclasses.replace(prepared.parts, test=Unreadable())
        failed = Ran(experiment.new_directory(prepared.config))
        with pytest.raises(RuntimeError, match="no test images"):
            experiment.run(prepared, failed.directory, Silent())
    assert failed.result["status"] == "failed"
    assert_same_run(resume(failed), settled(*words))


def test_going_on_from_step_0_is_no_epoch_without_improvement(
    train: Train, settled: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is measured a second time, and the loss is no better than the first time."""
    words = ("early_stopping.patience=1", "optimizer.lr=0", "norm=none")
    failed = fail_at(0, train, tmp_path, monkeypatch, *words)
    assert failed.last["state"]["step"] == 0
    assert_same_run(resume(failed), settled(*words))


def test_a_run_that_lost_its_checkpoint_starts_over(train: Train, settled: Train) -> None:
    stopped = train(stop_after=8)
    for file in (stopped.directory.last_file, stopped.directory.best_file):
        file.unlink()
    assert_same_run(resume(stopped), settled())


def test_a_torn_last_row_is_no_obstacle(
    train: Train, settled: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = fail_at(8, train, tmp_path, monkeypatch)
    with failed.directory.metrics_file.open("a") as file:
        file.write('{"step": 8, "epo')
    assert_same_run(resume(failed), settled())


def test_a_resumed_run_computes_on_the_threads_it_began_with(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began in a sweep, on one thread of a machine of three."""
    monkeypatch.setattr(experiment, "cores", lambda: 3)
    with experiment.prepared(composed(f"{tmp_path}/runs", ("threads=auto",)), in_sweep=True) as prepared:
        stopped = Ran(experiment.new_directory(prepared.config))
        experiment.run(prepared, stopped.directory, Silent(stop_after=8))
    assert resume(stopped, stop_after=1).result["threads"] == 1
    assert train("threads=auto", "steps=1").result["threads"] == 3


def test_a_run_killed_before_its_first_checkpoint_keeps_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "cores", lambda: 3)
    with experiment.prepared(composed(f"{tmp_path}/runs", ("threads=auto",)), in_sweep=True) as prepared:
        killed = Ran(experiment.new_directory(prepared.config))
        killed.directory.write_config(as_yaml(prepared.config))
    assert resume(killed, stop_after=1).result["threads"] == 1


def test_tensorboard_shows_a_resumed_run_as_one(train: Train, settled: Train) -> None:
    stopped, whole = train(stop_after=8), settled()
    resume(stopped)
    assert board(stopped) == board(whole)


def test_speed_after_a_resume_counts_all_examples(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by one second a step makes the rate the batch size; rows come every 20 steps."""
    words = ("steps=45", "telemetry.scalars_every=20", "data.val_fraction=0", "drop_last=true")
    now = [0.0]
    monkeypatch.setattr("bnexp.engine.clock.time.perf_counter", lambda: now[0])
    compute = LeNet.forward

    def forward(model: LeNet, images: torch.Tensor) -> torch.Tensor:
        now[0] += model.training
        return compute(model, images)

    monkeypatch.setattr(LeNet, "forward", forward)
    stopped = train(*words, stop_after=27)
    resume(stopped)
    assert [(row["step"], row["examples_per_second"]) for row in stopped.rows if "lr" in row] == [
        (0, 16.0),
        (20, 16.0),
        (40, 16.0),
    ]


@pytest.mark.parametrize("words", [("steps=2",), (*IMPATIENT, "early_stopping.patience=1")])
def test_a_run_with_an_answer_is_not_resumed(
    train: Train, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = train(*words)
    before = ran.directory.result_file.read_bytes()
    assert cli.run(["resume", str(ran.path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"is {ran.result['status']}: there is nothing to resume" in line
    assert ran.directory.result_file.read_bytes() == before


def test_a_run_in_use_is_refused_and_left_alone(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    stopped = train(stop_after=8)
    kept = ("result.json", "metrics.jsonl", "last.pt", "log.txt")
    before = [(stopped.path / name).read_bytes() for name in kept]
    with stopped.directory.lock():
        assert cli.run(["resume", str(stopped.path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is in use by process" in line
    assert [(stopped.path / name).read_bytes() for name in kept] == before


def test_the_resume_verb_goes_on_and_says_how_it_ended(
    train: Train, settled: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = train(stop_after=8)
    assert cli.run(["resume", stopped.path.name, "--runs-dir", str(stopped.path.parents[1])]) == 0
    assert "finished after 18 steps" in capsys.readouterr().out
    assert_same_run(stopped, settled())


class Unreadable:
    """A split that cannot be gone through."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[None]:
        raise RuntimeError("no test images")


def board(ran: Ran) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run's scalars, without the one that depends on the machine."""
    events = EventAccumulator(str(ran.path)).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag != "examples_per_second"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}
