"""A working folder with runs and a norm of the user's own, and shells that have completion installed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import Terminal

from bnexp.completion import installation

ROOT = Path(__file__).parents[2]
RUNS = ("default/custom-64", "default/none-64", "other/custom-64", "other/odd name")
COMMANDS = {"bash": ("bash", "--noprofile", "-i"), "zsh": ("zsh", "-i"), "fish": ("fish", "-i")}


def fill(folder: Path) -> Path:
    """Put runs, a sweep, a norm and a folder of data into `folder`."""
    for name in RUNS:
        (folder / "runs" / name).mkdir(parents=True)
        (folder / "runs" / name / "config.yaml").touch()
    (folder / "runs" / "default" / "unfinished").mkdir()
    (folder / "runs" / "default" / "sweeps").mkdir()
    (folder / "runs" / "default" / "sweeps" / "norms-4.json").touch()
    (folder / "bnexp_conf" / "norm").mkdir(parents=True)
    (folder / "bnexp_conf" / "norm" / "center.yaml").write_text("# Mine.\n_target_: mine.Center\ngain: 1.0\n")
    (folder / "my data").mkdir()
    (folder / "trials.csv").touch()
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that is filled."""
    monkeypatch.chdir(fill(tmp_path))
    return tmp_path


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def terminal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Start a shell whose user has installed completion, in a filled folder that is also the user's home."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    home = fill(tmp_path_factory.mktemp(shell))
    program = home / "bin" / "bnexp"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom bnexp.cli import main\nmain()\n")
    program.chmod(0o755)
    environment = {
        "HOME": str(home),
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SHELL": shell,
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
            patch.delenv(name, raising=False)
        installation.install(shell)
    running = Terminal(COMMANDS[shell], environment, home)
    yield running
    running.close()
