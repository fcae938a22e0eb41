"""Rows of cells as aligned text: a tenth of the time of rich's tables, and never cut or folded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = 2
LONGEST = 4 * 10**4  # letters: whatever reads a pipe gets whole lines

Cell = str | tuple[str, str]  # a text, or a text and its style
Row = Sequence[Cell]


def wide_console() -> Console:
    """Return a console that cuts no line where no terminal has a width."""
    console = Console()
    return console if console.is_terminal else Console(width=LONGEST)


def show(
    console: Console,
    headers: Sequence[str],
    rows: Sequence[Row],
    *,
    right: Collection[int] = (),
    narrow: Literal["names", "records"],
    names: int = 1,
) -> None:
    """Print rows under headers; a row with fewer cells than headers ends in one that takes all the rest.

    Args:
        right: the columns whose cells stand at the right.
        narrow: what to do where a terminal is too narrow: `names` puts the first cells of a row, `names` of
            them, on a line of their own, `records` puts each on one, after its header.
    """
    cells = [[(header, "bold") for header in headers], *rows]
    if sum(widths := _widths(cells)) + GAP * (len(widths) - 1) > console.width:
        if narrow == "names":
            cells = [half for row in cells for half in ([_joined(row[:names])], ["", *row[names:]])]
            right = [place - names + 1 for place in right]
        else:
            cells = [line for row in rows for line in [*zip(cells[0], row, strict=False), ()]]
            right = ()
    console.print(_text(cells, right), soft_wrap=True, end="")


def _joined(cells: Row) -> Cell:
    words = [cell if isinstance(cell, str) else cell[0] for cell in cells]
    style = "" if isinstance(cells[0], str) else cells[0][1]
    return (" " * GAP).join(words), style


def visible(text: str) -> str:
    """Return `text` with escapes for what would move the cursor or cannot be written, as in file names."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def _text(rows: Sequence[Row], right: Collection[int]) -> Text:
    widths, found = _widths(rows), Text()
    for row in rows:
        for place, cell in enumerate(row):
            word, style = (cell, "") if isinstance(cell, str) else cell
            space = " " * (widths[place] - cell_len(word))
            found.append(space if place in right else "")
            found.append(word, style)
            found.append(
                "" if place == len(row) - 1 else (" " * GAP if place in right else space + " " * GAP)
            )
        found.append("\n")
    return found


def _widths(rows: Sequence[Row]) -> list[int]:
    count = max(map(len, rows))
    found = [0] * count
    for row in rows:
        for place, cell in enumerate(row if len(row) == count else row[:-1]):
            found[place] = max(found[place], cell_len(cell if isinstance(cell, str) else cell[0]))
    return found
