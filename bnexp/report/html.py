"""The report as one HTML file: no script, no font, no picture from elsewhere.

`page.html` is the page, `sections.html` its sections, `page.css` its style. Templates escape everything but
the figures, which `inline` makes parts of the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bnexp.display.comparison import MARK, legend
from bnexp.report.content import Content, diverged_table, runs_table, warnings_table
from bnexp.report.pictures import Picture
from bnexp.report.question import runs
from bnexp.report.reproduce import circumstances_table, computed_alike

BREAKS = re.compile(r" (?=\(|± 95 %)")
PROLOG = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
ROOT = re.compile(r"<svg\b[^>]*>")
VIEW_BOX = re.compile(r'viewBox="([^"]*)"')
NAMES = re.compile(r'(\bid="|href="#|url\(#)')


@dataclass(frozen=True)
class Section:
    """A part of the page: `kind` is the macro of sections.html that shows what is `given`."""

    heading: str
    kind: str
    given: object

    @property
    def anchor(self) -> str:
        return self.heading.lower().replace(" ", "-")


@dataclass(frozen=True)
class Svg:
    """An SVG file as a part of a page: what its root element contains, up to its end, and its `viewBox`."""

    view_box: str
    body: str


def html(content: Content) -> str:
    """Return the whole page."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "circumstances_table": circumstances_table,
        "computed_alike": computed_alike,
        "diverged_table": diverged_table,
        "inline": inline,
        "legend": lambda found: [*legend(found), *found.notes],
        "parts": BREAKS.split,
        "runs": lambda found: runs(len(found)),
        "runs_table": runs_table,
        "warnings_table": warnings_table,
    }
    templates.tests["best"] = lambda text: text.endswith(MARK)
    return templates.get_template("page.html").render(content=content, parts=list(sections(content)))


def sections(content: Content) -> Iterator[Section]:
    """Yield the sections in their order."""
    yield Section("Comparison", "comparison", content.comparison)
    if content.divergences:
        yield Section("Runs that diverged", "diverged", content)
    for heading, pictures in groupby(content.pictures, key=lambda picture: picture.heading):
        yield Section(heading, "figures", list(pictures))
    yield Section("Warnings", "warnings", content)
    yield Section("To reproduce", "reproduce", content)
    yield Section("Every run", "runs", content)


def inline(picture: Picture) -> Svg:
    """Return a figure without what only a file of its own needs, and with ids that no other figure has."""
    assert picture.svg is not None
    box = VIEW_BOX.search(picture.svg)
    assert box is not None
    body = ROOT.sub("", PROLOG.sub("", picture.svg), count=1)
    body = NAMES.sub(rf"\g<1>{picture.name}-", body).replace("xlink:href", "href")
    return Svg(box[1], body.strip())
