"""A list of names that everyone needs stands in one module; a second copy would drift from it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnexp import metrics
from bnexp.choices import GROUPS
from bnexp.config import ACTIVATIONS
from bnexp.figures.catalog import FIGURES
from bnexp.statuses import STATUSES

PACKAGE = Path(__file__).parents[1] / "bnexp"
ALIKE = 3  # so many names of one list in another are a copy
COMMON = {"choices.py": 6}  # names that stand together for other reasons, too
LISTS = {
    "config.py": ACTIVATIONS,
    "choices.py": GROUPS,
    "figures/catalog.py": FIGURES,
    "metrics.py": [*(one.name for one in metrics.MEASURED), *metrics.tags(*metrics.SPLITS)],
    "statuses.py": STATUSES,
}


def collections(source: str) -> Iterator[set[str]]:
    """Yield the strings of each tuple, list, set and of the keys of each mapping that a source spells out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            items = node.elts
        elif isinstance(node, ast.Dict):
            items = [key for key in node.keys if key is not None]
        else:
            continue
        yield {item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)}


def copies(names: set[str], home: str, package: Path = PACKAGE) -> list[str]:
    """Return the modules other than `home` that spell out several of `names` together."""
    return [
        str(path.relative_to(package))
        for path in sorted(package.rglob("*.py"))
        if path != package / home
        for found in collections(path.read_text(encoding="utf-8"))
        if len(found & names) >= COMMON.get(home, ALIKE)
    ]


@pytest.mark.parametrize("home", LISTS)
def test_no_other_module_lists_the_names(home: str) -> None:
    assert copies(set(LISTS[home]), home) == []


def test_a_copy_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "copy.py").write_text("COLORS = {'finished': 1, 'failed': 2, 'diverged': 3}\n")
    (tmp_path / "pair.py").write_text("ENDS = ('ended', 'failed')\n")
    assert copies(set(STATUSES), "statuses.py", tmp_path) == ["copy.py"]
