"""Articles of clothing: 60,000 to train on, 10,000 to test on, 28 x 28, grey."""

from __future__ import annotations

from pathlib import Path

from bnexp.data.mnist import idx
from bnexp.protocols import Dataset

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def fashion_mnist(data_dir: Path) -> Dataset:
    """Return Fashion-MNIST, downloaded into `data_dir` on first use.

    Raises:
        DataError: absent and not to be had, or present and unreadable.
    Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747.
    """
    return idx("FashionMNIST", data_dir, CLASSES)
