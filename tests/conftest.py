"""Every test computes on one thread: two threads on shared cores can take ten times longer."""

from __future__ import annotations

import getpass
import os
import tempfile

import processor
import pytest
import torch

torch.set_num_threads(1)

# Inductor takes what it compiled under another ATEN_CPU_CAPABILITY for its own, and then fails to compile.
CACHE = f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}_{torch.backends.cpu.get_cpu_capability()}"
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", CACHE)


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
