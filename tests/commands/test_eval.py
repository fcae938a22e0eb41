"""`bnexp eval`: what it says of real runs, what it leaves, and that it leaves all else alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bnexp import cli

MLP = ("model=mlp", "model.hidden=[32]", "optimizer=adam", "optimizer.lr=0.01", "batch_size=32")
RUNS = {
    "fine": (*MLP, "momentum=0.3", "norm=custom"),
    "stale": (*MLP, "momentum=0.001", "norm=builtin"),
    "none": (*MLP, "norm=none"),
    "resnet": (
        "model=resnet",
        "model.depth=8",
        "model.width=4",
        "norm=builtin",
        "epochs=1",
        "batch_size=100",
    ),
}
WORDS = ("threads=1", "telemetry=none", "epochs=3", "data.train_size=600")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluated")
    for name, words in RUNS.items():
        given = [word for word in WORDS if word.partition("=")[0] not in {w.partition("=")[0] for w in words}]
        assert cli.run(["train", *given, *words, f"output_dir='{root / 'x' / name}'"]) == 0
    return root


def evaluated(runs: Path, name: str, *words: str) -> dict[str, Any]:
    assert cli.run(["eval", name, *words, "--runs-dir", str(runs)]) == 0
    content: dict[str, Any] = json.loads((runs / "x" / name / "eval.json").read_text())
    return content


def refused(runs: Path, capsys: pytest.CaptureFixture[str], name: str, *words: str) -> list[str]:
    capsys.readouterr()
    assert cli.run(["eval", name, *words, "--runs-dir", str(runs)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


def digests(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if file.name != "eval.json"
    }


def test_a_stale_run_is_called_stale_and_recalibration_mends_it(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(runs, "stale", "checkpoint=last")
    short = 100 * (found["batch"]["accuracy"] - found["running"]["accuracy"])
    recovered = 100 * (found["recalibrated"]["accuracy"] - found["running"]["accuracy"])
    assert short > 5 and recovered > short / 2
    assert found["verdict"] == (
        f"evaluation falls {short:.1f} points short of batch statistics: the running averages are stale; "
        f"recalibrated they recover {recovered:.1f}"
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert found["verdict"] in printed
    kinds = ("running", "batch", "recalibrated")
    for name in ("loss", "accuracy"):
        assert " ".join([name, *(f"{found[kind][name]:.4f}" for kind in kinds)]) in printed
    assert f"points to running {short:+.1f} {recovered:+.1f} recalibrated on 540 training examples" in printed


def test_running_statistics_give_the_results_of_the_run(runs: Path) -> None:
    for which, tag in (("best", "test"), ("last", "test_last")):
        found = evaluated(runs, "fine", f"checkpoint={which}")
        result = json.loads((runs / "x" / "fine" / "result.json").read_text())
        assert found["running"]["accuracy"] == result[f"accuracy/{tag}"]
        assert found["running"]["loss"] == pytest.approx(result[f"loss/{tag}"], rel=1e-6)  # float32 sums
        assert (found["checkpoint"], found["split"], found["examples"]) == (which, "test", 359)


def test_a_healthy_run_is_told_so(runs: Path) -> None:
    found = evaluated(runs, "fine")
    assert found["verdict"].startswith("running statistics are as ")
    assert found["layers"] and (found["batch_size"], found["samples"], found["fold"]) == (32, 540, None)


def test_without_batch_statistics_there_is_nothing_to_compare(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(runs, "none")
    assert "nothing to compare" in found["verdict"]
    assert found["layers"] == [] and found["batch"] is None and found["recalibrated"] is None
    assert found["running"]["accuracy"] > 0.1
    assert "of each batch" not in capsys.readouterr().out


def test_the_numbers_are_the_same_each_time_and_the_run_stays_as_it_is(runs: Path) -> None:
    folder = runs / "x" / "fine"
    before = digests(folder)
    first = evaluated(runs, "fine")
    torch.manual_seed(5)
    torch.rand(3)
    assert evaluated(runs, "fine") == first
    assert digests(folder) == before


def test_samples_and_layer_by_layer_are_heard(runs: Path) -> None:
    usual = evaluated(runs, "stale", "checkpoint=last")
    few = evaluated(runs, "stale", "checkpoint=last", "samples=64")
    assert few["samples"] == 64 and few["recalibrated"]["loss"] != usual["recalibrated"]["loss"]
    one_by_one = evaluated(runs, "resnet", "layer_by_layer=true")
    assert one_by_one["recalibrated"]["loss"] != evaluated(runs, "resnet")["recalibrated"]["loss"]


def test_saved_weights_evaluate_as_recalibrated(runs: Path, tmp_path: Path) -> None:
    """A copy of the run with the saved weights for its best: its running statistics are the recalibrated."""
    saved = tmp_path / "recalibrated.pt"
    found = evaluated(runs, "stale", "checkpoint=last", f"save={saved}")
    copied = tmp_path / "runs" / "x" / "stale"
    shutil.copytree(runs / "x" / "stale", copied)
    shutil.copy(saved, copied / "best.pt")
    again = evaluated(tmp_path / "runs", "stale", "checkpoint=best")
    assert again["running"] == found["recalibrated"]
    assert again["step"] == found["step"]
    weights = torch.load(saved, weights_only=True)["model"]
    last = torch.load(copied / "last.pt", weights_only=True)["model"]
    changed = {name for name, value in last.items() if not torch.equal(value, weights[name])}
    assert changed == {name for name in last if name.endswith(("running_mean", "running_var"))}


@pytest.mark.parametrize("name, pairs", [("fine", 1), ("resnet", 9)])
def test_folding_tells_pairs_difference_and_speed(
    runs: Path, capsys: pytest.CaptureFixture[str], name: str, pairs: int
) -> None:
    fold = evaluated(runs, name, "fold=true")["fold"]
    assert len(fold["norms"]) == pairs
    # float32 logits through at most ten layers: some 1e-7 of the largest for each
    assert 0 < fold["largest_difference"] < 1e-5 * fold["largest_logit"]
    assert fold["speedup"] > 0
    assert f"{pairs} pair" in capsys.readouterr().out


def test_initial_weights_are_not_what_is_evaluated(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "x" / "fine"
    shutil.copytree(runs / "x" / "fine", copied)
    best = torch.load(copied / "best.pt", weights_only=True)
    torch.save({**best, "step": 0}, copied / "best.pt")
    assert evaluated(tmp_path, "fine")["checkpoint"] == "last"
    assert "note: the best weights are the initial ones" in " ".join(capsys.readouterr().out.split())
    assert evaluated(tmp_path, "fine", "checkpoint=best")["step"] == 0


@pytest.mark.parametrize(
    "name, words, told",
    [
        ("none", ("fold=true",), "fold=true needs a norm with running statistics right behind a weight"),
        ("none", ("save=new.pt",), "save=new.pt: there are no recalibrated statistics"),
        ("fine", ("save=no/such/folder.pt",), "save must name a new file"),
        ("fine", ("save=here.pt",), "save must name a new file"),
        ("fine", ("checkpoint=first",), "checkpoint must be one of best, last, got 'first'"),
        ("fine", ("samples=1",), "samples must be at least 2, got 1"),
        ("fine", ("samples=many",), "samples must be a whole number, got 'many'"),
        ("fine", ("fold=yes-please",), "fold must be true or false, got 'yes-please'"),
        ("fine", ("sample=100",), "(did you mean samples?)"),
        ("fine", ("fold",), "fold: eval takes KEY=VALUE"),
        ("fine", ("device=",), "device must not be empty"),
        ("fine", ("device=abacus",), "device must be auto, cpu, cuda"),
        ("nothing", (), "no run 'nothing'"),
    ],
)
def test_a_mistake_is_one_line(
    runs: Path, folder: Path, capsys: pytest.CaptureFixture[str], name: str, words: tuple[str, ...], told: str
) -> None:
    (folder / "here.pt").write_text("somebody's")
    lines = refused(runs, capsys, name, *words)
    assert len(lines) == 1 and told in lines[0]
    assert (folder / "here.pt").read_text() == "somebody's" and not (folder / "new.pt").exists()


def test_several_mistakes_are_told_together(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(refused(runs, capsys, "fine", "samples=0", "fold=1", "chekpoint=last")) == 3


def test_a_run_without_weights_is_one_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "x" / "fine"
    shutil.copytree(runs / "x" / "fine", copied)
    (copied / "best.pt").unlink()
    (line,) = refused(tmp_path, capsys, "fine")
    assert "has no best.pt to evaluate: take checkpoint=last" in line
