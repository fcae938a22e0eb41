"""Readings of many tags at once: one tensor to bring to the host, one function to take it apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bnexp.protocols import Measurement, Reading
from bnexp.telemetry.counting import WIDTH, Counted, histogram


def scalars(tags: Sequence[str], values: Tensor) -> Reading:
    """Return the reading of one scalar for each tag; values (len(tags),)."""
    return Reading(values, lambda numbers: Measurement(dict(zip(tags, numbers, strict=True))))


def histograms(counted: Mapping[str, Counted], non_finite: Mapping[str, str]) -> Reading:
    """Return the reading of one histogram for each tag.

    Args:
        counted: by tag; at least one.
        non_finite: the scalar tag under which a histogram's non-finite values are told, by its tag.
    """
    tags = list(counted)

    def decode(numbers: list[float]) -> Measurement:
        found = Measurement()
        for index, tag in enumerate(tags):
            share = numbers[index * WIDTH : (index + 1) * WIDTH]
            found.histograms[tag], left_out = histogram(share, counted[tag].grid)
            if tag in non_finite:
                found.scalars[non_finite[tag]] = left_out
        return found

    return Reading(torch.cat([one.numbers for one in counted.values()]), decode)
