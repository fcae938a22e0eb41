"""Figures as parts of a page: their own names, nothing that points outside."""

from __future__ import annotations

import re
from html import escape

PROLOG = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
ROOT = re.compile(r"<svg\b[^>]*>")
VIEW_BOX = re.compile(r'viewBox="[^"]*"')
NAMES = re.compile(r'(\bid="|href="#|url\(#)')


def inline(text: str, name: str, label: str) -> str:
    """Return an SVG file's text as an element of an HTML page.

    Args:
        name: goes before every id, so that figures on one page do not share any.
        label: what a screen reader says in place of the picture.
    """
    box = VIEW_BOX.search(text)
    assert box is not None
    body = PROLOG.sub("", text)
    body = ROOT.sub("", body, count=1)
    body = NAMES.sub(rf"\g<1>{name}-", body).replace("xlink:href", "href")
    title = f'<title id="{name}-title">{escape(label)}</title>'
    return f'<svg {box[0]} role="img" aria-labelledby="{name}-title">{title}{body.strip()}'
