"""`bnexp --install-completion`, `bnexp --show-completion`, and what an answer imports."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bnexp import cli

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "hydra", "omegaconf", "rich", "matplotlib", "pydantic")
ANSWER = f"""
import sys
from bnexp.cli import run
assert run(["__complete", *sys.argv[1:]]) == 0
assert not [name for name in {HEAVY!r} if name in sys.modules]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", "SHELL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def files(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (path.read_text(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("shell", "script", "start"),
    [
        ("bash", ".local/share/bash-completion/completions/bnexp", ".bashrc"),
        ("zsh", ".local/share/zsh/site-functions/_bnexp", ".zshrc"),
        ("fish", ".config/fish/completions/bnexp.fish", None),
    ],
)
def test_it_writes_the_script_and_says_so_and_twice_is_as_good_as_once(
    home: Path, capsys: pytest.CaptureFixture[str], shell: str, script: str, start: str | None
) -> None:
    assert cli.run(["--install-completion", shell]) == 0
    out, written = capsys.readouterr().out, files(home)
    assert set(written) == {script, start} - {None}
    assert f"wrote {home / script}" in out
    assert f"source {home / script}" in out
    assert cli.run(["--install-completion", shell]) == 0
    assert files(home) == written
    assert "is there already" in capsys.readouterr().out
    assert cli.run(["--show-completion", shell]) == 0
    assert capsys.readouterr().out == written[script][0]


def test_a_start_file_is_added_to_and_otherwise_left_as_it_is(home: Path) -> None:
    rc, real = home / ".bashrc", home / "dotfiles"
    real.write_bytes(b"alias x=y # \xff without a line end")
    real.chmod(0o600)
    rc.symlink_to(real)
    assert cli.run(["--install-completion", "bash"]) == 0
    assert rc.is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o600
    old, added, empty = real.read_bytes().split(b"\n")
    assert old == b"alias x=y # \xff without a line end"
    assert added.startswith(b"[ ! -r ") and empty == b""


def test_an_old_script_is_replaced(home: Path) -> None:
    assert cli.run(["--install-completion", "fish"]) == 0
    script = home / ".config/fish/completions/bnexp.fish"
    new = script.read_text()
    script.write_text("# older")
    assert cli.run(["--install-completion", "fish"]) == 0
    assert script.read_text() == new


def test_the_shell_is_that_of_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert cli.run(["--install-completion"]) == 0
    assert (home / ".config/fish/completions/bnexp.fish").is_file()
    capsys.readouterr()
    assert cli.run(["--show-completion"]) == 0
    assert "in fish" in capsys.readouterr().out


def test_folders_of_the_environment_are_respected(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.setenv(name, str(home / name))
    (home / "ZDOTDIR").mkdir()
    for shell in ("bash", "zsh", "fish"):
        assert cli.run(["--install-completion", shell]) == 0
    assert {name.split("/")[0] for name in files(home)} == {
        "XDG_DATA_HOME",
        "XDG_CONFIG_HOME",
        "ZDOTDIR",
        ".bashrc",
    }


@pytest.mark.parametrize(("shell", "option"), [("tcsh", "--install-completion"), ("sh", "--show-completion")])
def test_an_unknown_shell_is_one_line_and_code_two(
    home: Path, capsys: pytest.CaptureFixture[str], shell: str, option: str
) -> None:
    assert cli.run([option, shell]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"got {shell!r}" in error and "bash, zsh, fish" in error
    assert files(home) == {}


def test_no_shell_at_all_is_one_line_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--install-completion"]) == 2
    assert "from $SHELL" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".config").touch()
    assert cli.run(["--install-completion", "fish"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "must be writable" in error


@pytest.mark.parametrize(
    "question",
    [
        ("bash", "bnexp ", "=:"),
        ("bash", "bnexp train -m norm=custom,", "=:"),
        ("zsh", "bnexp", "train", "model=resnet", "model."),
        ("fish", "bnexp", "eval", "last", "fold="),
        ("fish", "bnexp", "plot", ""),
    ],
)
def test_an_answer_imports_nothing_heavy(question: tuple[str, ...], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    (tmp_path / "runs" / "default" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "default" / "one" / "config.yaml").touch()
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, *question],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_the_hidden_verb_is_no_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    assert "__complete" not in capsys.readouterr().out
