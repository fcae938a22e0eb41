"""Arrows point down: a module imports only from lower layers, and siblings are strangers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bnexp"

LAYERS = {
    "": 0,
    "errors": 0,
    "config": 0,
    "protocols": 0,
    "nearest": 0,
    "seeding": 0,
    "streams": 0,
    "options": 0,
    "norms": 1,
    "models": 1,
    "data": 1,
    "optimization": 1,
    "telemetry": 1,
    "runs": 1,
    "engine": 2,
    "parity": 2,
    "preflight": 3,
    "composition": 3,
    "weights": 3,
    "attempts": 1,
    "board": 2,
    "pieces": 4,
    "assembly": 5,
    "result": 6,
    "recording": 6,
    "three_way": 6,
    "folding": 6,
    "experiment": 7,
    "display": 8,
    "completion": 8,
    "figures": 8,
    "sweeps": 9,
    "report": 9,
    "commands": 10,
    "cli": 11,
}
CONFIG_LIBRARIES = {"hydra", "omegaconf"}
ENGINE_STRANGERS = ("norms", "models", "data", "optimization", "telemetry", "runs")


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part(dotted: str) -> str:
    """Return the layer's name of `bnexp.part.module`; the package itself is ''."""
    name = [*dotted.split("."), ""][1]
    return name if name in LAYERS else ""


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = part(".".join(("bnexp", *path.relative_to(PACKAGE).with_suffix("").parts)))
    for name in imports(path):
        if name.split(".")[0] == "bnexp" and part(name) != own:
            assert LAYERS[part(name)] < LAYERS[own], f"{own} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_composition_and_sweeps_know_hydra(path: Path) -> None:
    own = part(".".join(("bnexp", *path.relative_to(PACKAGE).with_suffix("").parts)))
    if own not in ("composition", "pieces", "sweeps"):
        assert not {name.split(".")[0] for name in imports(path)} & CONFIG_LIBRARIES


def test_the_engine_knows_no_norm_model_data_set_or_writer() -> None:
    for path in (PACKAGE / "engine").glob("*.py"):
        assert not {part(name) for name in imports(path)} & set(ENGINE_STRANGERS)


def test_every_part_of_the_package_has_a_layer() -> None:
    names = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert names - {"__init__"} <= set(LAYERS)


def test_an_upward_import_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("def f():\n    from bnexp.commands import train\n", encoding="utf-8")
    assert any(LAYERS[part(name)] > LAYERS["norms"] for name in imports(path))
