"""A sweep's record finds its runs where they are now."""

from __future__ import annotations

import shutil
from pathlib import Path

from bnexp.runs import sweeps
from bnexp.runs.sweeps import Job, Sweep


def recorded(root: Path, run: Path) -> Sweep:
    """Return a sweep of one job under `root` whose run is `run`, which holds a configuration."""
    sweep = Sweep(root / "default/sweeps/one.json", ["-m"], [], [Job(["seed=1"], "0" * 16, "seed: 1\n")], [])
    sweep.write()
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("norm: {}\n", encoding="utf-8")
    sweep.add(0, "started", run)
    return sweep


def test_a_copied_folder_of_runs_finds_its_own_runs(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    recorded(first, first / "default/a")
    shutil.copytree(first, second)
    (run,) = sweeps.read(second / "default/sweeps/one.json").runs().values()
    assert run.path == second / "default/a"


def test_a_moved_folder_of_runs_finds_its_runs(tmp_path, monkeypatch):
    recorded(tmp_path / "first", tmp_path / "first/default/a")
    (tmp_path / "first").rename(tmp_path / "second")
    monkeypatch.chdir(tmp_path / "second/default/sweeps")
    (run,) = sweeps.read(Path("one.json")).runs().values()
    assert run.path == tmp_path / "second/default/a"


def test_a_run_elsewhere_is_found_where_it_was(tmp_path):
    sweep = recorded(tmp_path / "runs", tmp_path / "elsewhere/my run")
    (run,) = sweep.runs().values()
    assert run.path == tmp_path / "elsewhere/my run"
