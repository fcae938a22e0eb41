"""More configurations than there are colours: facets, and which of many are shown."""

import re

import numpy as np
import pytest
from reported import finished
from synthetic_runs import config, telling_rows, write_run

from bnexp.analysis.groups import grouped
from bnexp.analysis.records import all_records
from bnexp.display.comparison import Comparison
from bnexp.figures.subjects import look
from bnexp.report.question import in_short, question
from bnexp.report.selection import arms_of, distinct, faceted, some

DONE = {"status": "finished", "accuracy/test": 0.5}


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """Two norms with five batch sizes."""
    root = tmp_path_factory.mktemp("many")
    rows = {step: row for step, row in telling_rows("custom").items() if step <= 20}
    for norm in ("custom", "none"):
        for place in range(5):
            name, size = f"{norm}-{place}", 2**place
            finished(
                root, name, norm, batch_size=size, accuracy=0.1 * place + (norm == "custom") / 2, rows=rows
            )
    return grouped(sorted(all_records(root), key=lambda record: record.name))


def test_one_knob_has_the_colours_and_the_others_the_facets(groups):
    split = faceted(groups, arms_of(groups))
    assert [group.name for group in split.legend] == ["batch norm (ours)", "no norm"]
    assert [facet.title for facet in split.facets] == [f"batch {2**place}" for place in range(5)]
    for facet in split.facets:
        assert [group.look for group in facet.groups] == [look(0), look(1)]
        assert {run.look for group in facet.groups for run in group.members} == {look(0), look(1)}


def test_few_of_many_reach_from_the_best_to_the_worst(groups):
    means = np.asarray([group.estimate("accuracy/test").mean for group in groups])
    picked = some(groups, "accuracy/test", 4)
    assert picked == sorted(picked) and len(set(picked)) == 4
    assert {means.argmax(), means.argmin()} <= set(picked)
    assert some(groups, "accuracy/test", 10) == list(range(10))


def test_groups_in_one_panel_have_their_own_colours(groups):
    shared = faceted(groups, arms_of(groups)).groups[:4]
    assert len({group.look.color for group in shared}) < 4
    assert len({group.look.color for group in distinct(shared)}) == 4


def test_panels_of_momenta_are_none_where_a_norm_has_no_momentum(tmp_path):
    momenta = [place / 10 for place in range(1, 8)]
    configs = {f"custom-{each}": config(norm__momentum=each, head_norm__momentum=each) for each in momenta}
    rows = {0: telling_rows("custom")[0]}
    for name, settings in {**configs, "none": config("none")}.items():
        write_run(tmp_path / "default" / name, rows, config=settings, result={"status": "finished"})
    found = grouped(all_records(tmp_path))
    names = sorted(group.name for group in found)
    assert names == [*(f"batch norm (ours), momentum {each}" for each in momenta), "no norm"]
    assert faceted(found, arms_of(found)) is None


def test_the_first_sentence_names_all_that_share_the_best_mean(tmp_path):
    for index, (size, accuracy) in enumerate([(8, 0.90001), (16, 0.90003), (64, 0.5)]):
        for seed in (0, 1):
            spread = 0.03 * (seed - 0.5)
            finished(
                tmp_path, f"{index}{seed}", "custom", batch_size=size, seed=seed, accuracy=accuracy + spread
            )
    comparison = Comparison(grouped(all_records(tmp_path)), ["accuracy/test"])
    best, worst = in_short(comparison)[:2]
    assert re.match(r"Highest mean test accuracy: (batch 8; batch 16|batch 16; batch 8): 0\.9000 ±", best)
    assert worst.startswith("Lowest mean test accuracy: batch 64: 0.5000 ±")


def test_the_question_names_what_is_shared_and_unusual(tmp_path):
    for norm in ("custom", "none"):
        write_run(
            tmp_path / norm,
            telling_rows(norm, 0),
            config=config(norm, activation="relu", optimizer__lr=0.5),
            result=DONE,
        )
    told = question(all_records(tmp_path))
    assert told.endswith("lenet on digits, 5 epochs, relu, lr 0.5")
