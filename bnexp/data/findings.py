"""What is found in many files, counted by kind and told in one line a kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """One kind of finding, told as `before: N many, e.g. EXAMPLE; advice`.

    one, many: what is counted, for one and for several of them.
    harmless: whether the line is a note; a warning otherwise.
    """

    before: str
    one: str
    many: str
    advice: str = ""
    harmless: bool = False

    def line(self, count: int, example: str) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.before}: {count:,} {self.one if count == 1 else self.many}, e.g. {example}{advice}"


@dataclass
class Findings:
    """How often each kind was found, and where first."""

    counts: dict[Kind, int] = field(default_factory=dict)
    examples: dict[Kind, str] = field(default_factory=dict)

    def add(self, kind: Kind, example: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.examples.setdefault(kind, example)

    def lines(self, *, harmless: bool) -> list[str]:
        """Return a line for each kind that is a note, or for each that is a warning."""
        return [
            kind.line(count, self.examples[kind])
            for kind, count in self.counts.items()
            if kind.harmless == harmless
        ]


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def readable(path: Path | str) -> str:
    """Return a path as one line that any terminal can print, whatever its bytes are."""
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def several(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(readable, names[:most])) + more
