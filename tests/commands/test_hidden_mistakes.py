"""Mistakes in several parts at once, and values that only look right."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnexp import choices
from bnexp.choices import SHARED
from bnexp.config import KNOBS


@pytest.mark.parametrize("name", ["tpu", "CPU", "cuda:-1", "cuda:99999999999999999999"])
def test_an_unknown_device_is_one_line(bnexp: Callable[..., Any], name: str) -> None:
    answer = bnexp("train", f"device={name}")
    assert (answer.code, len(answer.lines)) == (2, 1)


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
def test_mistakes_of_different_parts_are_told_together(bnexp: Callable[..., Any], words: str) -> None:
    answer = bnexp("train", *words.split())
    assert (answer.code, len(answer.lines)) == (2, 2)


@pytest.mark.parametrize("word", ["weights=", "output_dir=", "runs_dir="])
def test_an_empty_path_is_a_mistake(train: Callable[..., Any], tmp_path: Path, word: str) -> None:
    assert train(word).code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "word", ["norm.eps=nan", "norm.eps=inf", "norm.momentum=2", "norm.momentum=-1", "norm.momentum=nan"]
)
def test_a_norms_knob_must_lie_in_its_range(train: Callable[..., Any], word: str) -> None:
    assert train(word).code == 2


@pytest.mark.parametrize("number", ["100000", "99999999999999999999"])
def test_too_many_threads_are_a_mistake(bnexp: Callable[..., Any], number: str) -> None:
    assert bnexp("train", f"threads={number}", "--cfg", "job").code == 2


def test_too_many_threads_are_never_asked_for(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    assert train("threads=100000").code == 2
    assert max(asked, default=1) <= 1024


def test_a_wrong_momentum_is_one_line(bnexp: Callable[..., Any]) -> None:
    assert len(bnexp("train", "momentum=2").lines) == 1


def test_a_missing_device_hides_no_other_mistake(bnexp: Callable[..., Any]) -> None:
    assert len(bnexp("train", "device=mps", "norm.eps=0").lines) == 2


def test_an_infinite_budget_is_a_budget_or_a_mistake(train: Callable[..., Any]) -> None:
    assert train("telemetry.max_megabytes=inf").code in (0, 2)


@pytest.mark.parametrize("words", ["optimizer.lr=-1,0.1", "batch_size=1,2", "norm=custom,group norm.eps=-1"])
def test_a_value_that_cannot_be_built_stops_a_sweep_before_any_run(
    train: Callable[..., Any], tmp_path: Path, words: str
) -> None:
    assert train("-m", *words.split()).code == 2
    assert list(tmp_path.iterdir()) == []


def test_bnexp_alone_shows_its_help(bnexp: Callable[..., Any]) -> None:
    answer = bnexp()
    assert (answer.out + answer.err).startswith("Usage: bnexp")


def test_every_verb_knows_the_short_help(bnexp: Callable[..., Any]) -> None:
    assert [bnexp("-h").code, bnexp("resume", "-h").code] == [0, 0]


def test_help_says_of_each_knob_what_it_means_and_its_default_and_cuts_nothing(
    bnexp: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    lines = [" ".join(line.split()) for line in bnexp("train", "--help").out.splitlines()]
    assert "batch_size: 64 examples of one forward pass" in lines
    assert "threads: auto auto is every core (or OMP_NUM_THREADS) for a single run and 1 in a sweep" in lines
    assert "device: auto auto is cuda where there is one (auto, cpu, cuda, cuda:N or mps)" in lines
    monkeypatch.setenv("COLUMNS", "70")
    assert "…" not in bnexp("train", "--help").out


def test_every_knob_says_what_it_means() -> None:
    shared = {f"{group}.{name}": knob for group in SHARED for name, knob in choices.shared(group).items()}
    known = {**KNOBS, **shared}
    assert len(known) > 60
    for key, knob in known.items():
        assert knob.about and knob.about[-1] != ".", key
        assert len(knob.about) <= 120, key


def test_help_of_train_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys\nfrom bnexp.cli import run\nrun(['train', '--help'])\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_misspelt_words_are_told_without_torch(tmp_path: Path) -> None:
    code = """
import sys
from bnexp.cli import run
run(["train", "nrom=custom"])
run(["train", "-m", "norm=custom,custm", "batch_size=8,16"])
run(["train", "--cfg", "job", "batch_size=0", "seed"])
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"
    first, second, *third = done.stderr.splitlines()
    assert "unknown key 'nrom' (did you mean norm?)" in first and "norm=custm" in second
    assert [line.partition(" ")[2].split()[0] for line in third] == ["'seed'", "batch_size"]


@pytest.mark.parametrize(("word", "said"), [("drop_last=3", "auto, true or false"), ("threads=1.5", "auto")])
def test_a_knob_that_also_takes_auto_says_so(bnexp: Callable[..., Any], word: str, said: str) -> None:
    assert said in bnexp("train", word).err


@pytest.mark.parametrize("value", ["3", "1", "0", "yes", "1.0"])
@pytest.mark.parametrize("name", ["deterministic", "compile"])
def test_a_flag_is_true_or_false(bnexp: Callable[..., Any], name: str, value: str) -> None:
    answer = bnexp("train", f"{name}={value}")
    assert answer.lines == [f"bnexp: {name} must be true or false, got '{value}'"]


def test_what_cannot_be_read_is_told_in_our_own_words(bnexp: Callable[..., Any]) -> None:
    for word in ("seed", "seed=[", "seed=a=b", "é=1", "optimizer..lr=3", "seed=${", "seed='", "=", "[]"):
        answer = bnexp("train", word)
        assert (answer.code, len(answer.lines)) == (2, 1)
        assert not re.search("EQUAL|EOF|input|token|viable|expecting|alternative|BRA|ID", answer.err), (
            answer.err
        )


def test_a_network_without_a_head_shows_no_norm_there(train: Callable[..., Any]) -> None:
    assert "in the head" not in train("model=mlp").out


def test_a_sweep_shows_the_words_as_they_were_typed(train: Callable[..., Any]) -> None:
    assert "norm@head_norm" not in train("-m", "head_norm=none").out


def test_cfg_of_a_sweep_does_not_ask_for_m(bnexp: Callable[..., Any]) -> None:
    assert "need -m" not in bnexp("train", "-m", "seed=1,2", "--cfg", "job").err
