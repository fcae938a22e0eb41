"""What the tests run on: where a number differs from another machine's, look at these lines first."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

INSTRUCTIONS = re.compile(r"fma|avx\w*|amx\w*|asimd\w*|sve\w*|bf16|i8mm")
SETTINGS = re.compile(r"ATEN_CPU_CAPABILITY|(ONEDNN|DNNL|MKL|OMP|KMP)_\w+")
LIBRARIES = re.compile(r"(?:Math Kernel Library Version|MKL-DNN|oneDNN) v?[\d.]+")


def description() -> list[str]:
    """Return a line each for the processor, for what torch makes of it, and for settings that change that."""
    file = Path("/proc/cpuinfo")
    cpuinfo = file.read_text() if file.exists() else ""
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", cpuinfo, re.MULTILINE)
    instructions = [flag for flag in (flags[1].split() if flags else []) if INSTRUCTIONS.fullmatch(flag)]
    libraries = LIBRARIES.findall(torch.__config__.show())
    settings = [f"{name}={value}" for name, value in os.environ.items() if SETTINGS.fullmatch(name)]
    return [
        f"processor: {model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        f"instructions: {' '.join(instructions) or 'unknown'}",
        f"torch {torch.__version__}: {', '.join([torch.backends.cpu.get_cpu_capability(), *libraries])}",
        f"settings: {' '.join(settings) or 'none'}",
    ]
