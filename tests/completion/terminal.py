"""A shell on a terminal of its own, to press TAB in."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TO_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
ESCAPES = re.compile(
    r"\x1b\[[0-9;?<>=]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|[\r\x07]"
)
SHOW = "\x07"  # Ctrl-G, which a shell is set up to answer with its line between « and »
EMPTY = "\x05\x15"  # Ctrl-E and Ctrl-U
PATIENCE_S = 60

# Lists are shown at the first TAB and without a question.
SET_UP = {
    "bash": "bind 'set completion-query-items 0'; bind 'set page-completions off'; "
    'bind \'set show-all-if-ambiguous on\'; bind -x \'"\\C-g": printf "«%s»" "$READLINE_LINE"\'',
    "zsh": "setopt no_list_ambiguous; LISTMAX=9999; bindkey '^U' kill-whole-line; bindkey '^G' show; "
    'zle -N show; show() { print -rn -- "«$BUFFER»" }',
    "fish": "bind \\cg 'printf \"«%s»\" (commandline)'; bind \\cu kill-whole-line",
}


class Terminal:
    """A running shell that has read its start files."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._file, shell_side = pty.openpty()
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 200, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", TO_TERMINAL, *command],
            stdin=shell_side,
            stdout=shell_side,
            stderr=shell_side,
            env=environment,
            cwd=folder,
        )
        os.close(shell_side)
        self._type(f"{SET_UP[command[0]]}; echo RE''ADY\r")
        self._until("READY\n")

    def line(self, keys: str) -> str:
        """Press `keys` on an empty line; return what the line became."""
        return self.line_and_list(keys)[0]

    def line_and_list(self, keys: str) -> tuple[str, str]:
        """Press `keys` on an empty line; return what the line became, and all that was written meanwhile."""
        self._type(keys + SHOW)
        text = self._until("«(.*?)»")
        self._type(EMPTY)
        found = re.search("«(.*?)»", text)
        assert found is not None
        return found[1], text

    def close(self) -> None:
        os.close(self._file)
        self._process.kill()
        self._process.wait()

    def _type(self, keys: str) -> None:
        os.write(self._file, keys.encode())

    def _until(self, wanted: str) -> str:
        read, text, deadline = b"", "", time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if select.select([self._file], [], [], 0.1)[0]:
                read += os.read(self._file, 65536)
                text = ESCAPES.sub("", read.decode(errors="replace"))
                if re.search(wanted, text):
                    return text
        raise AssertionError(f"waited for {wanted!r}, got {text!r}")
