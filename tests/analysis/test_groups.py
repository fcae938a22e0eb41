"""Runs are averaged over seeds and paired with the partner that a person would pair them with."""

import pytest
from synthetic_runs import TARGETS, config, leave_run

from bnexp.analysis.groups import Baseline, grouped, newest, step_of, winners
from bnexp.analysis.query import parse
from bnexp.analysis.records import Record
from bnexp.errors import ConfigError
from bnexp.runs.directory import RunDirectory
from bnexp.shorthand import as_norms_have

NONE = {"_target_": TARGETS["none"], "_partial_": True}
HEADLESS = {"choices__head_norm": "none", "head_norm": NONE}


SHIFTS = ((-5.1e-7, 1e-8), (-0.05, 1e-4))


def norm_momentum(value):
    return {"momentum": value, "norm__momentum": value, "head_norm__momentum": value}


def record(settings, accuracy=0.5, *, started=0.0, status="finished", **result):
    """Return a run as it is read."""
    return Record(
        RunDirectory("x"), status, started, as_norms_have(settings), {"accuracy/test": accuracy, **result}
    )


def difference(baseline, records, runs):
    """Return mean and number of the differences between accuracies."""
    conditions = [parse(word) for word in baseline.split()]
    (group,) = grouped(runs) if len(grouped(runs)) == 1 else grouped(runs, ["model"])
    found = Baseline(conditions, [*records, *runs]).difference(group, "accuracy/test")
    return None if found is None else (pytest.approx(found.estimate.mean), found.estimate.n)


@pytest.mark.parametrize(
    "baseline, of_baseline, of_run",
    [
        ("norm=none", config("none"), config()),
        ("norm=none", config("none", **HEADLESS), config(**HEADLESS)),
        ("norm=none", config("none", choices__head_norm=None, head_norm=None), config()),
        ("momentum=0.1", config(), config(**norm_momentum(0.01))),
        ("momentum=null", config(**norm_momentum(None)), config()),
        ("momentum=0.1", config(**HEADLESS), config(**HEADLESS, momentum=0.5, norm__momentum=0.5)),
        ("norm.eps=1e-5", config(), config(norm__eps=1e-3, head_norm__eps=1e-3)),
        ("norm.eps=1e-5", config(**HEADLESS), config(**HEADLESS, norm__eps=1e-3)),
        ("head_norm=custom", config(), config(**HEADLESS)),
        ("batch_size=64", config(), config(batch_size=8)),
        ("batch_size=64", config(norm_batch=64), config(batch_size=8, norm_batch=8)),
        ("batch_size=64", config(norm_batch=64), config(batch_size=8, norm_batch=9)),
        ("batch_size=64", config(norm_batch=4), config(batch_size=8, norm_batch=4)),
        ("norm_batch=64", config(norm_batch=64), config(norm_batch=8)),
        ("optimizer.lr=0.05", config(), config(optimizer__lr=0.1)),
        ("optimizer=sgd", config(), config(optimizer={"_target_": "adam"}, choices__optimizer="adam")),
        ("norm=none batch_size=8", config("none", batch_size=8), config()),
        ("placement=pre", config(), config(placement="post")),
        ("seed=0", config(), config(seed=5)),
        ("data=digits", config(), config(choices__data="mnist")),
        ("norm=none", config("none", threads=1, telemetry={}), config(threads=2)),
    ],
)
def test_a_partner_differs_in_the_key_and_in_what_follows_from_it(baseline, of_baseline, of_run):
    assert difference(baseline, [record(of_baseline, 0.5)], [record(of_run, 0.75)]) == (0.25, 1)


@pytest.mark.parametrize(
    "baseline, of_baseline, of_run",
    [
        ("norm=none", config("none", seed=1), config()),
        ("norm=none", config("none", batch_size=8), config()),
        ("norm=none", config("none", **HEADLESS, optimizer__lr=1.0), config(**HEADLESS)),
        ("momentum=0.1", config(**HEADLESS), config(**norm_momentum(0.01))),
        ("momentum=0.1", config(norm__eps=1.0), config(**norm_momentum(0.01))),
        ("batch_size=64", config(norm_batch=4), config(batch_size=8, norm_batch=8)),
        ("norm.eps=1e-5", config(seed=1), config(norm__eps=1e-3, head_norm__eps=1e-3)),
        ("optimizer.lr=0.05", config(epochs=9), config(optimizer__lr=0.1)),
    ],
)
def test_a_run_that_differs_in_more_is_no_partner(baseline, of_baseline, of_run):
    assert difference(baseline, [record(of_baseline, 0.5)], [record(of_run, 0.75)]) is None


def test_no_norm_is_the_partner_with_a_normalized_head_and_without():
    base = [record(config("none"), 0.5)]  # the head of no norm is none, a copy or not
    assert difference("norm=none", base, [record(config(), 0.75)]) == (0.25, 1)
    assert difference("norm=none", base, [record(config(**HEADLESS), 0.75)]) == (0.25, 1)


def test_a_head_that_follows_the_norm_is_preferred_to_one_that_stayed():
    of_head = {"choices__head_norm": "custom", "head_norm": config()["norm"]}
    stayed, followed = record(config("none", **of_head), 0.5), record(config("none"), 0.25)
    assert difference("norm=none", [stayed], [record(config(), 0.75)]) == (0.25, 1)
    assert difference("norm=none", [followed, stayed], [record(config(), 0.75)]) == (0.5, 1)


def test_seeds_are_paired_one_by_one_and_those_without_a_partner_left_out():
    base = [record(config("none", seed=seed), 0.1 * seed) for seed in (0, 1, 2)]
    runs = [record(config(seed=seed), 0.1 * seed + 0.01 * (seed + 1)) for seed in (1, 2, 3)]
    assert difference("norm=none", base, runs) == (0.025, 2)


@pytest.mark.parametrize("times", [(1.0, 2.0), (2.0, 1.0)])
def test_of_a_seed_that_was_run_again_the_newest_counts(times):
    old, new = min(times), max(times)
    base = [record(config("none"), 0.5 if time == new else 0.1, started=time) for time in times]
    assert difference("norm=none", base, [record(config(), 0.75)]) == (0.25, 1)
    runs = [record(config(seed=seed), time, started=time) for seed in (0, 1) for time in times]
    kept = newest(runs)
    assert [one.started for one in kept] == [new, new] and [one.config["seed"] for one in kept] == [0, 1]
    (group,) = grouped(kept)
    assert group.estimate("accuracy/test").n == 2 and group.estimate("accuracy/test").mean == new != old


def test_a_partner_without_the_metric_makes_no_pair():
    base = [record(config("none", seed=seed), None if seed else 0.5) for seed in (0, 1)]
    runs = [record(config(seed=seed), 0.75) for seed in (0, 1)]
    assert difference("norm=none", base, runs) == (0.25, 1)


@pytest.mark.parametrize("side", ["none", "custom"])
def test_a_pair_of_which_a_run_diverged_is_lost_and_leaves_no_p(side):
    """Whichever run it is, and whether or not it has weights that could be measured."""
    runs = {
        norm: [record(config(norm, seed=seed), 0.5 + 0.01 * seed) for seed in range(4)] for norm in TARGETS
    }
    for place, accuracy in ((0, None), (1, 0.1)):
        settings = config(side, seed=place)
        runs[side][place] = record(settings, accuracy, status="diverged", **{"loss/test": None})
    (group,) = grouped(runs["custom"])
    found = Baseline([parse("norm=none")], [*runs["none"], *runs["custom"]]).difference(
        group, "accuracy/test"
    )
    assert (found.estimate.n, found.lost, found.p) == (2, 2, None)


def test_a_lone_survivor_is_not_the_best():
    runs = [record(config(seed=seed), 0.98 if seed == 0 else None) for seed in range(5)]
    runs = [runs[0], *(record(one.config, None, status="diverged") for one in runs[1:])]
    calm = [record(config("none", seed=seed), 0.9 + 0.01 * seed) for seed in range(2)]
    lost, sound = grouped([*runs, *calm])
    other = grouped([record(config(seed=9, batch_size=8), 0.8)])
    assert winners([lost, sound, *other], "accuracy/test") == [False, True, False]
    assert lost.estimate("accuracy/test").n == 1 and not lost.is_complete("accuracy/test")


def test_means_that_a_table_shows_alike_share_the_star():
    """0.97004 and 0.97002 are both 0.9700; narrower intervals let the table tell them apart."""
    shares = {8: (0.94, 1.00008), 16: (0.94, 1.00004), 64: (0.5, 0.6)}
    for spread, stars in ((0.03, [True, True, False]), (1e-5, [True, False, False])):
        runs = [
            record(config(batch_size=size, seed=seed), sum(pair) / 2 + (seed - 0.5) * spread)
            for size, pair in shares.items()
            for seed in (0, 1)
        ]
        assert winners(grouped(runs), "accuracy/test") == stars


def test_the_grid_of_a_share_is_that_of_its_split():
    sizes = {"split_examples": {"val": 144, "test": 359}}
    runs = [
        record(config(seed=seed), 0.5, **sizes, **{"accuracy/val": 0.5, "loss/test": 0.5}) for seed in (0, 1)
    ]
    for tag, examples in (("accuracy/test", 359), ("accuracy/test_last", 359), ("accuracy/val", 144)):
        assert step_of(runs, tag) == 1 / examples
    assert step_of(runs, "loss/test") == pytest.approx(0.5e-5) and step_of(runs, "seconds") == 0
    assert grouped(runs)[0].estimate("accuracy/test").half_width > 1 / 359
    old = [record(one.config, 0.5) for one in runs]
    assert grouped(old)[0].estimate("accuracy/test").half_width is None


@pytest.mark.parametrize("n", [2, 3, 10])
def test_losses_that_differ_by_rounding_prove_nothing(n):
    """Custom and builtin batch norm end within 4e-7 of each other, on the same side for several seeds."""
    by_rounding, by_effect = ([shift - step * seed for seed in range(n)] for shift, step in SHIFTS)
    for shifts, proven in ((by_rounding, False), (by_effect, True)):
        base = [record(config("none", seed=seed), **{"loss/test": 1.2 + 0.02 * seed}) for seed in range(n)]
        runs = [
            record(config(seed=seed), **{"loss/test": 1.2 + 0.02 * seed + shift})
            for seed, shift in enumerate(shifts)
        ]
        found = Baseline([parse("norm=none")], [*base, *runs]).difference(grouped(runs)[0], "loss/test")
        assert found.p < 0.01 if proven else found.p > 0.2


def test_runs_of_the_baseline_are_compared_with_nothing():
    base = [record(config("none", seed=seed)) for seed in (0, 1)]
    assert difference("norm=none", [], base) is None


def test_a_baseline_that_none_of_the_runs_is_is_told():
    with pytest.raises(ConfigError, match="--baseline norm=group: none of the runs to be compared is one"):
        Baseline([parse("norm=group")], [record(config())])


def test_seeds_alone_are_averaged():
    runs = [record(config(seed=seed, batch_size=size), size + seed) for size in (8, 64) for seed in (0, 1, 2)]
    groups = grouped(runs)
    assert [(group.name, dict(group.choices)) for group in groups] == [
        ("batch 8", {"batch_size": 8}),
        ("batch 64", {"batch_size": 64}),
    ]
    assert [group.estimate("accuracy/test").mean for group in groups] == [9, 65]
    assert [group.estimate("accuracy/test").std for group in groups] == [1, 1]
    assert groups[0].estimate("loss/test") is None


def test_only_choices_that_differ_tell_groups_apart():
    runs = [
        record(config()),
        record(config("none")),
        record(config(norm__eps=1e-3, head_norm__eps=1e-3)),
        record(config(norm_batch=8)),
        record(config(norm__momentum=0.5, head_norm__momentum=0.5)),
    ]
    told = [dict(group.choices) for group in grouped(runs)]
    common = {"norm": "custom", "eps": 1e-5, "momentum": 0.1}
    assert told == [
        common,
        {"norm": "none"},
        common | {"eps": 1e-3},
        common | {"norm_batch": 8},
        common | {"momentum": 0.5},
    ]


def test_a_head_norm_is_told_in_every_group_where_it_differs_in_one():
    told = [dict(group.choices) for group in grouped([record(config()), record(config(**HEADLESS))])]
    assert told == [{"head_norm": "custom"}, {"head_norm": "none"}]


def test_a_head_norm_that_is_null_is_no_choice():
    null = config(head_norm=None, choices__head_norm=None)
    assert len(grouped([record(null), record(config(seed=1))])) == 1
    told = [dict(group.choices) for group in grouped([record(null), record(config("none"))])]
    assert told == [{"norm": "custom"}, {"norm": "none"}]


def test_null_is_a_value_and_unlike_none_at_all():
    told = [
        dict(group.choices) for group in grouped([record(config()), record(config(**norm_momentum(None)))])
    ]
    assert told == [{"momentum": 0.1}, {"momentum": None}]


def test_runs_of_one_configuration_are_one_group():
    (group,) = grouped([record(config(seed=1)), record(config(seed=2))])
    assert group.name == "batch norm (ours)" and dict(group.choices) == {} and len(group.records) == 2


def test_groups_by_keys_average_all_else():
    runs = [
        record(config(norm, seed=seed, batch_size=size))
        for norm in ("custom", "none")
        for seed in (0, 1)
        for size in (8, 64)
    ]
    groups = grouped(runs, ["norm"])
    assert [(group.name, dict(group.choices), len(group.records)) for group in groups] == [
        ("norm custom", {"norm": "custom"}, 4),
        ("norm none", {"norm": "none"}, 4),
    ]
    assert [len(group.records) for group in grouped(runs, ["seed", "batch_size"])] == [2, 2, 2, 2]
    assert [dict(group.choices) for group in grouped(runs, ["norm.eps"])] == [{"norm.eps": 1e-5}, {}]
    with pytest.raises(
        ConfigError, match=r"--group-by bath_size: no run has this key \(did you mean batch_size\?\)"
    ):
        grouped(runs, ["bath_size"])


def test_a_run_that_diverged_is_counted_and_enters_no_mean():
    """Neither the accuracy of its best weights nor how soon it ended."""
    runs = [record(config(), seconds=10.0), record(config(seed=1), 0.25, status="diverged", seconds=0.1)]
    (group,) = grouped(runs)
    assert group.count("diverged") == 1
    for tag, mean in (("seconds", 10), ("accuracy/test", 0.5)):
        assert (group.estimate(tag).mean, group.estimate(tag).n, group.is_complete(tag)) == (mean, 1, False)
    (lost,) = grouped(runs[1:])
    assert lost.estimate("seconds") is None and lost.estimate("accuracy/test") is None
    slower = [record(config("none", seed=seed), seconds=20.0 - seed, step=9) for seed in (0, 1)]
    assert winners([group, *grouped(slower[:1]), *grouped(slower[1:])], "seconds") == [False, False, True]


def test_the_best_is_the_highest_share_and_the_lowest_loss_or_cost():
    runs = [
        record(config(batch_size=size), size, **{"loss/test": size, "seconds": size}) for size in (8, 16, 64)
    ]
    groups = grouped(runs)
    assert winners(groups, "accuracy/test") == [False, False, True]
    assert winners(groups, "loss/test") == winners(groups, "seconds") == [True, False, False]
    assert winners(groups, "accuracy/val") == [False] * 3


def test_ties_share_the_star_and_equals_have_none():
    sizes = {8: 0.5, 16: 0.75, 32: 0.75, 64: None}
    groups = grouped([record(config(batch_size=size), value) for size, value in sizes.items()])
    assert winners(groups, "accuracy/test") == [False, True, True, False]
    assert winners(groups[1:3], "accuracy/test") == [False, False]
    assert winners(groups[:1], "accuracy/test") == [False]


def test_configurations_of_older_versions_are_grouped(tmp_path):
    old = {"norm": {"_target_": "a"}, "seed": 0}
    run = leave_run(tmp_path / "x" / "old", old, accuracy_test=0.5)
    groups = grouped([Record(run, "finished", 0.0, old, {}), record(config())])
    assert len(groups) == 2 and groups[0].choices != groups[1].choices


KERAS = {"choices__convention": "keras", "eps": 1e-3, "norm__eps": 1e-3, "head_norm__eps": 1e-3}
TORCH = {"choices__convention": "torch"}


@pytest.mark.parametrize(
    "baseline, right, wrong, of_run",
    [
        # the same momentum, though the newest run of the baseline has another
        ("norm=none", {}, {"seed": 5}, {}),
        ("batch_size=64", norm_momentum(0.5), {}, {**norm_momentum(0.5), "batch_size": 8}),
        ("convention=torch", norm_momentum(0.5) | TORCH, TORCH, norm_momentum(0.5) | KERAS),
        ("convention=torch", TORCH, norm_momentum(0.5) | TORCH, norm_momentum(0.01) | KERAS),
        ("convention=torch", TORCH, norm_momentum(0.5) | TORCH, KERAS),  # a word set 0.1 in both
        ("momentum=0.1", {}, {"head_norm__momentum": 0.2}, norm_momentum(0.5)),
        (
            "momentum=0.1",
            {"head_norm__momentum": 0.2},
            {},
            {"norm__momentum": 0.5, "head_norm__momentum": 0.2},
        ),
        ("norm.momentum=0.1", {}, {"head_norm__momentum": 0.2}, norm_momentum(0.5)),
    ],
)
def test_of_several_partners_that_with_the_same_momentum_counts(baseline, right, wrong, of_run):
    kind = "none" if baseline == "norm=none" else "custom"
    base = [
        record(config(kind, **right), 0.5, started=1.0),
        record(config(kind, **wrong), 0.0, started=2.0),
    ]
    assert difference(baseline, base, [record(config(**of_run), 0.75)]) == (0.25, 1)


def another(**changed):
    """Return a configuration with a norm of a user's own, which has the knobs of custom."""
    return config(choices__norm="mine", choices__head_norm="mine", **changed)


def test_norms_are_compared_at_one_momentum():
    base = [record(config(), 0.5, started=2.0), record(config(**norm_momentum(0.5)), 0.25, started=1.0)]
    for momentum, expected in ((0.1, 0.5), (0.5, 0.75)):
        run = record(another(**norm_momentum(momentum)), 1.0)
        assert difference("norm=custom", base, [run]) == (expected, 1)
    assert difference("norm=custom", base, [record(another(**norm_momentum(0.2)), 1.0)]) is None
    assert difference("norm=custom", base, [record(config("none"), 1.0)]) == (0.5, 1)


def test_an_eps_that_a_norms_yaml_brings_keeps_no_partner_away():
    frn = {"_target_": "bnexp.norms.frn.FilterResponseNorm", "_partial_": True, "eps": 1e-6}
    settings = config(choices__norm="frn", choices__head_norm="frn") | {"norm": frn, "head_norm": frn}
    assert difference("norm=custom", [record(config(), 0.5)], [record(settings, 0.75)]) == (0.25, 1)
