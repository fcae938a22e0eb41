"""`bnexp doctor`: a table and warnings, or JSON; and the same warnings with every training."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from test_process import COMMAND, process

WORDS = ("threads=1", "steps=150", "data.train_size=200", "batch_size=8")


def test_the_table_holds_what_each_norm_sees(bnexp: Callable[..., Any], tmp_path: Path) -> None:
    answer = bnexp("doctor", *WORDS, "head_norm=none")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("Norms over 150 steps of 8 examples, 4 in the last of an epoch")
    rows = [line.split() for line in answer.out.splitlines()]
    half_life = ["6.6", "steps", "<", "0.01", "%"]
    over = ["batch", "x", "positions"]
    assert ["conv1.norm", "CustomNorm", *over, "6", "28x28", "6,272", "3,136", "12", *half_life] in rows
    assert ["dense1.norm", "none", "-", "120", "-", "-", "-", "0", "-", "-"] in rows
    assert answer.out.splitlines()[-1] == "nothing is known to go wrong"
    assert list(tmp_path.iterdir()) == []


def test_a_narrow_terminal_gets_every_number(tmp_path: Path) -> None:
    done = process(COMMAND, "doctor", *WORDS, folder=tmp_path, COLUMNS="80", FORCE_COLOR="1")
    text = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    table = text[: text.index("values, last:")].splitlines()[1:]
    assert max(map(len, table)) <= 80 and "…" not in text
    lines = [" ".join(line.split()) for line in table]
    first = lines.index("conv1.norm CustomNorm batch x positions")
    assert lines[first + 1] == "6 28x28 6,272 3,136 12 6.6 steps < 0.01 %"


def test_warnings_are_lines_and_no_mistake(bnexp: Callable[..., Any]) -> None:
    answer = bnexp("doctor", *WORDS, "momentum=0.01", "precision=float16", "norm=sync")
    assert (answer.code, answer.err) == (0, "")
    warnings = [line for line in answer.out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 3
    assert warnings[0].startswith(
        "warning: momentum 0.01 over 150 steps: running statistics of all 4 norms keep 22 %"
    )
    assert "nothing is known" not in answer.out


def test_json_holds_the_same(bnexp: Callable[..., Any]) -> None:
    answer = bnexp("doctor", *WORDS, "--json", "momentum=0.01", "norm.affine=false")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert (found["course"]["steps"], found["course"]["full"], found["course"]["last"]) == (150, 8, 4)
    first = found["norms"][0]
    assert (first["place"], first["values"], first["parameters"]) == (
        "conv1.norm",
        8 * 28 * 28,
        0,
    )
    assert round(first["initial_share"], 4) == 0.2215
    assert len(found["warnings"]) == 1
    assert found["notes"] == []


def test_mistakes_are_told_as_by_train(bnexp: Callable[..., Any]) -> None:
    words = ("norm=nope", "batch_size=0")
    answer = bnexp("doctor", *words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.lines == bnexp("train", *words).lines


def test_a_training_prints_and_logs_each_warning_once(train: Callable[..., Any], tmp_path: Path) -> None:
    answer = train("momentum=0.2", "optimizer.weight_decay=1e-4")
    assert answer.code == 0
    printed = re.findall(r"^warning: (.+)$", answer.out, re.MULTILINE)
    (log,) = tmp_path.rglob("log.txt")
    logged = re.findall(r"WARNING (.+)$", log.read_text(encoding="utf-8"), re.MULTILINE)
    assert printed == logged
    assert [line.split()[0] for line in printed] == ["momentum", "weight"]


def test_a_training_without_danger_prints_no_warning(train: Callable[..., Any]) -> None:
    assert "warning" not in train("momentum=null").out


def test_doctor_works_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = process(COMMAND, "doctor", "threads=1", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "nothing is known to go wrong"
