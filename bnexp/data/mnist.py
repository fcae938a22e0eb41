"""Handwritten digits: 60,000 to train on, 10,000 to test on, 28 x 28, grey."""

from __future__ import annotations

from pathlib import Path

from bnexp.data.idx import idx
from bnexp.protocols import Dataset


def mnist(data_dir: Path) -> Dataset:
    """Return MNIST, downloaded into `data_dir` on first use.

    Raises:
        DataError: absent and not to be had, or present and unreadable.
    Source: LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791.
    """
    return idx("MNIST", data_dir, tuple("0123456789"))
