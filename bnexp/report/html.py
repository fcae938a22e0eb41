"""The report as one HTML file: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from bnexp.display.comparison import legend
from bnexp.report.content import Content, Warned
from bnexp.report.picture import Picture
from bnexp.report.question import runs
from bnexp.report.reproduce import Circumstance
from bnexp.report.svg import inline
from bnexp.report.wording import circumstances_table, computed_alike, runs_table, where

STYLE = Path(__file__).with_name("page.css")
MOST_OPEN = 24  # rows of a table that is not folded
BREAKS = re.compile(r" (?=\(|± 95 %|- baseline)")
MARK = " *"  # of the best in a column


def html(content: Content) -> str:
    """Return the whole page."""
    sections = {heading: body for heading, body in _sections(content) if body}
    links = "".join(f'<a href="#{_anchor(heading)}">{escape(heading)}</a> ' for heading in sections)
    parts = [
        f'<section id="{_anchor(heading)}">\n<h2>{escape(heading)}</h2>\n{body}\n</section>'
        for heading, body in sections.items()
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="bnexp report">
<link rel="icon" href="data:,">
<title>{escape(content.title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>{escape(content.title)}</h1>
<p class="question">{escape(content.question)}</p>
{_list(content.in_short)}
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{chr(10).join(parts)}
</main>
</body>
</html>
"""


def _sections(content: Content) -> Iterable[tuple[str, str]]:
    yield "Comparison", _comparison(content)
    yield "Runs that diverged", _diverged(content)
    for heading, pictures in groupby(content.pictures, key=lambda picture: picture.heading):
        yield heading, "\n".join(map(_figure, pictures))
    yield "Warnings", _warnings(content.warnings)
    yield "To reproduce", _reproduce(content)
    yield "Every run", _runs(content)


def _comparison(content: Content) -> str:
    comparison = content.comparison
    words = len(comparison.choices()) or 1
    table = _table(comparison.headers(), comparison.rows(), words)
    return table + "".join(
        f'<p class="note">{escape(note)}</p>\n' for note in [*legend(comparison), *comparison.notes]
    )


def _diverged(content: Content) -> str:
    found = content.divergences
    rows = [[one.configuration, str(one.seed), one.text, one.run] for one in found]
    if not rows:
        return ""
    told = f"<p>{len(rows)} of {runs(len(content.records))} diverged: their loss stopped being finite.</p>"
    return told + _table(["configuration", "seed", "where", "run"], rows, 4)


def _figure(picture: Picture) -> str:
    if picture.svg is None:
        return f'<p class="missing">{escape(picture.caption)}</p>'
    label = f"{picture.heading}. {picture.caption}"
    return (
        f'<figure id="figure-{picture.name}">\n{inline(picture.svg, picture.name, label)}\n'
        f"<figcaption>{escape(picture.caption)}</figcaption>\n</figure>"
    )


def _warnings(found: Sequence[Warned]) -> str:
    if not found:
        return "<p>None fired.</p>"
    return _table(["warning", "runs", "where"], [[one.text, str(one.runs), where(one)] for one in found], 3)


def _reproduce(content: Content) -> str:
    parts = [
        f'<div class="together"><p class="soft">{escape(command.note)}</p>\n'
        f"<pre>{escape(command.text)}</pre></div>"
        for command in content.commands
    ]
    own = f'<div class="together"><p class="soft">this report</p>\n<pre>{escape(content.own)}</pre></div>'
    return "\n".join([*parts, own, _circumstances(content.circumstances)])


def _circumstances(found: Sequence[Circumstance]) -> str:
    rows = "".join(_circumstance(*row) for row in circumstances_table(found))
    return f"<p>{escape(computed_alike(found))}</p>\n<table>\n<tbody>\n{rows}</tbody>\n</table>"


def _circumstance(name: str, text: str, differs: bool) -> str:
    css_class = ' class="differs"' if differs else ""
    return f'<tr><th scope="row">{escape(name)}</th><td{css_class}>{escape(text)}</td></tr>\n'


def _runs(content: Content) -> str:
    headers, rows = runs_table(content)
    told = f"{runs(len(rows))}, each with the command that makes it alone"
    opened = " open" if len(rows) <= MOST_OPEN else ""
    return f"<details{opened}>\n<summary>{told}</summary>\n{_table(headers, rows, len(headers))}</details>"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """Return a table; all columns but the first `words` hold numbers."""
    head = "".join(
        f'<th scope="col"{_classes(number >= words)}>{_parts(text)}</th>'
        for number, text in enumerate(headers)
    )
    body = "\n".join(
        "<tr>" + "".join(_cell(text, number >= words) for number, text in enumerate(row)) + "</tr>"
        for row in rows
    )
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return f'<div class="wide">\n{table}\n</div>\n'


def _cell(text: str, number: bool) -> str:
    shown = _parts(text) if number else escape(text)
    return f"<td{_classes(number, text.endswith(MARK))}>{shown}</td>"


def _parts(text: str) -> str:
    """Return text that breaks before a bracket, an interval's name or a difference, and nowhere else."""
    return " ".join(f'<span class="whole">{escape(part)}</span>' for part in BREAKS.split(text))


def _classes(number: bool, best: bool = False) -> str:
    found = [name for name, holds in (("number", number), ("best", best)) if holds]
    return f' class="{" ".join(found)}"' if found else ""


def _list(lines: Sequence[str]) -> str:
    items = "\n".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>\n{items}\n</ul>" if lines else ""


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")
