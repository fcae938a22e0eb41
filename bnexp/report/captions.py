"""What the captions of figures say in the field's words."""

from __future__ import annotations

from collections.abc import Sequence

from bnexp import metrics

CURVES = (
    "What was measured on training batches (each point the mean over a tenth of the rows, over fewer at both "
    "ends) and on the validation split. "
    "A line is the mean over seeds, its band one standard deviation to both sides, within the range of the "
    "seeds (the ± of the table is the 95 % interval of the mean)."
)
APART = "Figures show each configuration by itself, also where a row of the table averages over several."
DIVERGED = (
    "A run that diverged is a thin line of its own that ends in a cross, at the edge where it left the panel."
)
EPOCHS = "Batch sizes differ, so equal steps are unequal amounts of data; epochs compare equal amounts."
TIME = (
    "Seconds of training count what is logged, but neither evaluation nor saving; a line stands at the mean "
    "time of its seeds."
)
RUNNING_STATS = (
    "Running mean and variance of the norms that keep them: the mean over channels, and a band from the "
    "least channel to the greatest. Below, their distance from the statistics of the batch about to be used, "
    "as means over channels: |running mean − batch mean| / batch standard deviation, and |ln(running "
    "variance / batch variance)|. Evaluation uses the running statistics: where the gap stays wide, it sees "
    "another network than training does."
)
PERCENTILES = (
    "15th, 50th and 85th percentile of all activations of a layer, before and after its norm; without a norm "
    "the two coincide. The panels of a column share their axes."
)
GRADIENTS = (
    "How large the gradients of each layer's weights are at step 0, before any update; the line stands at "
    "the median, and all panels share their axes, which may cut the tallest bars. Medians further left the "
    "nearer a layer is to the input are a gradient that vanishes on its way back."
)
COST = "Time of a training step (logging included, evaluation not) and peak memory; a tick is a run."
CPU_MEMORY = (
    "On the CPU, memory is the most that was resident in the process during the run: runs that shared a "
    "process, as in a sweep, also carry what the runs before them left there."
)
ONE_RUN = "One run of each configuration is shown, that with {seed}."


def over_knob(key: str) -> str:
    """Say what a figure of metrics against a knob shows."""
    return (
        "Each point is a run, each marker the mean over seeds with its 95 % interval, as in the table; an "
        f"interval may leave the panel. What differs besides {key} has a line of its own. A cross at the "
        "edge is a run that diverged, which enters no mean."
    )


def heat_map(tags: Sequence[str], rows: str, columns: str) -> str:
    """Return the caption of one map or several, which is no place to call anything best by guessing."""
    names = " and ".join(metrics.of(tag).title for tag in tags)
    unknown = [metrics.of(tag).title for tag in tags if metrics.of(tag).better == "unknown"]
    higher = f" ({', '.join(unknown)}: higher)" if unknown else ""
    return (
        f"Mean {names} over {rows} and {columns}, averaged over seeds and whatever else differs. Brighter is "
        f"better{higher}, on a scale of its own in each map."
    )


def some(number: int, total: int, tag: str) -> str:
    """Return which of many configurations are shown."""
    metric = metrics.of(tag)
    order = "highest to the lowest" if metric.better == "unknown" else "best to the worst"
    return (
        f"{number} of the {total} configurations that logged this are shown, evenly spaced from the {order} "
        f"{metric.title}."
    )
