"""The report's numbers for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bnexp.analysis.groups import Group
from bnexp.display import comparison
from bnexp.figures.cost import COSTS
from bnexp.report.content import Content


def data(content: Content) -> dict[str, Any]:
    """Return what report.json holds; `groups` is what `bnexp compare --json` prints, with costs."""
    return {
        "title": content.title,
        "question": content.question,
        "in_short": content.in_short,
        "metrics": list(content.comparison.metrics),
        "groups": [
            row | {"cost": _costs(group)}
            for row, group in zip(comparison.data(content.comparison), content.comparison.groups, strict=True)
        ],
        "notes": list(content.comparison.notes),
        "diverged": [asdict(one) for one in content.divergences],
        "figures": [
            {"name": one.name, "heading": one.heading, "shown": one.svg is not None, "caption": one.caption}
            for one in content.pictures
        ],
        "warnings": [asdict(one) for one in content.warnings],
        "commands": [asdict(one) for one in content.commands],
        "command": content.own,
        "circumstances": {one.name: dict(one.values) for one in content.circumstances},
        "runs": _runs(content),
    }


def _costs(group: Group) -> dict[str, Mapping[str, Any] | None]:
    found = {tag: group.estimate(tag) for tag in COSTS}
    return {tag: None if one is None else vars(one) for tag, one in found.items()}


def _runs(content: Content) -> list[dict[str, Any]]:
    return [
        {
            "path": str(record.run.path),
            "status": record.status,
            "seed": record.config.get("seed"),
            "config_hash": record.result.get("config_hash"),
            "command": command,
            **{tag: record.metric(tag) for tag in content.comparison.metrics},
        }
        for record, command in zip(content.records, content.run_commands, strict=True)
    ]
