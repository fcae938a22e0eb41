"""The report as Markdown, with its figures in files beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from bnexp.display import comparison
from bnexp.report.content import Content, diverged_table, runs_table
from bnexp.report.pictures import Picture
from bnexp.report.question import runs
from bnexp.report.reproduce import circumstances_table, computed_alike


def markdown(content: Content, folder: str) -> str:
    """Return the text.

    Args:
        folder: where the figures are, as a link from the text.
    """
    head = [f"# {_plain(content.title)}", "", _plain(content.question), "", *_list(content.in_short)]
    parts = [f"\n## {heading}\n\n{body}" for heading, body in _sections(content, folder) if body]
    return "\n".join([*head, *parts]) + "\n"


def _sections(content: Content, folder: str) -> Iterable[tuple[str, str]]:
    yield "Comparison", comparison.markdown(content.comparison)
    yield "Runs that diverged", _table(*diverged_table(content)) if content.divergences else ""
    for heading, pictures in groupby(content.pictures, key=lambda picture: picture.heading):
        yield heading, "\n\n".join(_figure(picture, folder) for picture in pictures)
    warned = [_plain(f"{one.text} ({runs(one.runs)}: {one.places})") for one in content.warnings]
    yield "Warnings", "\n".join(_list(warned or ["None fired."]))
    yield "To reproduce", _reproduce(content)
    yield "Every run", _table(*runs_table(content))


def _figure(picture: Picture, folder: str) -> str:
    caption = _plain(picture.caption)
    return (
        caption if picture.svg is None else f"![{picture.heading}]({folder}/{picture.name}.svg)\n\n{caption}"
    )


def _reproduce(content: Content) -> str:
    blocks = [f"{_plain(command.note)}:\n\n{_code(command.text)}" for command in content.commands]
    blocks.append(f"this report:\n\n{_code(content.own)}")
    rows = [[name, text] for name, text, _ in circumstances_table(content.circumstances)]
    return "\n\n".join([*blocks, computed_alike(content.circumstances), _table(["", "value"], rows)])


def _code(text: str) -> str:
    return f"```sh\n{text}\n```"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(
        "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _list(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is."""
    for sign in "\\`*_<>[]#":
        text = text.replace(sign, "\\" + sign)
    return text
