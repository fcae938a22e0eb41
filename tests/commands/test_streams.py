"""Standard streams that are full, closed or left, in processes of their own; files that cannot be written."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_runs import config, write_run

from bnexp import cli
from bnexp.protocols import Measurement

COMMAND = str(Path(sys.executable).with_name("bnexp"))
QUICK = ("threads=1", "steps=2", "data.train_size=100", "model=mlp", "model.hidden=[4]", "telemetry=none")
FULL = Path("/dev/full")


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120, env=environment
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = {step: Measurement({"loss/train": 1.0, "loss/val": 1.0}) for step in (0, 100)}
    result = {"status": "finished", "config": config(), "loss/test": 1.0, "accuracy/test": 0.5}
    path = tmp_path / "runs" / "default" / "a_20260101-000000-0000"
    write_run(path, rows, config=config(), result=result)
    return tmp_path


@pytest.mark.skipif(not FULL.exists(), reason="no device is always full here")
def test_what_cannot_be_printed_is_one_line_and_code_1(folder: Path) -> None:
    done = shell(f"{COMMAND} runs > /dev/full", folder)
    told = "bnexp: standard output cannot be written (No space left on device)\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_a_closed_output_is_one_line_and_a_reader_that_has_left_is_none(folder: Path) -> None:
    done = shell(f"{COMMAND} runs >&-", folder)
    told = "bnexp: standard output cannot be written (Bad file descriptor)\n"
    assert (done.returncode, done.stderr) == (1, told)
    done = shell(f"{COMMAND} runs | true", folder)
    assert done.stderr == ""


@pytest.mark.parametrize("output", ["> /dev/full 2>&1", "<&- >&- 2>&-"])
def test_a_run_trains_on_whatever_becomes_of_its_output(tmp_path: Path, output: str) -> None:
    """What it would have printed is in none of its files either."""
    if "full" in output and not FULL.exists():
        pytest.skip("no device is always full here")
    done = shell(f"{COMMAND} train {shlex.join(QUICK)} output_dir=run {output}", tmp_path)
    assert done.returncode == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "finished"
    for file in (tmp_path / "run").iterdir():
        assert b"What will run" not in file.read_bytes()


@pytest.mark.skipif(not FULL.exists(), reason="no device is always full here")
@pytest.mark.parametrize(
    "words",
    [
        ("runs", "--csv", "FILE.csv"),
        ("compare", "--csv", "FILE.csv"),
        ("plot", "last", "-o", "FILE.png"),
        ("report", "-o", "FILE.html"),
        ("check", "norm=none", "--json", "FILE.json"),
    ],
    ids=" ".join,
)
def test_a_file_on_a_full_device_is_one_line_and_code_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(folder)
    Path(words[-1]).symlink_to(FULL)
    assert cli.run(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line.startswith("bnexp: ")
        and "No space left on device" in line
        and ("FILE" in line or "/dev/full" in line)
    )
    assert FULL.is_char_device()


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "--csv", "none/FILE.csv"),
        ("plot", "last", "-o", "none/FILE.png"),
        ("report", "-o", "file/FILE.html"),
        ("check", "norm=none", "--json", "file/FILE.json"),
        ("check", "norm=none", "--json", "runs"),
    ],
    ids=" ".join,
)
def test_a_place_that_cannot_be_is_the_users_mistake(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(folder)
    Path("file").touch()
    assert cli.run(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bnexp: ")
