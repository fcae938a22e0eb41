"""What earlier versions left is read by every verb, goes on where it stopped, and still answers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bnexp import cli
from bnexp.runs import sweeps
from bnexp.runs.directory import RunDirectory
from bnexp.runs.reading import read_metrics

RECORDS = Path(__file__).parent / "records"
VERSIONS = sorted(path.name for path in RECORDS.iterdir() if path.is_dir())
MLP = ("model=mlp", "model.hidden=[8]", "batch_size=16", "telemetry=none")
SHORT = ("steps=20", "data.train_size=100", "threads=1")
SWEEP = ("-m", "norm=custom,group,none", "seed=0,1", *SHORT, *MLP, "telemetry.scalars_every=5")
NAMES = {
    "ghost": "custom-b16-nb8-resnet-digits-s0_20261201-032135-7e75",
    "stopped": "builtin-b16-guard-skip-resnet-digits-s0_20261201-032141-4a41",
    "keras": "custom-keras-b16-mlp-digits-s0_20261201-032142-eeb2",
    "frozen": "custom-b16-freeze-both-0.5-mlp-digits-s0_20261201-032142-0901",
    "diverged": "none-b16-mlp-digits-s0_20261201-032143-0ada",
    "swept": "custom-b16-mlp-digits-s0_20261201-032146-bb35",
}
STATUSES = {"finished": 6, "interrupted": 2, "diverged": 1}


@dataclass(frozen=True)
class Said:
    out: str
    err: str


class Old:
    """A copy of what a version left, which is the working directory, and a command line in it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def bnexp(self, *words: str, code: int = 0) -> Said:
        self._capsys.readouterr()
        assert cli.run(words) == code, self._capsys.readouterr().err
        return Said(*self._capsys.readouterr())

    def json(self, *words: str) -> Any:
        return json.loads(self.bnexp(*words, "--json").out)

    def run(self, name: str) -> RunDirectory:
        return RunDirectory(Path("runs/default") / NAMES.get(name, name))

    @property
    def record(self) -> Path:
        (path,) = Path("runs/default/sweeps").glob("*.json")
        return path


@pytest.fixture(params=VERSIONS)
def old(request, tmp_path, monkeypatch, capsys):
    shutil.copytree(RECORDS / request.param, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BNEXP_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return Old(capsys)


def test_the_list_holds_every_run_with_its_status(old):
    runs = old.json("runs")
    assert {name: sum(run["status"] == name for run in runs) for name in STATUSES} == STATUSES
    assert len(runs) == sum(STATUSES.values())
    assert all(run["problem"] is None for run in runs)


@pytest.mark.parametrize(
    ("condition", "number"),
    [
        ("norm=group", 2),
        ("norm_batch=8", 1),
        ("model=mlp", 7),
        ("optimizer=adam", 1),
        ("optimizer.lr>1", 1),
        ("data.augment=true", 1),
        ("freeze_norm.after=0.5", 1),
        ("guard=skip", 1),
        ("norm.momentum=0.5", 2),
        ("accuracy/test>0.2", 5),
        ("started=2026-12-01", 9),
        ("sweep=norm-seed-92e00194", 4),
    ],
)
def test_filters_find_runs(old, condition, number):
    assert len(old.json("runs", condition)) == number


@pytest.mark.parametrize("name", NAMES)
def test_each_run_is_shown(old, name):
    assert NAMES[name] in old.bnexp("runs", "show", NAMES[name]).out
    found = old.json("runs", "show", NAMES[name])
    assert found["result"]["config_hash"] and found["last"]["loss/val"] is not None


def test_runs_are_compared_and_told_apart(old):
    rows = old.json("compare")
    assert len(rows["groups"] if isinstance(rows, dict) else rows) == 6
    keys = {row["key"] for row in old.json("diff", NAMES["keras"], NAMES["frozen"])}
    assert {"schedule.pct_start", "freeze_norm.after", "choices.convention"} <= keys


def test_a_report_and_its_figures_are_made(old):
    old.bnexp("report", "model=mlp", "norm=custom,group", "-o", "some.html")
    assert "momentum" in Path("some.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("what", ["loss", "activations", "gradients", "running_stats", "percentiles"])
def test_figures_are_drawn(old, what):
    old.bnexp("plot", NAMES["ghost"], NAMES["stopped"], "--what", what, "-o", "figure.svg")
    assert Path("figure.svg").stat().st_size > 10_000


def test_tensorboard_calls_runs_by_name(old, monkeypatch):
    served: list[str] = []

    def look(folder: Path, port: int | None) -> str:
        served.extend(path.name for path in folder.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("bnexp.commands.tb.serve", look)
    old.bnexp("tb", "norm=group", "--mean")
    assert sum("group" in name for name in served) == 2, served


def test_a_run_is_evaluated_as_it_was_then(old):
    then = json.loads(old.run("ghost").eval_file.read_text())
    old.bnexp("eval", NAMES["ghost"], "samples=50")
    now = json.loads(old.run("ghost").eval_file.read_text())
    for kind in ("running", "batch", "recalibrated"):
        assert now[kind]["loss"] == pytest.approx(then[kind]["loss"], rel=1e-4)
        assert now[kind]["accuracy"] == pytest.approx(then[kind]["accuracy"], abs=0.01)


def test_its_weights_start_a_new_run(old):
    old.bnexp("train", *SHORT, *MLP, f"weights={NAMES['swept']}")
    assert len(old.json("runs")) == 10


def test_a_stopped_run_goes_on(old):
    run = old.run("stopped")
    before = {tag: (series.steps, series.values) for tag, series in read_metrics(run).items()}
    old.bnexp("resume", NAMES["stopped"])
    result = run.read_result()
    assert (result["status"], result["step"], result["examples"]) == ("finished", 20, 604)
    after = read_metrics(run)
    for tag, (steps, values) in before.items():
        kept = after[tag].steps < 12
        assert after[tag].steps[kept].tolist() == steps[steps < 12].tolist()
        assert after[tag].values[kept].tobytes() == values[steps < 12].tobytes()
    assert after["loss/train"].steps.tolist() == list(range(0, 21, 2))


def test_a_stopped_sweep_goes_on_where_it_stopped(old):
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    recorded = sweeps.read(old.record)
    assert list(recorded.statuses().values()) == ["finished"] * 3 + ["interrupted"] + ["waiting"] * 2
    old.bnexp("resume", recorded.name)
    assert set(sweeps.read(old.record).statuses().values()) == {"finished"}
    assert len(old.json("runs", f"sweep={recorded.name}")) == 6
    resumed = sweeps.read(old.record).runs()[3].path.name
    written = {old.record.with_suffix(".jsonl").name, resumed}
    kept = [path for path in before if written.isdisjoint((path.name, path.parent.name))]
    assert len(kept) > 50
    assert all(path.read_bytes() == before[path] for path in kept)


def test_the_same_words_are_the_same_sweep(old):
    said = old.bnexp("train", *SWEEP, "--print-trials").out
    assert said.count("answered") == 3
    assert sorted(Path("runs/default/sweeps").glob("*.json")) == [old.record]


def test_needed_finds_what_another_sweep_has_answered(old):
    words = ("-m", "norm=custom,group", "seed=0,1,2", *SHORT, *MLP)
    said = old.bnexp("train", *words, "--needed").out
    assert "3 jobs are answered by runs that are there already" in said
    assert len(old.json("runs")) == 9 + 3


def test_doctor_sees_what_the_run_saw(old):
    words = ("model=resnet", "model.depth=8", "model.width=4", "norm_batch=8", "batch_size=16", *SHORT)
    assert len(old.json("doctor", *words)["norms"]) == 9
