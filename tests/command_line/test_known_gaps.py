"""Mistakes that are not yet answered as they should be; strict, so that a repair asks for its mark to go."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnexp.display.help import knobs


def gap(reason: str) -> Any:
    return pytest.mark.xfail(strict=True, reason=reason)


@pytest.mark.parametrize("name", ["tpu", "CPU", "cuda:-1", "cuda:99999999999999999999"])
@gap("assembly.build asks torch for the device although config.problems already refused it: a traceback")
def test_an_unknown_device_is_one_line(bnexp: Callable[..., Any], name: str) -> None:
    answer = bnexp("train", f"device={name}")
    assert (answer.code, len(answer.lines)) == (2, 1)


@gap("assembly.build reads the data before it tells what is known to be wrong, and downloads them for that")
def test_nothing_is_downloaded_for_a_mistaken_command_line(
    bnexp: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        pytest.fail("a download began")

    monkeypatch.setattr("bnexp.data.download._fetch", fetch)
    answer = bnexp("train", "norm=nope", "data=mnist")
    assert any("norm=nope" in line for line in answer.lines)


@pytest.mark.parametrize(
    "words",
    [
        "data=image_folder batch_size=0",
        "data=image_folder data.root=absent optimizer.lr=-1",
        "norm.eps=x optimizer.lr=-1",
        "optimizer.lr=-1 schedule.warmup_steps=9999",
        "optimizer.lr=-1 batch_size=1",
        "schedule.warmup_steps=9999 weights=absent",
    ],
)
@gap("data, types, schedule, batches and weights are each looked at only where all before them is right")
def test_mistakes_of_different_parts_are_told_together(bnexp: Callable[..., Any], words: str) -> None:
    answer = bnexp("train", *words.split())
    assert (answer.code, len(answer.lines)) == (2, 2)


@pytest.mark.parametrize("word", ["weights=", "output_dir=", "runs_dir="])
@gap("an empty value, as of an unset shell variable, means no weights or the working directory itself")
def test_an_empty_path_is_a_mistake(train: Callable[..., Any], tmp_path: Path, word: str) -> None:
    assert train(word).code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "word", ["norm.eps=nan", "norm.eps=inf", "norm.momentum=2", "norm.momentum=-1", "norm.momentum=nan"]
)
@gap("only the studied momentum and a non-positive eps are checked")
def test_a_norms_knob_must_lie_in_its_range(train: Callable[..., Any], word: str) -> None:
    assert train(word).code == 2


@pytest.mark.parametrize("number", ["100000", "99999999999999999999"])
@gap("a hundred thousand threads end in a segmentation fault, more in an overflow")
def test_too_many_threads_are_a_mistake(bnexp: Callable[..., Any], number: str) -> None:
    assert bnexp("train", f"threads={number}", "--cfg", "job").code == 2


@gap("max_megabytes=inf passes the check and ends in a ValueError")
def test_an_infinite_budget_is_a_budget_or_a_mistake(train: Callable[..., Any]) -> None:
    assert train("telemetry.max_megabytes=inf").code in (0, 2)


@pytest.mark.parametrize("words", ["optimizer.lr=-1,0.1", "batch_size=1,2", "norm=custom,group norm.eps=-1"])
@gap("what only building finds is found when its job begins: code 1, and other jobs have run")
def test_a_value_that_cannot_be_built_stops_a_sweep_before_any_run(
    train: Callable[..., Any], tmp_path: Path, words: str
) -> None:
    assert train("-m", *words.split()).code == 2
    assert list(tmp_path.iterdir()) == []


@gap("the page begins with `bnexp: Usage` and ends with `(see bnexp --help)`")
def test_bnexp_alone_shows_its_help(bnexp: Callable[..., Any]) -> None:
    answer = bnexp()
    assert (answer.out + answer.err).startswith("Usage: bnexp")


@gap("only train knows -h")
def test_every_verb_knows_the_short_help(bnexp: Callable[..., Any]) -> None:
    assert [bnexp("-h").code, bnexp("resume", "-h").code] == [0, 0]


@gap("lines longer than the terminal are broken, and their comments begin anew at the left")
def test_help_shows_the_knobs_as_they_stand_in_train_yaml(
    bnexp: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert knobs().strip() in bnexp("train", "--help").out


@gap("bnexp.commands.train imports torch for the page too: three seconds")
def test_help_of_train_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys\nfrom bnexp.cli import run\nrun(['train', '--help'])\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(("word", "said"), [("drop_last=3", "auto, true or false"), ("threads=1.5", "auto")])
@gap("the schema knows only a boolean or a word, a number or a word")
def test_a_knob_that_also_takes_auto_says_so(bnexp: Callable[..., Any], word: str, said: str) -> None:
    assert said in bnexp("train", word).err


@gap("`custom in the head` is said of every network")
def test_a_network_without_a_head_shows_no_norm_there(train: Callable[..., Any]) -> None:
    assert "in the head" not in train("model=mlp").out


@gap("the words are shown as they were rewritten: norm@head_norm=none, epochs=null")
def test_a_sweep_shows_the_words_as_they_were_typed(train: Callable[..., Any]) -> None:
    assert "norm@head_norm" not in train("-m", "head_norm=none").out


@gap("-m is on the line already; --cfg looks at one run only and does not say so")
def test_cfg_of_a_sweep_does_not_ask_for_m(bnexp: Callable[..., Any]) -> None:
    assert "need -m" not in bnexp("train", "-m", "seed=1,2", "--cfg", "job").err
