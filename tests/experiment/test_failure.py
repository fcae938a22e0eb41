"""A bug ends a run loudly, keeps its traceback, and loses nothing that was written before."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_runs import SMALL, Train, fail_at

from bnexp import cli
from bnexp.config import TrainConfig
from bnexp.experiment import run as experiment
from bnexp.runs.directory import RunDirectory


def test_a_bug_leaves_its_traceback_a_status_and_all_rows(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = fail_at(5, train, tmp_path, monkeypatch)
    result, log = failed.result, (failed.path / "log.txt").read_text()
    assert result["status"] == "failed"
    assert result["error"] == "ZeroDivisionError: in the middle"
    assert (result["step"], result["examples"]) == (5, 5 * 16)
    assert 'raise ZeroDivisionError("in the middle")' in log and "Traceback (most recent call last)" in log
    assert [row["step"] for row in failed.rows] == [0, 1, 2, 3, 4]
    assert "loss/test" not in result


def test_the_train_verb_raises_a_bug_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised out of `main`, it is a traceback on the terminal and exit code 1."""

    def broken(*words: str) -> None:
        cli.main(["train", *SMALL, f"runs_dir={tmp_path}/runs", *words])

    assert fail_at(5, broken, tmp_path, monkeypatch).result["status"] == "failed"


def test_in_a_sweep_a_bug_does_not_keep_the_others_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new_directory, tried = experiment.new_directory, []

    def broken_once(config: TrainConfig) -> RunDirectory:
        tried.append(config)
        if len(tried) == 1:
            raise ZeroDivisionError("in the first")
        return new_directory(config)

    monkeypatch.setattr(experiment, "new_directory", broken_once)
    assert cli.run(["train", "-m", *SMALL, f"runs_dir={tmp_path}/runs", "seed=0,1"]) == 1
    assert "ZeroDivisionError: in the first" in capsys.readouterr().err
    (left,) = tmp_path.glob("runs/*/*/result.json")
    assert '"status": "finished"' in left.read_text()


def test_result_is_written_last_and_whole(train: Train) -> None:
    ran = train("model=simple_cnn")
    times = {file.name: file.stat().st_mtime_ns for file in ran.path.iterdir()}
    del times["log.txt"]  # which says so afterwards
    assert times.pop("result.json") >= max(times.values())
    files = {"config.yaml", "run.json", "run.lock", "metrics.jsonl", "last.pt", "best.pt"}
    assert {name for name in times if not name.startswith("events.out.tfevents.")} == files


def test_a_mistake_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (f"runs_dir={tmp_path}/runs", "epoch=3", "norm=costum", "batch_size=0")
    assert cli.run(["train", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("bnexp: ") for line in lines)
    assert not (tmp_path / "runs").exists()
