"""What is known of metrics: their titles, numbers and directions; and what a new one takes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_runs import config

from bnexp import metrics
from bnexp.analysis.groups import grouped, winners
from bnexp.analysis.records import Record
from bnexp.runs.directory import RunDirectory

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "tag, title",
    [
        ("accuracy/test", "test accuracy"),
        ("loss/train", "training loss"),
        ("ece/val", "validation calibration error"),
        ("top5/test_last", "test top-5 accuracy of the last weights"),
        ("accuracy/train_eval", "training accuracy in evaluation mode"),
        ("three_way/brier/recalibrated", "Brier score, recalibrated statistics"),
        ("seconds", "seconds"),
        ("mine", "mine"),
        ("mine/test", "mine/test"),
        ("accuracy/elsewhere", "accuracy/elsewhere"),
        ("seconds/test/x", "seconds/test/x"),
        ("three_way/mine/batch", "three_way/mine/batch"),
    ],
)
def test_every_tag_has_a_title(tag: str, title: str) -> None:
    assert metrics.of(tag).title == title and metrics.of(tag).name == tag


@pytest.mark.parametrize(
    "tag, value, precision, text",
    [
        ("accuracy/test", 0.97213, None, "0.9721"),
        ("accuracy/test", 0.97213, 0.0248, "0.9721"),
        ("loss/test", 0.97213, 0.00012, "0.97213"),
        ("loss/test", 0.0, None, "0.0000"),
        ("loss/test", 0.0, 0.0, "0.0000"),
        ("loss/test", 0.0000123, None, "0.000012"),
        ("loss/test", 0.0000123, 0.1, "0.0000"),
        ("loss/test", -3e-9, None, "-3.0e-09"),
        ("loss/test", float("nan"), float("nan"), "nan"),
        ("seconds", 0.17, None, "0.2"),
        ("seconds", 1.5, 6.4, "1.5"),
        ("peak_memory_bytes", 2.0**28, None, "256.0"),
        ("peak_memory_bytes", 2.0**28, 2.0**17, "256.00"),
        ("parameters", 61706.0, None, "61706"),
        ("mine", 12.3456789, None, "12.3457"),
    ],
)
def test_numbers_keep_what_is_known_of_them(
    tag: str, value: float, precision: float | None, text: str
) -> None:
    assert metrics.of(tag).number(value, precision) == text


def test_units_stand_behind_numbers_and_on_axes() -> None:
    memory = metrics.of("peak_memory_bytes")
    assert (memory.text(2**20), memory.axis) == ("1.0 MiB", "peak memory in MiB")
    assert (metrics.of("loss/val").text(1), metrics.of("loss/val").axis) == ("1.0000", "validation loss")
    assert metrics.of("accuracy/test").number(0.01, sign="+") == "+0.0100"


def test_top_5_is_measured_on_six_classes_and_more() -> None:
    assert set(metrics.measured(6)) - set(metrics.measured(5)) == {"top5"}


def test_names_are_unique_and_hold_no_slash() -> None:
    names = [one.name for one in (*metrics.MEASURED, *metrics.RECORDED)]
    assert len(set(names)) == len(names) == len(metrics.NAMED) and not any("/" in name for name in names)
    assert {name.split("/")[0] for name in metrics.COMPARED} <= set(names)


@pytest.mark.parametrize(
    "tag, stars",
    [
        ("accuracy/test", [False, True]),
        ("top5/test", [False, True]),
        ("loss/test", [True, False]),
        ("nll/val", [True, False]),
        ("brier/test", [True, False]),
        ("ece/test_last", [True, False]),
        ("three_way/ece/running", [True, False]),
        ("three_way/accuracy/batch", [False, True]),
        ("examples_per_second", [False, True]),
        ("peak_memory_bytes", [True, False]),
        ("epoch", [False, False]),
        ("lr", [False, False]),
        ("losses", [False, False]),
        ("loss/of_mine", [False, False]),
        ("accuracy_of_mine", [False, False]),
    ],
)
def test_the_best_is_starred_where_it_is_known_which_way_that_is(tag: str, stars: list[bool]) -> None:
    runs = [
        Record(RunDirectory(Path("x")), "finished", 0.0, config(batch_size=size), {tag: float(size)})
        for size in (8, 16)
    ]
    assert winners(grouped(runs), tag) == stars


def test_nothing_heavy_is_needed_to_know_metrics() -> None:
    code = "import sys, bnexp.metrics; sys.exit(any(name in sys.modules for name in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


ENTRY = """MEASURED = (
    Metric(
        "surprise",
        "largest surprise",
        "the largest -ln p of the split",
        "lower",
        "split",
        watched=True,
    ),"""
FUNCTION = '''

def surprise(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the largest -ln p, a scalar."""
    return nll(logits, targets).max()
'''


SESSION = """
import contextlib, io, json, sys
from bnexp.cli import run
found = []
for words in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run(words) == 0, words
    found.append(printed.getvalue())
print(json.dumps(found))
"""


def session(folder: Path, *commands: str) -> list[str]:
    """Run command lines in one process, with the package that `folder` holds; return what each prints."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        input=json.dumps([shlex.split(command) for command in commands]),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_a_metric_is_one_entry_and_one_function(tmp_path: Path) -> None:
    """In a copy of the package: then it is logged, kept, compared, starred, completed, drawn and reported."""
    for name in ("bnexp", "conf"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    table, functions = tmp_path / "bnexp" / "metrics.py", tmp_path / "bnexp" / "engine" / "measures.py"
    table.write_text(table.read_text(encoding="utf-8").replace("MEASURED = (", ENTRY), encoding="utf-8")
    functions.write_text(functions.read_text(encoding="utf-8") + FUNCTION, encoding="utf-8")

    words = "threads=1 data.train_size=200 epochs=1 telemetry.scalars_every=1"
    ended, _, compared, printed, listed, shown, completed, _, evaluated = session(
        tmp_path,
        f"train norm=custom {words} output_dir=runs/x/custom",
        f"train norm=none {words} output_dir=runs/x/none",
        "compare --min surprise/test --metric surprise/test --json",
        "compare --metric surprise/test",
        "runs 'surprise/test>0' 'surprise/val>0'",
        "runs show custom",
        "__complete zsh bnexp compare --metric sur",
        "report --metric surprise/test",
        "eval custom",
    )
    assert re.search(r"^largest surprise( +\d+\.\d{4}){5}$", ended, re.MULTILINE)
    assert re.search(r"epoch 1/1: .*largest surprise.*val largest surprise", ended)
    run = tmp_path / "runs" / "x" / "custom"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "surprise/train" in rows[0] and {"surprise/val", "surprise/test"} <= rows[-1].keys()
    best, worst = json.loads(compared)
    assert best["surprise/test"]["mean"] < worst["surprise/test"]["mean"]
    assert (best["surprise/test"]["best"], worst["surprise/test"]["best"]) == (True, False)
    assert "test largest surprise ± 95 %" in printed and " *" in printed
    assert {"x/custom", "x/none"} <= set(listed.split())
    assert "largest surprise" in shown and "surprise/val" in shown and "largest surprise" in evaluated
    assert completed.startswith("surprise/test\t")
    assert "Lowest mean test largest surprise" in (tmp_path / "report.md").read_text(encoding="utf-8")
    drawing = (tmp_path / "report_files" / "curves.svg").read_text(encoding="utf-8")
    assert "validation largest surprise" in drawing
