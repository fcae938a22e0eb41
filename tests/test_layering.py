"""Arrows point down: a module imports only from lower layers, and siblings are strangers."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bnexp"

DRAWING = re.compile(r"^    (\d) +([a-z_]+) +\S", re.MULTILINE)
LAYERS = {
    "": 0,
    **{
        room: int(floor)
        for floor, room in DRAWING.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    },
}
NORM_YAMLS = sorted((ROOT / "conf" / "norm").glob("*.yaml"))
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
            ground = LAYERS[own] == LAYERS[part(name)] == 0  # a circle there could not be imported
            assert ground or LAYERS[part(name)] < LAYERS[own], f"{own} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_composition_and_sweeps_know_hydra(path: Path) -> None:
    own = part(".".join(("bnexp", *path.relative_to(PACKAGE).with_suffix("").parts)))
    if own not in ("composition", "experiment", "sweeps"):
        assert not {name.split(".")[0] for name in imports(path)} & CONFIG_LIBRARIES


def test_the_engine_knows_no_norm_model_data_set_or_writer() -> None:
    for path in (PACKAGE / "engine").glob("*.py"):
        assert not {part(name) for name in imports(path)} & set(ENGINE_STRANGERS)


def test_what_norms_are_held_to_and_what_they_compute_with_are_strangers() -> None:
    """A formula that used the layers' arithmetic would share its mistakes."""
    strangers = {"contract": ("arithmetic", "modifiers"), "arithmetic": ("contract", "modifiers")}
    for folder, others in strangers.items():
        forbidden = tuple(f"bnexp.norms.{other}" for other in others)
        for path in (PACKAGE / "norms" / folder).glob("*.py"):
            assert not [name for name in imports(path) if name.startswith(forbidden)], path


def test_norms_has_one_file_a_norm_at_its_top() -> None:
    targets = {path.read_text(encoding="utf-8").split("_target_: ")[1].split()[0] for path in NORM_YAMLS}
    files = {path.stem for path in (PACKAGE / "norms").glob("*.py")} - {"__init__"}
    assert files == {target.split(".")[2] for target in targets}


def test_the_drawing_names_every_room_and_no_other() -> None:
    names = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert names - {"__init__"} == set(LAYERS) - {""}


def test_the_tests_mirror_the_rooms() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders - set(LAYERS) <= {"contracts", "reliability"}


def test_an_upward_import_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("def f():\n    from bnexp.commands import train\n", encoding="utf-8")
    assert any(LAYERS[part(name)] > LAYERS["norms"] for name in imports(path))
