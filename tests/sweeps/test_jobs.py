"""What one job leaves to the next: nothing, neither its settings nor its failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from real_sweeps import QUICK, bnexp, events, results

NORMS = """
import os
import signal
import torch
from torch import nn

class Breaking(nn.Module):
    removes_channel_mean = True
    def __init__(self, num_features, spatial, *, after: int = 3):
        super().__init__()
        self.after, self.calls = after, 0
    def forward(self, x):
        self.calls += self.training
        if self.calls > self.after > 0:
            raise ZeroDivisionError("in a norm")
        return x

class Unbuilt(Breaking):
    def __init__(self, num_features, spatial, *, after: int = 3):
        super().__init__(num_features, spatial, after=0)
        if after and os.path.exists("runs") == (after == 1):
            os.kill(os.getpid(), signal.SIGKILL)

class Killing(Breaking):
    def forward(self, x):
        self.calls += self.training
        if self.calls > self.after > 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return x
"""
# Each leaves something on a process: threads, determinism, dtypes, autotuning, random streams, warnings.
UNLIKE = """
data.train_size,batch_size,norm,precision,deterministic,threads,model,seed
100,8,custom,float32,true,1,lenet,0
100,16,none,bfloat16,false,2,simple_cnn,1
80,8,noisy,float32,false,1,lenet,2
100,8,renorm,float32,false,1,mlp,3
100,16,custom,float16,true,1,lenet,4
100,8,custom,float32,false,1,classifier,5
100,8,sync,float32,false,1,lenet,6
100,8,group,float32,false,1,mlp,7
100,8,running,float32,false,1,lenet,8
120,16,custom,float32,false,1,simple_cnn,9
"""


@pytest.fixture
def breaking(tmp_path: Path) -> Path:
    (tmp_path / "mynorms.py").write_text(NORMS)
    (tmp_path / "bnexp_conf" / "norm").mkdir(parents=True)
    (tmp_path / "bnexp_conf" / "norm" / "breaking.yaml").write_text(
        "# Breaks.\n_target_: mynorms.Breaking\n_partial_: true\nafter: 3\n"
    )
    return tmp_path


@pytest.mark.slow
def test_the_tenth_job_has_the_bits_of_the_same_run_alone(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text(UNLIKE.strip())
    (tmp_path / "alone").mkdir()
    done = bnexp(tmp_path, "train", "--trials", "trials.csv", "epochs=1")
    assert done.returncode == 0, done.stderr
    tenth = max(events(tmp_path), key=lambda event: event["job"])
    assert tenth["job"] == 9
    header, *_, last = UNLIKE.strip().splitlines()
    words = [f"{key}={value}" for key, value in zip(header.split(","), last.split(","), strict=True)]
    assert bnexp(tmp_path / "alone", "train", *words, "epochs=1").returncode == 0
    (alone,) = (tmp_path / "alone").glob("runs/*/*/metrics.jsonl")
    assert rows(Path(tenth["run"]) / "metrics.jsonl") == rows(alone)


def rows(path: Path) -> list[dict]:
    """Return the rows without what the clock says."""
    clock = ("examples_per_second",)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{tag: value for tag, value in row.items() if tag not in clock} for row in found]


@pytest.mark.slow
def test_a_failed_job_is_told_at_once_and_stops_no_other(breaking: Path) -> None:
    words = ("norm=breaking", "norm.after=0,3", "seed=0,1", *QUICK)
    done = bnexp(breaking, "train", "-m", *words, "--plugin", "mynorms", "--jobs", "2")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    failures = [number for number, line in enumerate(lines) if "failed: ZeroDivisionError: in a norm" in line]
    finishes = [number for number, line in enumerate(lines) if "finished, test accuracy" in line]
    assert len(failures) == len(finishes) == 2
    closing_table = next(number for number, line in enumerate(lines) if line.startswith("words "))
    assert min(failures) < closing_table
    assert "2 of 4 jobs are left; go on with: bnexp resume" in lines[-1]
    statuses = sorted(result["status"] for result in results(breaking).values())
    assert statuses == ["failed", "failed", "finished", "finished"]
    for log in breaking.glob("runs/*/*/log.txt"):
        failed = json.loads((log.parent / "result.json").read_text())["status"] == "failed"
        assert ("ZeroDivisionError: in a norm" in log.read_text()) == failed


@pytest.mark.slow
def test_a_job_whose_process_dies_has_failed_and_others_go_on(breaking: Path) -> None:
    """As for want of memory. What ran beside it does not notice."""
    own_norm(breaking, "Killing")
    words = ("norm=killing", "norm.after=0,3", "seed=0,1", *QUICK)
    done = bnexp(breaking, "train", "-m", *words, "--plugin", "mynorms", "--jobs", "2")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("failed: its process died") == 2
    assert "2 of 4 jobs are left" in done.stdout.splitlines()[-1]
    assert closing(done.stdout) == ["finished", "finished", "failed", "failed"]
    starts = Counter(event["job"] for event in events(breaking) if event["what"] == "started")
    assert starts == {0: 1, 1: 1, 2: 2, 3: 2}
    logs = [log.read_text() for log in breaking.glob("runs/*/*/log.txt")]
    assert sorted("failed: its process died" in log for log in logs) == [False, False, True, True]
    alone = bnexp(breaking, "train", *words[:1], "norm.after=0", *QUICK, "threads=1", "--plugin", "mynorms")
    assert alone.returncode == 0
    found = [json.loads(file.read_text()) for file in breaking.glob("runs/*/*/result.json")]
    losses = [result["loss/test"] for result in found if result["config"]["seed"] == 0]
    assert len(losses) == 2 and len(set(losses)) == 1


def closing(text: str) -> list[str]:
    """Return the statuses in the closing table."""
    return [line.split()[2] for line in text.splitlines() if line.startswith("norm.after=")]


def own_norm(folder: Path, name: str) -> None:
    (folder / "bnexp_conf" / "norm" / f"{name.lower()}.yaml").write_text(
        f"# Dies.\n_target_: mynorms.{name}\n_partial_: true\nafter: 3\n"
    )


@pytest.mark.slow
def test_a_job_whose_process_dies_before_it_begins_has_failed(breaking: Path) -> None:
    own_norm(breaking, "Unbuilt")
    words = ("norm=unbuilt", "norm.after=0,1", "seed=0,1", *QUICK)
    done = bnexp(breaking, "train", "-m", *words, "--plugin", "mynorms", "--jobs", "2")
    assert (done.returncode, done.stderr) == (1, "")
    assert closing(done.stdout) == ["finished", "finished", "failed", "failed"]


@pytest.mark.slow
def test_a_process_that_dies_while_planning_is_one_line(breaking: Path) -> None:
    own_norm(breaking, "Unbuilt")
    words = ("norm=unbuilt", "norm.after=0,2", "seed=0,1", *QUICK)
    done = bnexp(breaking, "train", "-m", *words, "--plugin", "mynorms", "--jobs", "2")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("bnexp: a process died while it built a combination")
    assert not (breaking / "runs").exists()


@pytest.mark.slow
def test_fail_fast_starts_no_job_after_a_failure(breaking: Path) -> None:
    words = ("norm=breaking", "seed=0,1,2", *QUICK)
    done = bnexp(breaking, "train", "-m", *words, "--plugin", "mynorms", "--fail-fast")
    assert done.returncode == 1
    assert [event["job"] for event in events(breaking)] == [0, 0]


SEAT = """
import os, sys
from pathlib import Path
from bnexp.sweeps.gpus import see_one_of
see_one_of(("4", "GPU-7"), Path(sys.argv[1]))
see_one_of(("0",), Path(sys.argv[1]))
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


def test_each_worker_sees_a_gpu_of_its_own(tmp_path: Path) -> None:
    """Three workers share two GPUs; a seat that is given up is taken again."""

    def sit() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SEAT, str(tmp_path / "sweep.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "9"},
        )
        assert process.stdout
        return process, process.stdout.readline().strip()

    seats = [sit() for _ in range(3)]
    assert [gpu for _, gpu in seats] == ["4", "GPU-7", "4"]
    seats[1][0].communicate()
    again, gpu = sit()
    assert gpu == "GPU-7"
    for process in (seats[0][0], seats[2][0], again):
        process.communicate()
