"""One answer to TAB."""

from __future__ import annotations

from dataclasses import dataclass

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
