"""Sweeps on real worker processes: killed, gone on with, and equal bit for bit to one job after the other."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from real_sweeps import (
    FEW,
    TWELVE,
    alive,
    begun,
    bnexp,
    descendants,
    ended,
    events,
    kill_all,
    results,
    started,
    wait_for,
)

CLOCK = ("seconds", "examples_per_second", "peak_memory_bytes", "command", "git_dirty", "config")
LEFT_BY_WORKERS_S = 10.0


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the twelve-job sweep, run in one process."""
    folder = tmp_path_factory.mktemp("one_by_one")
    done = bnexp(folder, "train", *TWELVE)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def killed_half_way(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same sweep on two workers, killed half-way with all its processes, started again."""
    folder = tmp_path_factory.mktemp("killed")
    with started(folder, "train", *TWELVE, "--jobs", "2") as process:
        wait_for(lambda: ended(folder) >= 5 and begun(folder) > ended(folder))
        kill_all(process)
    assert ended(folder) < 12
    done = bnexp(folder, "train", *TWELVE, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_a_killed_sweep_ends_with_every_run_once(killed_half_way: Path) -> None:
    assert Counter(result["status"] for result in results(killed_half_way).values()) == {"finished": 12}
    assert len(list(killed_half_way.glob("runs/*/*/config.yaml"))) == 12
    finished = Counter(event["job"] for event in events(killed_half_way) if event["what"] == "ended")
    assert finished == {job: 1 for job in range(12)}


@pytest.mark.slow
def test_the_run_that_was_cut_off_was_gone_on_with(killed_half_way: Path) -> None:
    """It has two starts in one folder; the clock of the second began where the first had saved."""
    starts: dict[int, list[str]] = {}
    for event in events(killed_half_way):
        if event["what"] == "started":
            starts.setdefault(event["job"], []).append(event["run"])
    cut_off = [folders for folders in starts.values() if len(folders) > 1]
    assert cut_off
    assert all(len(set(folders)) == 1 for folders in cut_off)


@pytest.mark.slow
def test_workers_and_kills_change_no_bit(one_by_one: Path, killed_half_way: Path) -> None:
    alone, together = results(one_by_one), results(killed_half_way)
    assert alone.keys() == together.keys()
    for found, result in alone.items():
        kept = {key: value for key, value in result.items() if key not in CLOCK}
        assert {key: value for key, value in together[found].items() if key not in CLOCK} == kept


@pytest.mark.slow
def test_the_same_words_again_have_nothing_to_do(one_by_one: Path) -> None:
    before = results(one_by_one)
    done = bnexp(one_by_one, "train", *TWELVE)
    assert done.returncode == 0
    assert "nothing is left to do" in done.stdout
    assert results(one_by_one) == before


@pytest.mark.slow
def test_compare_shows_what_the_sweep_found(killed_half_way: Path) -> None:
    (record,) = killed_half_way.glob("runs/*/sweeps/*.json")
    done = bnexp(killed_half_way, "compare", record.stem, "--baseline", "norm=none", "--json")
    rows = json.loads(done.stdout)
    expected = {
        (norm, size): [
            result["accuracy/test"]
            for result in results(killed_half_way).values()
            if (result["config"]["choices"]["norm"], result["config"]["batch_size"]) == (norm, size)
        ]
        for norm in ("custom", "none", "group")
        for size in (8, 16)
    }
    assert {(row["choices"]["norm"], row["choices"]["batch_size"]) for row in rows} == expected.keys()
    for row in rows:
        values = expected[row["choices"]["norm"], row["choices"]["batch_size"]]
        assert row["n"] == len(values) == 2
        assert row["accuracy/test"]["mean"] == pytest.approx(sum(values) / 2, rel=1e-12)


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """Only the parent is killed: no worker goes on, no queued job is begun, and running ones have saved."""
    words = ("-m", "seed=range(0,4)", *FEW, "epochs=20", "--jobs", "2")
    with started(tmp_path, "train", *words) as process:
        wait_for(lambda: begun(tmp_path) == 2)
        workers = descendants(process.pid)
        assert {event["process"] for event in events(tmp_path)} <= alive(workers)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda: not alive(workers), LEFT_BY_WORKERS_S)
    assert begun(tmp_path) == 2
    assert {result["status"] for result in results(tmp_path).values()} == {"interrupted"}


@pytest.mark.slow
def test_a_sweep_may_be_started_again_while_its_orphans_still_save(tmp_path: Path) -> None:
    words = ("-m", "seed=range(0,3)", *FEW, "epochs=10", "--jobs", "2")
    with started(tmp_path, "train", *words) as process:
        wait_for(lambda: begun(tmp_path) == 2)
        os.kill(process.pid, signal.SIGKILL)
        done = bnexp(tmp_path, "train", *words)
    assert done.returncode == 0, done.stderr
    assert [result["status"] for result in results(tmp_path).values()] == ["finished"] * 3


@pytest.mark.slow
def test_one_ctrl_c_lets_running_jobs_save_and_starts_no_other(tmp_path: Path) -> None:
    words = ("-m", "seed=range(0,6)", *FEW, "epochs=30", "--jobs", "2")
    with started(tmp_path, "train", *words) as process:
        wait_for(lambda: begun(tmp_path) == 2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    assert {result["status"] for result in results(tmp_path).values()} == {"interrupted"}
    assert begun(tmp_path) == ended(tmp_path) == 2


@pytest.mark.slow
def test_workers_without_a_job_end_with_the_launcher_and_outlive_a_ctrl_c(tmp_path: Path) -> None:
    """Six workers, of which two have a long job and the others had short ones, or none but to plan."""
    rows = "\n".join(f"{seed},{100 if seed < 2 else 1}" for seed in range(6))
    (tmp_path / "trials.csv").write_text(f"seed,epochs\n{rows}\n")
    words = ("--trials", "trials.csv", *FEW, "--jobs", "6")
    for number, ends, starts in ((signal.SIGINT, 130, 6), (signal.SIGKILL, -signal.SIGKILL, 8)):
        with started(tmp_path, "train", *words) as process:
            wait_for(lambda goal=starts: begun(tmp_path) == goal and ended(tmp_path) >= 4)
            workers = descendants(process.pid)
            assert len(workers) >= 7
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            assert process.wait(60) == ends
            wait_for(lambda left=workers: not alive(left), LEFT_BY_WORKERS_S)
        statuses = Counter(result["status"] for result in results(tmp_path).values())
        assert statuses == {"finished": 4, "interrupted": 2}
