"""The shells' own side of completion: a script for each, and where it has to stand."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from bnexp import atomic
from bnexp.errors import ConfigError

SHELLS = ("bash", "zsh", "fish")


def named(shell: str) -> str:
    """Return `shell`, that of $SHELL where it is empty.

    Raises:
        ConfigError: there is no script for it.
    """
    asked = shell or Path(os.environ.get("SHELL", "")).name
    if asked not in SHELLS:
        source = "" if shell else " from $SHELL"
        raise ConfigError(
            f"completion is there for {', '.join(SHELLS)}, got {asked!r}{source}: name one of them, as in "
            "bnexp --install-completion bash"
        )
    return asked


def script(shell: str) -> str:
    """Return the script that makes `shell` ask bnexp."""
    return Path(__file__).with_name(f"bnexp.{shell}").read_text(encoding="utf-8")


def install(shell: str) -> list[str]:
    """Put the script where `shell` finds it, and return what was done, a line each; twice is as good as once.

    fish looks into a folder of the user's by itself. bash does so only with the package bash-completion, and
    zsh has no such folder, so both get one line in the file that they read at the start.

    Raises:
        ConfigError: a file cannot be written.
    """
    file, start = _script_file(shell), _start_file(shell)
    try:
        said = [_write(file, script(shell))]
        if start is not None:
            path = shlex.quote(str(file))
            said.append(_add(start, f"[ ! -r {path} ] || . {path}  # completion of bnexp"))
    except OSError as error:
        raise ConfigError(
            f"{error.filename} must be writable for completion ({error.strerror}); bnexp --show-completion "
            f"{shell} prints the script, for a place of your own"
        ) from error
    return [*said, f"it works in every new {shell}; in this one after: source {shlex.quote(str(file))}"]


def _script_file(shell: str) -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "bash": data / "bash-completion" / "completions" / "bnexp",
        "zsh": data / "zsh" / "site-functions" / "_bnexp",
        "fish": config / "fish" / "completions" / "bnexp.fish",
    }[shell]


def _start_file(shell: str) -> Path | None:
    """Return the file that the shell reads at the start; macOS opens its bash as a login shell."""
    bash = ".bash_profile" if sys.platform == "darwin" else ".bashrc"
    return {
        "bash": Path.home() / bash,
        "zsh": Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc",
        "fish": None,
    }[shell]


def _write(file: Path, text: str) -> str:
    if file.is_file() and file.read_text(encoding="utf-8", errors="replace") == text:
        return f"{file} is there already"
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(file, text)
    return f"wrote {file}"


def _add(file: Path, line: str) -> str:
    """Append a line to a file of the user's, which stays as it is otherwise."""
    text = file.read_bytes() if file.exists() else b""
    if line.encode() in text.splitlines():
        return f"{file} reads it already"
    gap = b"\n" if text and not text.endswith(b"\n") else b""
    with file.open("ab") as opened:
        opened.write(gap + line.encode() + b"\n")
    return f"added a line to {file}: {line}"
