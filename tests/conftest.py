"""Every test computes on one thread: two threads on shared cores can take ten times longer."""

from __future__ import annotations

import processor
import pytest
import torch
from file_scheduling import pytest_xdist_make_scheduler  # noqa: F401, a hook of pytest-xdist

torch.set_num_threads(1)


def pytest_report_header() -> list[str]:
    return processor.description()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where workers share the files, begin with the slow ones: at the end, small ones fill the gaps."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)
