"""A process that dies costs one test: every other one is run, and the run ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DIES = """
import os
import pytest

@pytest.mark.parametrize("number", range(3))
def test(number):
    if number == {fatal}:
        os.abort()
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_death_fails_one_test_and_no_other_is_lost(tmp_path: Path, workers: int) -> None:
    """The first, the middle and the last test of a file dies; the last file has one test, which dies."""
    for fatal in (0, 1, 2):
        (tmp_path / f"test_{fatal}.py").write_text(DIES.format(fatal=fatal))
    (tmp_path / "test_3_lives.py").write_text(DIES.format(fatal=-1))
    (tmp_path / "test_4_one.py").write_text("import os\n\ndef test():\n    os.abort()\n")
    options = ("-q", "-p", "no:cacheprovider", "-p", "xdist.plugin", "-p", "file_scheduling")
    workers_get_files = ("-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *workers_get_files, "."],
        cwd=tmp_path,
        env={"PYTHONPATH": str(HERE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("4 failed, 9 passed in ")
