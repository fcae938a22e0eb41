"""The groups, their choices and what each choice says of itself, read from the YAML folders.

The folder is the registry: a choice is a file `conf/GROUP/NAME.yaml`, described by its first comment line. A
folder `bnexp_conf` in the working directory adds choices in the same way. Needs neither Hydra nor torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

OWN_FOLDER = "bnexp_conf"


def conf_dir() -> Path:
    """Return the folder of shipped YAMLs: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def conf_dirs() -> list[Path]:
    """Return every folder that choices come from; the shipped one first, so its names cannot be taken."""
    own = Path.cwd() / OWN_FOLDER
    return [conf_dir(), own] if own.is_dir() else [conf_dir()]


def groups() -> dict[str, dict[str, str]]:
    """Return, for each group, its choices with their one-line descriptions."""
    found: dict[str, dict[str, str]] = {}
    for folder in conf_dirs():
        for path in sorted(folder.glob("*/*.yaml")):
            found.setdefault(path.parent.name, {}).setdefault(path.stem, description(path))
    return found


def description(path: Path) -> str:
    """Return a YAML's first comment line, without Hydra's package directive."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            return ""
        if not line.startswith("# @package"):
            return line.lstrip("# ").strip()
    return ""


def own_values(group: str, option: object) -> Mapping[str, Any]:
    """Return what the YAML of a choice says at its top, `${...}` as it stands; nothing of an unknown choice.

    Args:
        option: may come from a run's configuration: it is compared with names and opens no file by itself.
    """
    paths = (path for folder in conf_dirs() for path in folder.glob(f"{group}/*.yaml"))
    return next((_load(path) for path in paths if path.stem == option), {})


@lru_cache(maxsize=256)
def _load(path: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
