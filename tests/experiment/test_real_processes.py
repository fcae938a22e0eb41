"""Signals to real processes: Ctrl-C, SIGTERM and kills that no program can catch."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from whole_runs import SMALL, STEPS_PER_EPOCH, Ran, Train, assert_same, assert_same_run, resume

from bnexp import cli
from bnexp.runs.directory import RunDirectory, status

ENDLESS = ("epochs=100000", "schedule=constant", "model=mlp", "model.hidden=[20]")
DEADLINE_S = 120

# What becomes of each process, by code that it runs first: at one place, whatever the speed of the machine.
FATES = {
    "killed": """
        group = TrainBatches.group
        def deadly(self, step):
            if step == 8:
                os.kill(os.getpid(), signal.SIGKILL)
            return group(self, step)
        TrainBatches.group = deadly
    """,
    "killed_early": """
        torch.save = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
    """,
    "terminated": """
        update = Learner.update
        def signalled(self):
            if self.optimizer.state:
                os.kill(os.getpid(), signal.SIGTERM)
            update(self)
        Learner.update = signalled
    """,
    "broken": """
        def broken(self, group):
            raise ZeroDivisionError("in the network")
        Learner.compute_gradients = broken
    """,
}

# One process imports everything and forks once for each fate; the children run on alone from there.
NURSERY = """
import json, os, signal, sys, textwrap
import tensorboard.compat.proto.summary_pb2
import torch.utils.tensorboard
from bnexp.cli import main
from bnexp.commands import train
from bnexp.data.batches import TrainBatches
from bnexp.engine.learner import Learner

codes = {}
for fate, (code, words) in json.loads(sys.argv[1]).items():
    child = os.fork()
    if child == 0:
        sys.stderr = open(fate + ".err", "w")
        exec(textwrap.dedent(code))
        main(["train", *words])
    codes[fate] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(codes))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def codes(folder: Path) -> dict[str, int]:
    """The exit code of each process of FATES; its run is in the folder of its name."""
    jobs = {fate: (code, words(folder / fate)) for fate, code in FATES.items()}
    program = [sys.executable, "-c", NURSERY, json.dumps(jobs)]
    done = subprocess.run(program, cwd=folder, stdout=subprocess.PIPE, timeout=DEADLINE_S, check=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def words(path: Path, *more: str) -> list[str]:
    keys = [word.partition("=")[0] for word in more]
    small = [word for word in SMALL if word.partition("=")[0] not in keys]
    return [*small, *more, f"output_dir={path}"]


def test_ctrl_c_ends_the_bnexp_command_after_its_step(
    folder: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    """The interrupted weights are those of a run of so many steps; meanwhile nobody else may use the run."""
    ran = Ran(RunDirectory(folder / "endless"))
    command = [str(Path(sys.executable).with_name("bnexp")), "train", *words(ran.path, *ENDLESS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: rows(ran.path) > 3)
            assert status(ran.directory) == "running"
            assert cli.run(["resume", str(ran.path)]) == 2
            assert f"in use by process {process.pid}" in capsys.readouterr().err
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert process.returncode == 130
    assert f"bnexp resume {ran.path}" in out
    assert ran.result["status"] == "interrupted" == status(ran.directory)
    reference = train(*ENDLESS[1:], f"steps={ran.result['step']}")
    assert_same(ran.last["model"], reference.last["model"])
    assert ran.column("loss/train") == reference.column("loss/train")[:-1]  # which also has its end


def test_sigterm_ends_a_run_after_its_step(folder: Path, codes: dict[str, int], settled: Train) -> None:
    """The signal comes during the second update."""
    ran = Ran(RunDirectory(folder / "terminated"))
    assert codes["terminated"] == 130
    assert (ran.result["status"], ran.result["step"]) == ("interrupted", 2)
    assert_same_run(resume(ran), settled())


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    folder: Path, codes: dict[str, int], settled: Train
) -> None:
    """It dies in the second epoch; result.json and the last rows are missing."""
    ran = Ran(RunDirectory(folder / "killed"))
    assert codes["killed"] == -signal.SIGKILL
    assert not ran.directory.result_file.exists()
    assert status(ran.directory) == "interrupted"
    assert ran.last["state"]["step"] == STEPS_PER_EPOCH
    assert_same_run(resume(ran), settled())


def test_a_run_killed_before_its_first_checkpoint_starts_over(
    folder: Path, codes: dict[str, int], settled: Train
) -> None:
    ran = Ran(RunDirectory(folder / "killed_early"))
    assert codes["killed_early"] == -signal.SIGKILL
    assert not list(ran.path.glob("*.pt"))
    assert_same_run(resume(ran), settled())


def test_a_bug_ends_the_process_with_code_1_and_its_traceback(folder: Path, codes: dict[str, int]) -> None:
    printed = (folder / "broken.err").read_text()
    assert codes["broken"] == 1
    assert "Traceback (most recent call last)" in printed
    assert printed.splitlines()[-1] == "ZeroDivisionError: in the network"
    assert Ran(RunDirectory(folder / "broken")).result["status"] == "failed"


def rows(path: Path) -> int:
    try:
        text = (path / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return 0
    return sum(1 for line in text.splitlines() if json.loads(line))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
