"""`bnexp train`: what is shown before and after, what is printed instead, and what a sweep does."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bnexp import __version__
from bnexp.choices import groups
from bnexp.composition.compose import restore
from bnexp.config import TrainConfig
from bnexp.errors import DataError
from bnexp.experiment import run as experiment
from bnexp.runs.directory import RunDirectory

CONF = Path(__file__).parents[2] / "conf"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38;[\d;]+)[;m]")
# LeNet on 28 x 28 with a batch norm: no biases before norms, two parameters a channel in each norm
LENET = (150 + 12) + (2_400 + 32) + (48_000 + 240) + (10_080 + 168) + (840 + 10)


def runs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("config.yaml"))


def config(run: Path) -> dict[str, Any]:
    plain = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert isinstance(plain, dict)
    return plain


def test_what_will_run_is_shown_first(train: Callable[..., Any]) -> None:
    answer = train("batch_size=8", "seed=3", "norm=builtin", "optimizer.lr=0.25")
    assert answer.code == 0
    before = answer.out.partition("epoch 0/")[0]
    for name, shown in {
        "experiment": "default",
        "model": f"lenet, {LENET:,} parameters",
        "units": "activation sigmoid, placement pre, init default",
        "norm": "builtin, builtin in the head",
        "data": "digits, 90 train, 10 validation, 359 test",
        "optimizer": "sgd, lr 0.25, cosine schedule",
        "seed": "3",
        "device": "cpu (1 threads), float32",
    }.items():
        assert re.search(rf"^{name} +{re.escape(shown)} *$", before, re.MULTILINE), name
    assert re.search(r"^batch +8 examples, 12 steps an epoch *$", before, re.MULTILINE)
    assert re.search(r"^length +.*, 2 steps *$", before, re.MULTILINE)


def test_what_is_measured_over_is_shown_for_every_norm(train: Callable[..., Any]) -> None:
    out = train("batch_size=8", "head_norm=none").out
    for row in (
        f"conv1.norm CustomNorm 6 28x28 batch x positions {8 * 28 * 28:,}",
        f"conv2.norm CustomNorm 16 10x10 batch x positions {8 * 10 * 10:,}",
        "dense1.norm none 120 - - -",
        "dense2.norm none 84 - - -",
    ):
        assert any(" ".join(line.split()) == row for line in out.splitlines()), row


def test_the_end_shows_the_measurements_the_folder_and_the_exact_command(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    answer = train()
    (run,) = runs(tmp_path)
    result = json.loads((run / "result.json").read_text())
    assert re.search(r"^finished after 2 steps \(1 epoch\)", answer.out, re.MULTILINE)
    columns = ("train_eval", "val", "test", "val_last", "test_last")
    for title, name in (("loss", "loss"), ("accuracy", "accuracy"), ("calibration error", "ece")):
        cells = " ".join([title, *(f"{result[f'{name}/{split}']:.4f}" for split in columns)])
        assert any(" ".join(line.split()) == cells for line in answer.out.splitlines()), cells
    relative = str(run.relative_to(tmp_path))
    assert answer.out.splitlines()[-4:] == [
        f"run folder: {relative}",
        f"watch it in TensorBoard: bnexp tb {relative}",
        f"read it as one page: bnexp report {relative}",
        f"test its running statistics: bnexp eval {relative}",
    ]


@pytest.mark.parametrize("words", [(), ("data.val_fraction=0",)])
def test_an_epoch_is_a_line_also_in_the_log(train: Callable[..., Any], tmp_path: Path, words: Any) -> None:
    """With a validation split and without one; no line names an evaluation that is of no use to the run."""
    out = train("norm=none", "steps=4", *words).out
    (run,) = runs(tmp_path)
    lines = [line for line in out.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in lines] == ["epoch 0/2", "epoch 1/2", "epoch 2/2"]
    logged = (run / "log.txt").read_text().splitlines()
    assert [line.split(" INFO ")[1] for line in logged if " INFO epoch " in line] == lines
    assert ("val loss" in lines[-1]) == (not words) and "bnexp eval" not in out


def test_the_command_can_be_typed_for_a_folder_of_any_name(train: Callable[..., Any], tmp_path: Path) -> None:
    answer = train('runs_dir="it\'s [bold] a b"')
    (run,) = runs(tmp_path)
    typed = next(line for line in answer.out.splitlines() if "bnexp tb" in line).partition(": ")[2]
    assert shlex.split(typed) == ["bnexp", "tb", str(run.relative_to(tmp_path))]


def test_batch_size_one_works_without_a_norm_in_the_head(train: Callable[..., Any]) -> None:
    assert train("batch_size=1", "head_norm=none").code == 0


def test_a_last_batch_of_one_is_dropped_by_default(train: Callable[..., Any]) -> None:
    answer = train("batch_size=89")
    assert answer.code == 0
    assert re.search(r"^batch +89 examples, 1 step an epoch", answer.out, re.MULTILINE)


def test_a_note_is_shown_once(train: Callable[..., Any]) -> None:
    out = train("momentum=0.2", "norm=group").out
    assert out.count("note: momentum has no effect: no norm of this run keeps running statistics") == 1
    assert "note:" not in train().out


def test_divergence_is_a_finding_with_code_zero(train: Callable[..., Any], tmp_path: Path) -> None:
    answer = train("norm=none", "activation=relu", "optimizer.lr=1e30", "steps=6", "batch_size=32")
    assert answer.code == 0
    assert "diverged after" in answer.out
    (run,) = runs(tmp_path)
    assert json.loads((run / "result.json").read_text())["status"] == "diverged"


def test_output_that_is_no_terminal_has_no_control_characters(train: Callable[..., Any]) -> None:
    answer = train()
    assert not CONTROL.search(answer.out)
    assert answer.err == ""


def test_no_color_is_respected(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert COLOUR.search(train("norm=group", "momentum=0.2").out)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not COLOUR.search(train("norm=group", "momentum=0.2").out)


def test_cfg_prints_what_the_run_would_record(bnexp: Callable[..., Any], tmp_path: Path) -> None:
    words = ["threads=1", "steps=2", "data.train_size=100", "norm=group", "head_norm=none", "decay=0.9"]
    answer = bnexp("train", *words, "--cfg", "job")
    assert answer.code == 0
    assert list(tmp_path.iterdir()) == []
    assert bnexp("train", *words).code == 0
    (run,) = runs(tmp_path)
    assert (run / "config.yaml").read_text(encoding="utf-8") == answer.out
    assert restore(answer.out).momentum == 0.1


def test_cfg_tells_mistakes_like_a_run(bnexp: Callable[..., Any]) -> None:
    answer = bnexp("train", "--cfg", "job", "batch_size=0", "norm=nope")
    assert (answer.code, answer.out, len(answer.lines)) == (2, "", 2)


def test_help_lists_every_group_choice_and_knob(bnexp: Callable[..., Any]) -> None:
    answer = bnexp("train", "--help")
    assert answer.code == 0
    assert answer.err == ""
    lines = answer.out.splitlines()
    for group, choices in groups().items():
        start = next(number for number, line in enumerate(lines) if line.startswith(f"{group} "))
        for offset, (choice, text) in enumerate(choices.items()):
            assert lines[start + offset].removeprefix(group).strip().split(None, 1) == [choice, text]
    root = yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8"))
    for key in set(root) - {"defaults", "choices"}:
        assert re.search(rf"^{key}[.:]", answer.out, re.MULTILINE), key


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_wins_over_mistakes(bnexp: Callable[..., Any], flag: str) -> None:
    assert bnexp("train", "norm=nope", flag).code == 0


def test_version_and_verbs(bnexp: Callable[..., Any]) -> None:
    assert bnexp("--version").out == f"bnexp {__version__}\n"
    answer = bnexp("--help")
    assert answer.code == 0
    assert re.search(r"^  train +Train one network", answer.out, re.MULTILINE)
    assert re.search(r"^  resume +", answer.out, re.MULTILINE)
    assert "bnexp train norm=custom batch_size=8" in answer.out


def test_words_may_follow_a_double_dash_and_surround_options(train: Callable[..., Any]) -> None:
    assert train("--", "norm=none").code == 0
    assert train("norm=none", "--cfg", "job", "seed=3").out.count("\nseed: 3\n") == 1


def test_a_sweep_runs_every_combination(train: Callable[..., Any], tmp_path: Path) -> None:
    answer = train("-m", "norm=custom,none", "seed=0,1", "decay=0.9")
    assert answer.code == 0
    assert answer.err == ""
    found = {(config(run)["choices"]["norm"], config(run)["seed"]) for run in runs(tmp_path)}
    assert found == {("custom", 0), ("custom", 1), ("none", 0), ("none", 1)}
    assert len(runs(tmp_path)) == 4
    assert {config(run)["momentum"] for run in runs(tmp_path)} == {0.1}
    assert re.findall(r"^\[(\d)/4\]", answer.out, re.MULTILINE) == ["1", "2", "3", "4"]


def test_a_mistake_in_one_value_stops_a_sweep_before_any_run(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    for words, lines in (
        (["norm=custom,nope", "model=lenet,bad"], 2),
        (["norm=custom,group", "norm.eps=x"], 1),
        (["device=cpu,tpu", "batch_size=0,4"], 2),
        (["steps=1,2", "epochs=1"], 2),
    ):
        answer = train("-m", *words)
        assert answer.code == 2
        assert len(answer.lines) == len(set(answer.lines)) == lines
        assert answer.out == ""
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "word", ["seed=range(3,0)", "norm=glob(zz*)", "~norm", "batch_size", "hydra/launcher=x"]
)
def test_a_sweep_that_cannot_be_read_stops_before_any_run(
    bnexp: Callable[..., Any], tmp_path: Path, word: str
) -> None:
    answer = bnexp("train", "-m", "epochs=1,2", *word.split())
    assert answer.code == 2
    assert len(answer.lines) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_refuses_one_folder_for_all(train: Callable[..., Any], tmp_path: Path) -> None:
    for word in ("output_dir=here", "output_dir=here,there"):
        answer = train("-m", "seed=0,1", word)
        assert answer.code == 2
        (line,) = answer.lines
        assert "output_dir names one folder; leave it out of a sweep and use runs_dir" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError("boom"), DataError("boom")], ids=["bug", "mistake"])
def test_a_failing_job_does_not_stop_the_others(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    new_directory = experiment.new_directory

    def fail_second(made: TrainConfig) -> RunDirectory:
        if made.seed == 1:
            raise error
        return new_directory(made)

    monkeypatch.setattr(experiment, "new_directory", fail_second)
    answer = train("-m", "seed=0,1,2")
    assert answer.code == 1
    assert {config(run)["seed"] for run in runs(tmp_path)} == {0, 2}
    assert re.search(r"^\[2/3\] .*seed=1.*failed: .*boom", answer.out, re.MULTILINE)
    assert ("Traceback" in answer.err) == isinstance(error, RuntimeError)


def test_fail_fast_starts_no_other_job(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "new_directory", raiser(DataError("boom")))
    answer = train("-m", "seed=0,1,2", "--fail-fast")
    assert answer.code == 1
    assert answer.out.count("boom") == 1
    assert runs(tmp_path) == []


def raiser(error: Exception) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_an_interrupted_job_ends_the_sweep_and_the_same_words_go_on_with_it(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def at_once() -> Iterator[Callable[[], bool]]:
        yield lambda: True

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "stoppable", at_once)
        assert train("-m", "seed=0,1").code == 130
    (first,) = runs(tmp_path)
    assert json.loads((first / "result.json").read_text())["status"] == "interrupted"
    assert train("-m", "seed=0,1").code == 0
    assert {config(run)["seed"] for run in runs(tmp_path)} == {0, 1}
    assert first in runs(tmp_path)
    assert {json.loads((run / "result.json").read_text())["status"] for run in runs(tmp_path)} == {"finished"}
    assert "nothing is left to do" in train("-m", "seed=0,1").out
    assert len(runs(tmp_path)) == 2


def test_a_sweep_has_no_duplicates_and_leaves_out_what_cannot_be_built(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    answer = train("-m", "norm=none,group", "momentum=0.1,0.2", "model=lenet", "--print-trials")
    assert answer.code == 0
    assert answer.out.count("the same computation as") == 2
    assert "2 jobs, about" in answer.out
    answer = train("-m", "norm=custom,group", "batch_size=1,8", "model=mlp", "--print-trials")
    assert answer.code == 0
    assert re.search(r"^dropped: .*batch_size=1 .*one value per channel", answer.out, re.MULTILINE)
    assert "3 jobs, about" in answer.out
    assert list(tmp_path.iterdir()) == []


def test_pairs_and_trial_files_take_the_place_of_a_grid(train: Callable[..., Any], tmp_path: Path) -> None:
    answer = train("-m", "seed=0,1", "batch_size=8,16", "--pair", "seed,batch_size", "--print-trials")
    assert "2 jobs, about" in answer.out
    assert re.search(r"seed=0 batch_size=8", answer.out)
    table = tmp_path / "trials.csv"
    table.write_text("norm,batch_size\nnone,8\ncustom,16\ngroup,\n")
    answer = train("--trials", str(table), "seed=0,1", "--print-trials")
    assert "6 jobs, about" in answer.out
    assert train("-m", "seed=0,1", "batch_size=8,16,32", "--pair", "seed,batch_size").code == 2


def test_what_a_run_has_answered_is_not_needed_again(train: Callable[..., Any], tmp_path: Path) -> None:
    assert train("seed=1", "threads=1").code == 0
    answer = train("-m", "seed=0,1", "--needed", "threads=1")
    assert answer.code == 0
    assert "1 jobs are answered" in answer.out
    assert sorted(config(run)["seed"] for run in runs(tmp_path)) == [0, 1]


def test_a_bug_keeps_its_traceback(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("bnexp.engine.learner.Learner.update", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        train()
