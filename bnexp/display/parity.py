"""The parity matrix as tables: checks down, norms (or places of one norm) across."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bnexp.parity.tolerances import MatrixCell

CELL_WIDTH = 16
STYLES = {"pass": "green", "fail": "bold red", "not applicable": "dim"}


def matrix(console: Console, cells: Sequence[MatrixCell]) -> None:
    """Print, for each check, the cell with the largest error measured by its tolerance."""
    norms = list(dict.fromkeys(cell.norm for cell in cells))
    if len(norms) == 1:
        _bands(console, cells, [cell.place for cell in cells], norms[0])
    else:
        _bands(console, cells, [cell.norm for cell in cells], "largest error and its tolerance")


def details(console: Console, cells: Sequence[MatrixCell]) -> None:
    """Print every failure, and why cells are not applicable."""
    reasons: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.finding.status == "not applicable":
            reasons.setdefault(cell.finding.reason, {})[f"{cell.norm} {cell.check}"] = None
    for reason, places in reasons.items():
        listed = list(places)
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        console.print(f"[dim]not applicable:[/] {escape(reason)} ({escape(', '.join(listed[:3]))}{more})")
    for cell in cells:
        if cell.finding.status == "fail":
            finding = cell.finding
            where = " ".join(part for part in (cell.norm, cell.check, cell.place) if part)
            case = f" ({finding.case})" if finding.case else ""
            reason = f": {finding.reason}" if finding.reason else ""
            console.print(f"[bold red]fail:[/] {escape(f'{where}{case}: {_text(cell)}{reason}')}")


def _bands(console: Console, cells: Sequence[MatrixCell], keys: Sequence[str], title: str) -> None:
    """Print as many columns side by side as the console is wide, the others below."""
    checks = list(dict.fromkeys(cell.check for cell in cells))
    columns = list(dict.fromkeys(keys))
    worst: dict[tuple[str, str], MatrixCell] = {}
    for key, cell in zip(keys, cells, strict=True):
        before = worst.get((cell.check, key))
        if before is None or cell.ratio > before.ratio:
            worst[cell.check, key] = cell
    room = console.width - max(map(len, checks))
    across = max(1, room // (CELL_WIDTH + 1))
    for first in range(0, len(columns), across):
        table = Table(
            title=escape(title), title_justify="left", box=None, pad_edge=False, header_style="bold"
        )
        table.add_column("")
        band = columns[first : first + across]
        for name in band:
            table.add_column(escape(name), justify="right", min_width=CELL_WIDTH - 2, no_wrap=True)
        for check in checks:
            table.add_row(check, *(_styled(worst.get((check, name))) for name in band))
        console.print(table)


def _styled(cell: MatrixCell | None) -> str:
    return "" if cell is None else f"[{STYLES[cell.finding.status]}]{_text(cell)}[/]"


def _text(cell: MatrixCell) -> str:
    """Return an error and its tolerance: `3e-16 < 1e-12`, `2e-03 > 1e-12`, `0 exact`, or `-`."""
    finding = cell.finding
    if finding.tolerance is None:
        return "-"
    error = "?" if finding.error is None else f"{finding.error:.0e}" if finding.error else "0"
    if finding.status == "fail":
        return f"{error} > {finding.tolerance:.0e}" if finding.tolerance else f"{error}, not exact"
    return f"{error} < {finding.tolerance:.0e}" if finding.tolerance else "exact"
