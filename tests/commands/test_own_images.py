"""What is found in a folder of images reaches the terminal and the log, in every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes of transparent drawings; one test image is a training image, one file is no picture."""
    root = tmp_path / "tree"
    for number, name in enumerate(("train/bar", "train/dot", "test/bar", "test/dot", "val/bar", "val/dot")):
        (root / name).mkdir(parents=True)
        for index in range(8):
            drawing = np.zeros((28, 28, 4), dtype=np.uint8)
            drawing[number + 3, 2 : 4 + index, 3] = 255
            Image.fromarray(drawing).save(root / name / f"{index}.png")
    (root / "test/dot/0.png").write_bytes((root / "train/dot/0.png").read_bytes())
    (root / "train/dot/0.heic").write_bytes(b"")
    return root


LINES = [
    "note: filled with white: 48 images with transparent parts, e.g. train/bar/0.png",
    "note: validation is the data's own part of 16 images: data.val_fraction=0.1 has no effect",
    "warning: left out: 1 file (1 .heic), e.g. train/dot/0.heic; what is read: .",
    "warning: 1 of 16 test images have the same pixels as a training image: test accuracy counts",
]


def test_train_and_doctor_tell_what_was_found(bnexp, tree: Path) -> None:
    words = ("data=image_folder", f"data.root={tree}", f"data_dir={tree.parent}/data", "threads=1", "steps=2")
    for name in ("first", "second"):
        said = bnexp("train", *words, f"output_dir={name}")
        log = (tree.parent / name / "log.txt").read_text().replace("WARNING ", "warning: ")
        for line in LINES:
            assert line in said.out
            assert line in log
        assert "16 train, 16 validation, 16 test" in said.out
    said = bnexp("doctor", *words)
    for line in LINES:
        assert line in said.out
