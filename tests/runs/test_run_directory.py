"""Run directories under real processes: unique names, locks, whole files, and finding a run again."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnexp.errors import CheckpointError, ConfigError
from bnexp.runs import directory
from bnexp.runs.directory import RunDirectory, create, create_at, open_run, status
from bnexp.runs.lookup import find

CREATE = """
import sys, time
from pathlib import Path
from bnexp.runs.directory import create
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
for _ in range(25):
    print(create(Path(sys.argv[1]), "default", "custom-b8-lenet-digits-s0").path.name)
"""
HOLD = """
import sys, time
from pathlib import Path
from bnexp.runs.directory import open_run
with open_run(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""
REWRITE = """
import sys
from pathlib import Path
from bnexp.runs.directory import open_run
run = open_run(Path(sys.argv[1]))
print("started", flush=True)
for turn in range(10**6):
    run.write_result({"status": "finished", "turn": turn, "padding": "x" * 300_000})
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def new_run(root: Path, name: str = "default/first") -> RunDirectory:
    run = create_at(root / name)
    run.write_config("seed: 0\n")
    return run


@pytest.fixture
def run(tmp_path):
    return new_run(tmp_path)


def test_processes_started_in_one_second_get_folders_of_their_own(tmp_path):
    processes = [start(CREATE, tmp_path, time.time() + 0.5) for _ in range(8)]
    names = [name for process in processes for name in process.communicate()[0].split()]
    assert len(names) == len(set(names)) == 200
    assert sorted(names) == sorted(os.listdir(tmp_path / "default"))


def test_a_name_that_is_taken_is_not_given_again(tmp_path, monkeypatch):
    ends = iter(["0000", "0000", "0000", "00ff"])
    monkeypatch.setattr(directory.secrets, "token_hex", lambda _: next(ends))
    monkeypatch.setattr(directory.time, "strftime", lambda *_: "20260102-030405")
    assert create(tmp_path, "default", "a").path == tmp_path / "default" / "a_20260102-030405-0000"
    assert create(tmp_path, "default", "a").path == tmp_path / "default" / "a_20260102-030405-00ff"


def test_a_created_folder_cannot_leave_the_root(tmp_path):
    path = create(tmp_path / "runs", "../../outside", "a/b").path
    assert path.parent.parent == tmp_path / "runs"


@pytest.mark.parametrize("make", [lambda root: create(root, "default", "a"), create_at])
def test_a_root_that_is_a_file_is_the_users_mistake(tmp_path, make):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"_dir must be a folder that can be written, .*/file") as caught:
        make(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_create_at_takes_an_existing_folder_with_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert create_at(tmp_path).path == tmp_path
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "trace",
    ["config.yaml", "result.json", "best.pt", "metrics.jsonl", "events.out.tfevents.1.h.2.0"],
)
def test_create_at_refuses_a_folder_that_holds_a_run(tmp_path, trace):
    (tmp_path / trace).write_text("")
    with pytest.raises(ConfigError, match=f"must hold no run, .* has {trace}: .*bnexp resume") as caught:
        create_at(tmp_path)
    assert "\n" not in str(caught.value)


def test_create_at_takes_what_a_process_that_died_early_left_and_nothing_in_use(tmp_path):
    lock = RunDirectory(tmp_path).lock_file
    lock.write_text("process 1 on host\n")
    assert create_at(tmp_path).path == tmp_path
    with (
        RunDirectory(tmp_path).lock(),
        pytest.raises(ConfigError, match=r"must hold no run, .* has run\.lock"),
    ):
        create_at(tmp_path)


def test_a_folder_without_config_is_no_run(tmp_path):
    with pytest.raises(CheckpointError, match=r"a run holds config\.yaml"):
        open_run(tmp_path)


def test_a_second_process_is_refused_and_told_who_holds_the_run(run):
    holder = start(HOLD, run.path)
    assert said(holder) == "held"
    try:
        assert status(run) == "running"
        with pytest.raises(CheckpointError, match=f"in use by process {holder.pid} on "), run.lock():
            pass
    finally:
        kill(holder)


def test_a_killed_holder_frees_the_run(run):
    holder = start(HOLD, run.path)
    assert said(holder) == "held"
    kill(holder)
    assert status(run) == "interrupted"
    with run.lock():
        assert run.lock_file.read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"


def test_the_lock_is_free_after_an_exception(run):
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock():
        assert status(run) == "running"
    assert status(run) == "interrupted"


def test_asking_for_the_status_takes_the_lock_from_nobody(run):
    with run.lock():
        assert status(run) == "running"
        assert status(run) == "running"
    watcher = start(
        "import sys; from pathlib import Path; from bnexp.runs.directory import *\n"
        "run = open_run(Path(sys.argv[1])); print('watching', flush=True)\n"
        "while True: status(run)",
        run.path,
    )
    assert said(watcher) == "watching"
    try:
        for _ in range(500):
            with run.lock():
                pass
    finally:
        kill(watcher)


@pytest.mark.parametrize("ended", ["finished", "stopped_early", "diverged", "interrupted", "failed"])
def test_the_status_of_a_run_that_ended_is_its_results(run, ended):
    run.write_result({"status": ended})
    assert status(run) == ended


@pytest.mark.parametrize("ended", ["interrupted", "failed"])
def test_a_resumed_run_is_running_although_it_has_a_result(run, ended):
    run.write_result({"status": ended})
    with run.lock():
        assert status(run) == "running"


@pytest.mark.parametrize("ended", ["finished", "stopped_early", "diverged"])
def test_an_answer_stands_before_its_process_has_let_go(run, ended):
    with run.lock():
        run.write_result({"status": ended})
        assert status(run) == ended


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"status": "great"}', "\x00\xff"])
def test_a_run_with_an_unreadable_result_is_broken(run, content):
    run.result_file.write_text(content, encoding="latin-1")
    assert status(run) == "broken"
    with pytest.raises(CheckpointError, match=r"result\.json"):
        run.read_result()


def test_folders_that_are_no_runs_are_broken(tmp_path):
    (tmp_path / "folder" / "result.json").mkdir(parents=True)
    for name in ("folder", "absent"):
        assert status(RunDirectory(tmp_path / name)) == "broken"


def test_a_result_comes_back_with_null_for_what_json_has_no_number_for(run):
    assert run.read_result() is None
    run.write_result(
        {
            "status": "diverged",
            "loss/test": math.nan,
            "nested": {"list": [1, math.inf, (-math.inf,)]},
            "x": 0.1,
        }
    )
    assert run.read_result() == {
        "status": "diverged",
        "loss/test": None,
        "nested": {"list": [1, None, [None]]},
        "x": 0.1,
    }


def test_a_reader_never_sees_half_a_result_and_a_kill_leaves_a_whole_one(run):
    run.write_result({"status": "finished", "turn": -1, "padding": ""})
    for _ in range(2):
        writer, turns = start(REWRITE, run.path), set()
        assert said(writer) == "started"
        deadline = time.monotonic() + 60  # of a machine that does not move; usually it takes milliseconds
        while len(turns) < 20 and time.monotonic() < deadline:
            turns.add(json.loads(run.result_file.read_text())["turn"])
        kill(writer)
        assert len(turns) == 20 and status(run) == "finished"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(run, monkeypatch):
    run.write_result({"status": "finished"})
    before = sorted(os.listdir(run.path))
    with pytest.raises(TypeError):
        run.write_result({"status": "failed", "what": object()})

    def disk_full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        run.write_result({"status": "failed"})
    assert run.read_result() == {"status": "finished"}
    assert sorted(os.listdir(run.path)) == before


def test_a_run_is_found_by_path_by_name_and_by_place_under_the_root(tmp_path, monkeypatch):
    path = new_run(tmp_path / "runs", "default/first").path
    monkeypatch.chdir(tmp_path)
    for reference in (str(path), "runs/default/first", "default/first", "first"):
        assert find(reference, Path("runs")).resolve() == path


def test_last_is_the_newest_by_creation_even_after_older_ones_were_touched(tmp_path):
    names = [
        "b/a-s0_20260102-030405-aaaa",
        "a/a-s0_20260102-030406-0000",
        "c/a-s0_20251231-235959-ffff",
    ]
    for name in names:
        new_run(tmp_path, name)
    os.utime(tmp_path / names[2] / "config.yaml")
    assert find("last", tmp_path) == tmp_path / names[1]


def test_last_knows_folders_with_names_of_the_users_own(tmp_path):
    for age, name in enumerate(["default/mine", "default/older_20260102-030405-aaaa", "default/older"]):
        moment = time.mktime((2026, 1, 2, 3, 4, 6 - age, 0, 0, -1))
        os.utime(new_run(tmp_path, name).config_file, (moment, moment))
    assert find("last", tmp_path) == tmp_path / "default/mine"


def test_a_misspelt_name_gets_the_nearest(tmp_path):
    for name in (
        "custom-b8-lenet-digits-s0_20260102-030405-aaaa",
        "none-b64-mlp-mnist-s1_20260102-030405-bbbb",
    ):
        new_run(tmp_path, f"default/{name}")
    with pytest.raises(CheckpointError, match=r"among the 2 .* nearest are 'custom-b8-lenet") as caught:
        find("custm-b8-lenet-digits", tmp_path)
    assert "none-b64" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_two_experiments_have_asks_for_a_path(tmp_path):
    for experiment in ("a", "b"):
        new_run(tmp_path, f"{experiment}/twin")
    with pytest.raises(CheckpointError, match=r"several runs, give a path: .*/a/twin, .*/b/twin"):
        find("twin", tmp_path)
    assert find("b/twin", tmp_path) == tmp_path / "b/twin"


@pytest.mark.parametrize("reference", ["last", "first"])
def test_without_runs_the_message_says_how_to_make_one(tmp_path, reference):
    with pytest.raises(CheckpointError, match="holds no runs yet; `bnexp train`"):
        find(reference, tmp_path / "absent")


def test_looking_at_runs_does_not_wait_for_torch():
    code = "import sys, bnexp.runs.directory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
