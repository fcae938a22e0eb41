"""Runs shown together are called by what differs between them, and layers by what they stand in."""

import itertools

import pytest
from synthetic_runs import OURS, config

from bnexp.analysis.layers import choose, layers
from bnexp.analysis.naming import legend_names
from bnexp.errors import ConfigError
from bnexp.shorthand import as_norms_have


@pytest.mark.parametrize(
    "configs, names",
    [
        ([config()], [OURS]),
        ([config(), config("none")], [OURS, "no norm"]),
        ([config(batch_size=8), config(batch_size=64)], ["batch 8", "batch 64"]),
        ([config(seed=0), config("none", seed=1)], [f"{OURS}, seed 0", "no norm, seed 1"]),
        ([config(), config(placement="post")], ["pre", "post"]),
        ([config(), config(optimizer__lr=0.1)], ["lr 0.05", "lr 0.1"]),
        ([config(), config(eps=0.1, norm__eps=0.1, head_norm__eps=0.1)], ["eps 1e-05", "eps 0.1"]),
        ([config(), config()], [f"{OURS} (1)", f"{OURS} (2)"]),
    ],
)
def test_a_name_holds_what_differs(configs, names):
    assert legend_names(configs) == names


def test_knobs_of_a_norm_are_compared_among_its_own_runs():
    biased = config(norm__running_var="biased", head_norm__running_var="biased")
    unbiased = config(norm__running_var="unbiased", head_norm__running_var="unbiased")
    names = legend_names([unbiased, biased, config("none")])
    assert names == [
        f"{OURS}, norm.running_var=unbiased",
        f"{OURS}, norm.running_var=biased",
        "no norm",
    ]


def test_momentum_is_told_once():
    slow = config(momentum=0.01, norm__momentum=0.01, head_norm__momentum=0.01)
    assert legend_names([config(), slow]) == ["momentum 0.1", "momentum 0.01"]


def with_norm(norm, eps):
    node = {"_target_": norm, "_partial_": True, "eps": eps}
    choices = {"choices__norm": norm, "choices__head_norm": norm}
    return config(**choices, eps=eps) | {"norm": node, "head_norm": node}


@pytest.mark.parametrize(
    "configs, names",
    [
        # an eps that frn's and group's own YAMLs bring says nothing beside their names
        (
            [config(), with_norm("frn", 1e-6), with_norm("group", 1e-5)],
            [OURS, "filter response norm", "group norm"],
        ),
        ([with_norm("group", 1e-5), with_norm("group", 1e-3)], ["eps 1e-05", "eps 0.001"]),
        (
            [config(), with_norm("frn", 1e-3)],
            [f"{OURS}, eps 1e-05", "filter response norm, eps 0.001"],
        ),
        (
            [config(), with_norm("builtin", 1e-3)],
            [f"{OURS}, eps 1e-05", "batch norm (torch), eps 0.001"],
        ),
    ],
)
def test_the_eps_of_different_norms_is_told_where_a_word_set_it(configs, names):
    assert legend_names([as_norms_have(each) for each in configs]) == names


def test_the_heads_momentum_is_told_where_it_is_not_the_norms():
    def momenta(norm, head):
        return config(momentum=norm, norm__momentum=norm, head_norm__momentum=head, head_norm__affine=False)

    alike = [momenta(0.1, 0.1), momenta(0.5, 0.5)]
    assert legend_names(alike) == ["momentum 0.1", "momentum 0.5"]
    assert legend_names([*alike, momenta(0.5, 0.1)]) == [
        "momentum 0.1, head_norm.momentum=0.1",
        "momentum 0.5, head_norm.momentum=0.5",
        "momentum 0.5, head_norm.momentum=0.1",
    ]


def test_a_head_norm_is_told_where_it_is_another():
    without = config(choices__head_norm="none", head_norm={"_target_": "bnexp.norms.none.identity"})
    assert legend_names([config(), without]) == [OURS, "no norm in the head"]


def test_what_changes_no_result_is_not_told():
    quiet = config(telemetry__scalars_every=1)
    assert legend_names(
        [config() | {"threads": 1, "runs_dir": "a"}, quiet | {"threads": 2, "runs_dir": "b"}]
    ) == [
        f"{OURS} (1)",
        f"{OURS} (2)",
    ]


def test_names_stay_apart_even_without_choices():
    bare = {key: value for key, value in config().items() if key != "choices"}
    assert legend_names([bare, bare | {"seed": 1}]) == ["seed 0", "seed 1"]
    assert legend_names([bare]) == ["run"]


NAMES = [f"stage{stage}.{block}.conv1.norm" for stage in (1, 2, 3) for block in range(6)]


def test_layers_are_read_from_tags_in_order():
    tags = ["lr", "percentile/b.norm/in/15", "percentile/a.norm/in/15", "percentile/b.norm/out/15"]
    assert layers(tags, "percentile/") == ["b.norm", "a.norm"]


def test_a_few_layers_are_spread_from_first_to_last():
    chosen = choose([NAMES], [], 6)
    assert len(chosen.names) == 6 and chosen.names[0] == NAMES[0] and chosen.names[-1] == NAMES[-1]
    places = [NAMES.index(name) for name in chosen.names]
    assert {b - a for a, b in itertools.pairwise(places)} <= {3, 4}
    assert chosen.notes == ["6 of 18 layers are shown, evenly spaced; --layers PATTERN shows others"]
    assert choose([NAMES[:6]], [], 6).notes == []


def test_a_pattern_picks_a_name_and_what_stands_under_it():
    assert choose([NAMES], ["stage2"], 6).names == NAMES[6:12]
    assert choose([NAMES], ["stage*.0.conv1.norm"], 2).names == [NAMES[0], NAMES[6], NAMES[12]]
    assert choose([NAMES], ["stage3.5", "stage1.0"], 6).names == [NAMES[0], NAMES[17]]


def test_only_layers_of_all_runs_are_shown():
    assert choose([["a", "b", "c"], ["c", "b"]], [], 6).names == ["b", "c"]
    with pytest.raises(ConfigError, match="must share layers"):
        choose([["a"], ["b"]], [], 6)


def test_a_pattern_that_picks_nothing_is_told_with_what_there_is():
    with pytest.raises(ConfigError, match=r"one of the layers a, b; got 'x\*'"):
        choose([["a.norm", "b.norm"]], ["a", "x*"], 6)
