"""What is asked where before a sweep starts: words here, what they build to in the workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from real_sweeps import alive, bnexp, descendants, environment, events, started, wait_for

from bnexp.commands import sweep
from bnexp.errors import ConfigError
from bnexp.runs.sweeps import Job, Sweep
from bnexp.sweeps.combinations import Request, combinations
from bnexp.sweeps.plan import Combination, plan

FAR = ("norm=custom,none", "seed=range(0,9)")


def test_every_combination_is_given_once_and_in_order() -> None:
    assert combinations(Request(["norm=custom,none", "seed=0,1"])) == [
        ["norm=custom", "seed=0"],
        ["norm=custom", "seed=1"],
        ["norm=none", "seed=0"],
        ["norm=none", "seed=1"],
    ]


@pytest.mark.parametrize(
    "words", [("norm=custom,custm", *FAR[1:]), (*FAR, "nrom=1"), (*FAR, "batch_size=8,x")]
)
def test_a_misspelt_word_is_found_wherever_it_stands(words: Sequence[str]) -> None:
    with pytest.raises(ConfigError, match=r"custm|nrom|batch_size") as caught:
        combinations(Request(words))
    assert len(caught.value.problems) == 1


def test_mistakes_of_many_combinations_are_told_once() -> None:
    found = [Combination(["seed=0"], wrong=["a", "b"]), Combination(["seed=1"], wrong=["b", "c"])]
    with pytest.raises(ConfigError) as caught:
        plan(Request(["seed=0,1"]), found)
    assert caught.value.problems == ["a", "b", "c"]


def test_a_word_that_works_nowhere_is_named() -> None:
    job = Job(["norm=custom", "batch_size=8"], "0" * 16, "")
    found = [
        Combination(job.words, job),
        Combination(["norm=custom", "batch_size=1"], impossible=["one value a channel"]),
    ]
    with pytest.raises(ConfigError) as caught:
        plan(Request(["norm=custom", "batch_size=8,1"]), found)
    told = "batch_size=1 works in no combination of this sweep: one value a channel"
    assert caught.value.problems == [told]


def planned(root: Path, *words: str) -> Sweep:
    config = f"runs_dir: {root}\nchoices: {{}}\n"
    return plan(Request(words), [Combination(["seed=0"], Job(["seed=0"], "0" * 16, config))])


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (("norm=custom,none", "seed=range(0,2)"), "norm-seed-"),
        (("model.hidden=[8,8]", "norm=glob(*)"), "norm-"),
        (("data.train_size=choice(1,2)",), "train_size-"),
        (("model.hidden=[8,8]",), ""),
    ],
)
def test_a_sweep_is_called_by_the_keys_that_it_varies(
    tmp_path: Path, words: Sequence[str], start: str
) -> None:
    name = planned(tmp_path, *words).name
    assert name.startswith(start) and len(name) == len(start) + 8


def test_the_record_of_the_same_jobs_is_found_under_another_name(tmp_path: Path) -> None:
    first = planned(tmp_path, "model.hidden=[8,8]")
    earlier = first.path.with_name(f"hidden-{first.name}.json")
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    assert planned(tmp_path, "model.hidden=[8,8]").path == earlier


@pytest.mark.parametrize(("gpus", "where"), [(0, "workers"), (1, "workers"), (2, "here")])
def test_workers_try_nothing_where_each_is_to_see_a_gpu_of_its_own(
    gpus: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has tried a network on a GPU sees all of them from then on."""
    asked = []

    def in_workers(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        asked.append(items)
        return [gpus] if items == [None] else ["workers"]

    monkeypatch.setattr(sweep, "in_this_process", lambda function, items: ["here"])
    assert sweep._build([["seed=0"]], [], in_workers) == [where]
    assert [None] in asked


def test_the_launching_process_needs_no_torch(tmp_path: Path) -> None:
    """Its workers load it, at the same time as it looks at the words."""
    code = (
        "import sys; from bnexp.cli import run\n"
        "run(['train', '-m', 'seed=0,1', 'data.train_size=100', 'epochs=1', '--jobs', '2'])\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert len({event["process"] for event in events(tmp_path)}) == 2


def test_what_workers_find_wrong_is_told_here(tmp_path: Path) -> None:
    done = bnexp(tmp_path, "train", "-m", "norm=group", "norm.num_groups=0,7", "model=lenet", "--jobs", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert all(line.startswith("bnexp: ") for line in done.stderr.splitlines()), done.stderr
    assert not list(tmp_path.iterdir())


def test_ctrl_c_before_the_first_job_ends_all_without_a_word(tmp_path: Path) -> None:
    """Torch is being loaded then, which takes seconds."""
    words = ("-m", "seed=range(0,6)", "--jobs", "2")
    with started(tmp_path, "train", *words, stderr=subprocess.PIPE) as process:
        wait_for(lambda: len(descendants(process.pid)) >= 2)
        workers = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
    wait_for(lambda: not alive(workers), 10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_script_that_sweeps_is_not_run_again_by_the_workers(method: str, tmp_path: Path) -> None:
    """Whether they are forks or not, as on macOS."""
    words = ["train", "-m", "seed=0,1", "data.train_size=50", "epochs=1", "--jobs", "2"]
    script = tmp_path / "script.py"
    script.write_text(
        "from bnexp.cli import run\nfrom bnexp.sweeps import pool\n"
        f"pool.METHOD = {method!r}\nprint('here')\nprint('code', run({words}))\nprint(__file__)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, env=environment()
    )
    assert done.stderr == ""
    assert done.stdout.count("here\n") == 1 and done.stdout.splitlines()[-2:] == ["code 0", str(script)]
    assert len({event["process"] for event in events(tmp_path)}) == 2
