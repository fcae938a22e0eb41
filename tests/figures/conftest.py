"""One set of synthetic runs for all figures."""

import pytest
from synthetic_runs import config, telling_rows, write_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Runs by name: custom and none with three seeds each, one that diverges, one without telemetry."""
    root = tmp_path_factory.mktemp("runs")
    made = {}
    for norm in ("custom", "none"):
        for seed in range(3):
            rows = telling_rows(norm, seed)
            made[f"{norm}{seed}"] = write_run(
                root / f"{norm}{seed}", rows, config=config(norm, seed=seed), result={"status": "finished"}
            )
    exploding = {step: row for step, row in telling_rows("none").items() if step <= 60}
    for step, row in exploding.items():
        row.scalars |= {"loss/train": 2.3 * 10.0 ** (step / 4)}
        row.scalars |= {tag: 1e9 for tag in row.scalars if tag.startswith("percentile/") and step == 60}
    exploding[60].scalars["loss/train"] = float("nan")
    details = {"status": "diverged", "diverged": {"first_step": 60, "last_step": 60, "origin": "conv1"}}
    made["diverged"] = write_run(
        root / "diverged", exploding, config=config("none", optimizer__lr=9.0), result=details
    )
    quiet = {0: telling_rows("none")[0]}
    quiet[0].histograms.clear()
    quiet[0].scalars = {"loss/val": 2.3, "accuracy/val": 0.1}
    made["quiet"] = write_run(
        root / "quiet", quiet, config=config("none", epochs=1), result={"status": "finished"}
    )
    return made
