"""The pages about a run: what stands on them, and that drawing them leaves no trace."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from bnexp.telemetry.custom_scalars import layout
from bnexp.telemetry.pages import confusion, confusion_image, input_images

DARKEST = (8, 48, 107)  # matplotlib's Blues at 1: the whole row


def pixels(summary):
    (value,) = summary.value
    image = Image.open(io.BytesIO(value.image.encoded_image_string)).convert("RGB")
    assert image.size == (value.image.width, value.image.height)
    return np.array(image)


def test_a_row_of_the_confusion_matrix_is_a_true_class():
    targets, predictions = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([0, 0, 2, 1, 1, 2])
    assert confusion(targets, predictions, 4).tolist() == [[2, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0] * 4]


def test_shades_of_the_confusion_matrix_are_shares_of_the_row():
    picture = pixels(confusion_image(torch.tensor([[3, 0], [0, 3000]]), ["a", "b"]))
    rows, columns = np.nonzero((picture == DARKEST).all(2))
    above = rows < (rows.min() + rows.max()) / 2
    # Two cells of one size, but for the digits written on them.
    assert above.sum() == pytest.approx((~above).sum(), rel=0.05)
    assert columns[above].max() <= columns[~above].min()


def test_the_accuracy_is_drawn():
    one, other = (
        pixels(confusion_image(torch.tensor(c), ["a", "b"])) for c in ([[1, 0], [0, 1]], [[1, 0], [0, 2]])
    )
    assert (one != other).any()


@pytest.mark.parametrize("num_classes", [1, 2, 10, 21, 100])
def test_a_confusion_matrix_can_be_drawn_for_any_number_of_classes(num_classes):
    counts = torch.eye(num_classes, dtype=torch.int64)
    assert max(pixels(confusion_image(counts, ["name"] * num_classes)).shape) <= 1100


def test_a_class_without_examples_and_a_name_like_a_formula_can_be_drawn():
    assert pixels(confusion_image(torch.tensor([[2, 0], [0, 0]]), ["$\\frac", "b_{"])).any()


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((64, 3, 32, 32), (4, 8)),
        ((5, 1, 28, 28), (1, 5)),
        ((1, 1, 28, 28), (1, 1)),
        ((64, 3, 512, 512), (1, 8)),
    ],
)
def test_inputs_are_shown_in_a_grid_of_moderate_size(shape, shown):
    height, width, _ = pixels(input_images(torch.zeros(shape), [0.5] * shape[1], [1.0] * shape[1])).shape
    side = shape[-1]
    factor = width // (shown[1] * side)
    assert factor >= 1
    assert 0 <= width / factor - shown[1] * side <= 2 * (shown[1] + 1)
    assert 0 <= height / factor - shown[0] * side <= 2 * (shown[0] + 1)


def test_pixels_beyond_black_and_white_are_cut_off():
    inputs = torch.tensor([-9.0, 0.0, 9.0]).view(1, 1, 1, 3)
    assert set(pixels(input_images(inputs, [0.5], [1.0])).ravel().tolist()) >= {0, 128, 255}


def test_nothing_heavy_is_imported_before_a_page_is_made_and_pyplot_never():
    code = """
import sys, torch
import bnexp.commands.doctor, bnexp.commands.eval
assert not {"matplotlib", "tensorboard", "torchvision"} & set(sys.modules)
from bnexp.telemetry.pages import confusion_image
assert not {"matplotlib", "torchvision"} & set(sys.modules)
confusion_image(torch.eye(2), ["a", "b"])
assert "matplotlib.pyplot" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_bands_stand_in_the_order_that_tensorboard_shows_them_in():
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    names = [f"block{number}.norm" for number in range(14)]
    (value,) = layout(names, []).value
    found = Layout.FromString(value.tensor.string_val[0])
    bands = [chart.title for chart in found.category[1].chart]
    assert [*reversed(bands[:12]), *reversed(bands[12:])] == names
