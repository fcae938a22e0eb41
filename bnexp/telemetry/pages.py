"""What TensorBoard shows of a run besides curves: how it was made, what it was fed, what it took for what."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.plugins.text.metadata import create_summary_metadata  # type: ignore[import-untyped]
from tensorboard.util.tensor_util import make_tensor_proto  # type: ignore[import-untyped]
from torch import Tensor

from bnexp import metrics
from bnexp.telemetry.summaries import of_image, of_plugin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES, IMAGES_A_ROW = 32, 8
GAP = 2  # white pixels around each image
GRID_WIDTH = 512  # small images are enlarged to about this many pixels together
GRID_PIXELS = 2**20  # of large images, fewer are shown

NUMBERED, NAMED = 20, 40  # classes up to which the confusion matrix has room for counts, and for names
DPI = 100
SMALLEST_INCHES, LARGEST_INCHES = 4.0, 11.0  # TensorBoard's cards shrink large images without smoothing
INCHES_A_CLASS, INCHES_A_LETTER = 0.32, 0.08


def config_page(command: str, config: str) -> Summary:
    """Return the summary of a text page: the command line that made the run and its resolved YAML."""
    # The command is no block, so that a long one is wrapped.
    text = f"`` {command} ``\n\n```yaml\n{config.rstrip()}\n```\n"
    metadata = create_summary_metadata(display_name="", description="")
    return of_plugin("config", metadata, make_tensor_proto(text))


def input_images(inputs: Tensor, mean: Sequence[float], std: Sequence[float]) -> Summary:
    """Return the summary `images/train`: the first inputs of a batch as they looked, x std + mean.

    At most 32, eight in a row, enlarged by a whole factor; fewer where images are large.

    Shape: inputs float (N, C, H, W), normalized, C 1 or 3. mean, std (C,), of pixels from 0 to 1.
    """
    # Here and not above: slow, and drawn once, at the start of training.
    from torchvision.utils import make_grid  # type: ignore[import-untyped]

    height, width = inputs.shape[-2:]
    num = min(len(inputs), IMAGES, max(IMAGES_A_ROW, GRID_PIXELS // (height * width)))
    level, scale = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
    pixels = inputs[:num].detach().float().cpu() * scale + level
    grid = make_grid(pixels.clamp(0, 1), nrow=IMAGES_A_ROW, padding=GAP, pad_value=1.0)
    factor = max(1, GRID_WIDTH // grid.shape[-1])
    large = grid.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    png = io.BytesIO()
    Image.fromarray((large * 255).round().byte().permute(1, 2, 0).numpy()).save(png, format="png")
    return of_image("images/train", png.getvalue(), *large.shape[1:])


def confusion(targets: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Return how many examples of each class (row) were taken for each class (column).

    Shape: targets, predictions int64 (N,), in [0, K) with K = num_classes -> int64 (K, K), on the CPU.
    """
    pairs = (targets * num_classes + predictions).cpu()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def confusion_image(counts: Tensor, classes: Sequence[str], *, split: str = "test") -> Summary:
    """Return the summary `confusion/<split>`: a cell's shade is its share of the row, its number the count.

    Shades go by the square root of the share, so that rare mistakes show. Beyond 20 classes there are no
    numbers, beyond 40 no names.

    Shape: counts (K, K), rows the true classes, columns the predicted.
    """
    # Here and not above: slow, and drawn once, at the end of training.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = max(map(len, classes)) * INCHES_A_LETTER if len(classes) <= NAMED else 0.0
    side = min(LARGEST_INCHES, max(SMALLEST_INCHES, 0.8 + INCHES_A_CLASS * len(classes) + names))
    figure = Figure(figsize=(side, side), layout="constrained", dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    total = int(counts.sum())
    accuracy = metrics.of("accuracy").text(int(counts.trace()) / max(1, total))
    figure.suptitle(f"{split}: {total:,} examples, accuracy {accuracy}", fontsize=11)
    _draw_cells(figure.add_subplot(), counts, classes)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    width, height = canvas.get_width_height()
    return of_image(f"confusion/{split}", png.getvalue(), height, width)


def _draw_cells(axes: Axes, counts: Tensor, classes: Sequence[str]) -> None:
    shades = (counts / counts.sum(1, keepdim=True).clamp(min=1)).sqrt()
    axes.imshow(shades.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(classes) <= NAMED:
        upright = max(map(len, classes)) > 3
        axes.set_xticks(range(len(classes)), classes, rotation=90 if upright else 0, parse_math=False)
        axes.set_yticks(range(len(classes)), classes, parse_math=False)
    if len(classes) <= NUMBERED:
        # Zeros are left out, so that mistakes show.
        for row, column in counts.nonzero().tolist():
            colour = "white" if shades[row, column] > 0.5 else "black"
            axes.text(
                column, row, str(int(counts[row, column])), ha="center", va="center", color=colour, fontsize=9
            )
