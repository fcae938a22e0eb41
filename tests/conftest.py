"""Every test computes on one thread: two threads on shared cores can take ten times longer."""

from __future__ import annotations

import processor
import pytest
import torch

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") == "loadfile":
        config.pluginmanager.import_plugin("file_scheduling")


def pytest_report_header() -> list[str]:
    return processor.description()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where workers share the files, begin with the slow ones: at the end, small ones fill the gaps."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)
