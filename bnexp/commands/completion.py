"""`bnexp --install-completion` and what the installed script asks at every TAB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bnexp.completion import installation, line
from bnexp.completion.answers import answers


def serve(*, install: str | None, show: str | None) -> int:
    """Install completion for a shell and say what was done, or print the script; return the exit code.

    An empty name is the shell of $SHELL.
    """
    if install is not None:
        print("\n".join(installation.install(installation.named(install))))
    if show is not None:
        print(installation.script(installation.named(show)), end="")
    return 0


def complete(root: Any, question: Sequence[str]) -> int:
    """Print what may stand at the cursor, a line each; return the exit code.

    Args:
        root: the Click command of bnexp.
        question: `bash LINE BREAKS`, the line up to the cursor and COMP_WORDBREAKS, asks for what belongs in
            COMPREPLY; `zsh PROGRAM WORD...` or `fish PROGRAM WORD...`, the words up to the cursor, for whole
            words, each with a tab and its description. The last of fish still has its quotes.
    """
    shell, *words = question
    if shell == "bash":
        asked = line.split(*words)
        for candidate in answers(root, asked.words[1:], asked.current):
            print(asked.reply(candidate))
        return 0
    current = line.split(words[-1], "").current if shell == "fish" else words[-1]
    for candidate in answers(root, words[1:-1], current):
        print(f"{candidate.text}\t{candidate.about}")
    return 0
