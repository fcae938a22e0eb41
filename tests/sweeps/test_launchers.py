"""Launchers and sweepers that are extras, on real processes of their own."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from real_sweeps import (
    FEW,
    PATIENCE_S,
    QUICK,
    alive,
    begun,
    bnexp,
    descendants,
    events,
    results,
    started,
    wait_for,
)

from bnexp.composition.words import key
from bnexp.errors import ConfigError
from bnexp.sweeps.hydra_words import completed


def installed(module: str, extra: str) -> pytest.MarkDecorator:
    reason = f"needs pip install 'bnexp[{extra}]'"
    return pytest.mark.skipif(find_spec(f"hydra_plugins.{module}") is None, reason=reason)


@pytest.mark.slow
@installed("hydra_ray_launcher", "ray")
def test_three_jobs_run_on_a_local_ray_cluster(tmp_path: Path) -> None:
    """In processes of Ray's, with the results of one process."""
    words = ("-m", "norm=custom,none,group", *QUICK)
    cluster = ("hydra/launcher=ray", "+hydra.launcher.ray.init.include_dashboard=false")
    (tmp_path / "ray").mkdir()
    (tmp_path / "here").mkdir()
    done = bnexp(tmp_path / "ray", "train", *words, *cluster)
    assert done.returncode == 0, done.stderr
    assert bnexp(tmp_path / "here", "train", *words).returncode == 0
    on_ray, here = results(tmp_path / "ray"), results(tmp_path / "here")
    assert on_ray.keys() == here.keys()
    assert len(on_ray) == 3
    for found, result in here.items():
        assert on_ray[found]["status"] == "finished"
        assert on_ray[found]["loss/test"] == result["loss/test"]
    workers = {event["process"] for event in events(tmp_path / "ray")}
    assert workers.isdisjoint(event["process"] for event in events(tmp_path / "here"))


@pytest.mark.slow
@installed("hydra_optuna_sweeper", "optuna")
def test_optuna_chooses_jobs_and_learns_their_validation_accuracy(tmp_path: Path) -> None:
    words = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=1")
    done = bnexp(
        tmp_path, "train", *words, "optimizer.lr=interval(0.01,0.1)", "norm=custom,group", "decay=0.8", *QUICK
    )
    assert done.returncode == 0, done.stderr
    found = list(results(tmp_path).values())
    assert len(found) == 3
    assert {result["config"]["momentum"] for result in found} == {0.2}
    assert all(0.01 <= result["config"]["optimizer"]["lr"] <= 0.1 for result in found)
    (best,) = tmp_path.glob("runs/*/sweeps/*.launcher/optimization_results.yaml")
    worth = next(float(line.split()[1]) for line in best.read_text().splitlines() if "best_value" in line)
    assert worth == max(result["accuracy/val"] for result in found)
    (record,) = tmp_path.glob("runs/*/sweeps/*.json")
    assert [job["config_hash"] for job in json.loads(record.read_text())["jobs"]] == [
        result["config_hash"] for result in sorted(found, key=lambda result: order(tmp_path, result))
    ]
    assert len(json.loads(bnexp(tmp_path, "runs", f"sweep={record.stem}", "--json").stdout)) == 3


@pytest.mark.slow
@installed("hydra_joblib_launcher", "joblib")
def test_joblib_runs_jobs_and_its_workers_end_with_the_launcher(tmp_path: Path) -> None:
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    done = bnexp(tmp_path, "train", "-m", "seed=0,1", "data.train_size=100", "epochs=1", *joblib)
    assert done.returncode == 0, done.stderr
    assert len({event["process"] for event in events(tmp_path)}) == 2
    before = begun(tmp_path)
    with started(tmp_path, "train", "-m", "seed=range(2,6)", *FEW, "epochs=20", *joblib) as process:
        wait_for(lambda: begun(tmp_path) == before + 2)
        workers = descendants(process.pid)
        process.kill()
        wait_for(lambda: not alive(workers))
    assert begun(tmp_path) == before + 2
    statuses = sorted(result["status"] for result in results(tmp_path).values())
    assert statuses == ["finished", "finished", "interrupted", "interrupted"]


@pytest.mark.slow
@installed("hydra_optuna_sweeper", "optuna")
def test_ctrl_c_lets_the_running_trials_of_a_search_save(tmp_path: Path) -> None:
    optuna = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=3")
    words = ("-m", *optuna, "optimizer.lr=interval(0.01,0.1)", "epochs=50", "--jobs", "2")
    with started(tmp_path, "train", *words, stderr=subprocess.PIPE) as process:
        wait_for(lambda: begun(tmp_path) == 2)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and "Traceback" not in said
    assert [result["status"] for result in results(tmp_path).values()] == ["interrupted"] * 2
    (record,) = tmp_path.glob("runs/*/sweeps/*.json")
    assert len(json.loads(record.read_text())["jobs"]) == 2


@pytest.mark.slow
@installed("hydra_optuna_sweeper", "optuna")
def test_ctrl_c_ends_a_search_and_its_record_keeps_what_ran(tmp_path: Path) -> None:
    words = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "optimizer.lr=interval(0.01,0.1)")
    with started(tmp_path, "train", *words, "epochs=50") as process:
        wait_for(lambda: bool(events(tmp_path)))
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    (record,) = tmp_path.glob("runs/*/sweeps/*.json")
    assert len(json.loads(record.read_text())["jobs"]) == 1
    assert [result["status"] for result in results(tmp_path).values()] == ["interrupted"]


def order(folder: Path, result: dict) -> float:
    jobs = {event["run"]: event["job"] for event in events(folder)}
    for run, job in jobs.items():
        if json.loads((Path(run) / "result.json").read_text())["config_hash"] == result["config_hash"]:
            return job
    return math.inf


def test_jobs_is_a_launcher_of_bnexps_own() -> None:
    words = completed(["norm=custom", "hydra.job.name=mine"], jobs=3)
    assert words == ["hydra.job.name=mine", "hydra/launcher=bnexp", "hydra.launcher.jobs=3"]
    assert completed(["norm=custom"], jobs=1) == []


@pytest.mark.parametrize(
    ("words", "jobs", "told"),
    [
        (["hydra/launcher=ray"], 2, "leave it out or leave hydra/launcher"),
        ([], 0, "--jobs must be at least 1, got 0"),
    ],
)
def test_mistakes_about_launchers_are_told(words: list[str], jobs: int, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        completed(words, jobs)


@pytest.mark.parametrize(("launcher", "extra"), [("submitit_slurm", "slurm"), ("joblib", "joblib")])
def test_a_missing_extra_is_named(launcher: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnexp.sweeps.hydra_words.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"pip install 'bnexp\[{extra}\]'"):
        completed([f"hydra/launcher={launcher}"], None)


def test_a_cluster_that_runs_is_joined_without_a_size_of_memory() -> None:
    """Ray refuses object_store_memory then, and Hydra's launcher would give it one."""
    joined = completed(["hydra/launcher=ray", "hydra.launcher.ray.init.address=auto"], None)
    assert "hydra.launcher.ray.init.object_store_memory" in map(key, joined)
    assert completed(["hydra/launcher=ray"], None) == ["hydra/launcher=ray"]
