"""One answer to TAB, and a line as bash hands it over.

The line is split into words here, because bash splits words at `=` and `:` too.

Readline replaces only what follows the last character of COMP_WORDBREAKS, or an open quote, in the cursor's
word; an answer is therefore a whole word less that beginning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

UNSAFE = re.compile(r"([^\w@%+=:,./~^-])")
OPEN_ENDS = ("=", ".", "/")


@dataclass(frozen=True)
class Candidate:
    """A whole word that may stand at the cursor, and one line about it; shells that can show the line do."""

    text: str
    about: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether more of the word follows, so that no space may."""
        return self.text.endswith(OPEN_ENDS)


@dataclass(frozen=True)
class Line:
    """The words before the cursor's word, that word up to the cursor, how many of its characters readline
    keeps, and the quote that is open, if any; words are without quotes and backslashes."""

    words: Sequence[str]
    current: str
    kept: int
    quote: str

    def reply(self, candidate: Candidate) -> str:
        """Return what stands for `candidate` in COMPREPLY, with a space where the word is complete."""
        rest = candidate.text[self.kept :]
        if self.quote:
            return rest
        return UNSAFE.sub(r"\\\1", rest) + ("" if candidate.goes_on else " ")


def split(line: str, breaks: str) -> Line:
    """Split a line that ends at the cursor.

    Args:
        breaks: COMP_WORDBREAKS.
    """
    words: list[str] = []
    current, kept, quote, begun = "", 0, "", False
    characters = iter(line)
    for character in characters:
        if quote:
            if character == quote:
                quote = ""
            elif character == "\\" and quote == '"':
                current += _escaped_in_quotes(next(characters, ""))
            else:
                current += character
        elif character.isspace():
            if begun:
                words.append(current)
            current, kept, begun = "", 0, False
            continue
        elif character in "'\"":
            quote, kept = character, len(current)
        elif character == "\\":
            current += next(characters, "")
        else:
            current += character
            kept = len(current) if character in breaks else kept
        begun = True
    return Line(words, current, kept, quote)


def _escaped_in_quotes(character: str) -> str:
    return character if character in '"\\$`' else f"\\{character}"
