"""A disk that is full, a folder that is gone: one line, code 1, and nothing that was written is lost."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from whole_runs import SMALL, Ran, Train, assert_same_run, resume

from bnexp import cli
from bnexp.engine import checkpoint
from bnexp.runs.directory import RunDirectory

KEPT = "what was written before is kept, go on by"
WORDS = ("model=mlp", "model.hidden=[20]", "norm=builtin")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes, as a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of eight megabytes; it takes a right that not everyone has."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def train_in(folder: Path, capsys: pytest.CaptureFixture[str], code: int = 1, *words: str) -> list[str]:
    """Train by the verb; return what it complains of."""
    capsys.readouterr()
    assert cli.run(["train", *SMALL, *WORDS, f"runs_dir={folder}", *words]) == code
    said = capsys.readouterr()
    assert all(line.startswith("bnexp: ") for line in said.err.splitlines())
    return said.err.splitlines() + [line for line in said.out.splitlines() if "failed:" in line]


def left(folder: Path) -> list[Ran]:
    return [Ran(RunDirectory(file.parent)) for file in folder.glob("*/*/config.yaml")]


@pytest.mark.parametrize("size", [0, 100, 1000, 3500, 6000, 20_000, 60_000, 120_000])
def test_a_quota_ends_a_run_in_one_line_and_loses_nothing(
    tmp_path: Path, settled: Train, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    with largest_file(size):
        (line,) = train_in(tmp_path / "runs", capsys)
    assert "cannot be written (File too large)" in line
    folders = [path for path in tmp_path.glob("runs/*/*") if path.name != "sweeps"]
    assert [ran.path for ran in left(tmp_path / "runs")] == folders, "no folder without a run"
    for ran in left(tmp_path / "runs"):
        assert f"bnexp resume {ran.path}" in line
        assert_same_run(resume(ran), settled(*WORDS))


@pytest.mark.parametrize("free", [0, 1, 8, 40, 130, 260])
def test_a_full_disk_ends_a_run_in_one_line_and_loses_nothing(
    small_disk: Path, settled: Train, capsys: pytest.CaptureFixture[str], free: int
) -> None:
    """So many kilobytes are free; then there is room again."""
    fill(small_disk, free)
    (line,) = train_in(small_disk / "runs", capsys)
    assert "No space left on device" in line
    folders = list(small_disk.glob("runs/*/*"))
    assert [ran.path for ran in left(small_disk / "runs")] == folders, "no folder without a run"
    (small_disk / "filling").unlink()
    for ran in left(small_disk / "runs"):
        assert_same_run(resume(ran), settled(*WORDS))


def fill(disk: Path, free: int) -> None:
    with (disk / "filling").open("wb") as file:
        file.write(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - free * 1024))


@pytest.mark.parametrize("free", [24, 200, 500])
def test_on_a_full_disk_the_jobs_of_a_sweep_get_one_line_each_and_leave_no_folders(
    small_disk: Path, capsys: pytest.CaptureFixture[str], free: int
) -> None:
    fill(small_disk, free)
    told = train_in(small_disk / "runs", capsys, 1, "-m", "seed=0,1,2,3")
    assert 2 <= len(told) <= 4 and all("No space left on device" in line for line in told)
    folders = [path for path in small_disk.glob("runs/*/*") if path.name != "sweeps"]
    assert [ran.path for ran in left(small_disk / "runs")] == folders
    (small_disk / "filling").unlink()
    (record,) = small_disk.glob("runs/*/sweeps/*.json")
    assert cli.run(["resume", str(record)]) == 0


def test_a_folder_that_vanishes_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoint.Checkpoints.save_best

    def remove(self: checkpoint.Checkpoints, *given: object) -> None:
        shutil.rmtree(self.last.parent)
        save(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint.Checkpoints, "save_best", remove)
    (line,) = train_in(tmp_path / "runs", capsys)
    assert "No such file or directory" in line and "bnexp resume" not in line


def test_a_folder_that_turns_read_only_is_one_line_and_goes_on_later(
    tmp_path: Path, settled: Train, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said in place of the system, which lets root write everywhere."""

    def refuse(path: Path, *given: object, **more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", refuse)
        (line,) = train_in(tmp_path / "runs", capsys)
    (ran,) = left(tmp_path / "runs")
    assert f"last.pt cannot be written (Read-only file system): {KEPT} `bnexp resume {ran.path}`" in line
    assert_same_run(resume(ran), settled(*WORDS))
