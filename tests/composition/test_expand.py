"""A sweep's words become its jobs."""

from __future__ import annotations

import pytest

from bnexp.choices import groups
from bnexp.composition.expand import expand
from bnexp.composition.words import rewrite
from bnexp.errors import ConfigError


def test_jobs_are_the_product_in_the_order_of_the_words() -> None:
    assert expand(["norm=custom,none", "seed=0,1,2"]) == [
        [f"norm={norm}", f"seed={seed}"] for norm in ("custom", "none") for seed in (0, 1, 2)
    ]


def test_words_without_a_list_go_to_every_job() -> None:
    assert expand(["seed=0,1", 'runs_dir="a, b"']) == [
        ["seed=0", 'runs_dir="a, b"'],
        ["seed=1", 'runs_dir="a, b"'],
    ]


def test_no_list_at_all_is_one_job() -> None:
    assert expand([]) == [[]]
    assert expand(["seed=3"]) == [["seed=3"]]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("seed=range(0,3)", ["0", "1", "2"]),
        ("seed=range(0,6,2)", ["0", "2", "4"]),
        ("seed=choice(4,7)", ["4", "7"]),
        ("optimizer.lr=range(0.1,0.6,0.1)", ["0.1", "0.2", "0.3", "0.4", "0.5"]),
        ("optimizer.lr=range(0,1,0.3)", ["0.0", "0.3", "0.6", "0.9"]),
        ("optimizer.lr=range(1,0,-0.25)", ["1.0", "0.75", "0.5", "0.25"]),
        ("optimizer.lr=range(1e-4,4e-4,1e-4)", ["0.0001", "0.0002", "0.0003"]),
        ("optimizer.lr=sort(range(0.1,0.4,0.1),reverse=true)", ["0.3", "0.2", "0.1"]),
        ("momentum=range(0.7,1.0,0.1)", ["0.7", "0.8", "0.9"]),
        ("seed=sort(3,1,2)", ["1", "2", "3"]),
        ("optimizer.betas=[0.9,0.99],[0.8,0.9]", ["[0.9,0.99]", "[0.8,0.9]"]),
    ],
)
def test_every_way_to_list_values_is_known(word: str, values: list[str]) -> None:
    assert [job[0].partition("=")[2] for job in expand([word])] == values


def test_glob_takes_the_choices_of_its_group() -> None:
    assert expand(["norm=glob(*)"]) == [[f"norm={name}"] for name in sorted(groups()["norm"])]
    assert expand(["model=glob(*, exclude=[lenet,m*])"]) == [
        ["model=classifier"],
        ["model=resnet"],
        ["model=simple_cnn"],
    ]
    assert expand(["head_norm=glob(c*)"]) == [["head_norm=custom"]]


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        (["decay=0.9,0.99"], [["momentum=0.1"], ["momentum=0.01"]]),
        (["head_norm=none,custom"], [["norm@head_norm=none"], ["norm@head_norm=custom"]]),
        (["steps=1,2"], [["steps=1", "epochs=null"], ["steps=2", "epochs=null"]]),
        (["epochs=1,2"], [["epochs=1", "steps=null"], ["epochs=2", "steps=null"]]),
        (["decay=choice(0.9,0.99)"], [["momentum=0.1"], ["momentum=0.01"]]),
        (["head_norm.eps=1e-3,1e-4"], [["head_norm.eps=0.001"], ["head_norm.eps=0.0001"]]),
    ],
)
def test_words_beyond_hydras_grammar_are_swept_too(words: list[str], jobs: list[list[str]]) -> None:
    assert [rewrite(job) for job in expand(words)] == jobs


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed=range(3,0)", "lists no value"),
        ("norm=glob(zzz*)", "lists no value"),
        ("seed=glob(*)", "lists no value"),
        ("seed=range(1,5,0)", "a step that is not 0"),
        ("seed=interval(0,1)", "values one by one"),
        ("seed=choice()", "cannot be read"),
        ("batch_size", "cannot be read"),
        ("", "cannot be read"),
        ("=3", "cannot be read"),
        ("é=1", "cannot be read"),
    ],
)
def test_a_sweep_of_nothing_is_a_mistake(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(["epochs=1,2", word])
    (line,) = caught.value.problems
    assert repr(word) in line or word in line
    assert said in line


def test_every_unreadable_word_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        expand(["é=1", "norm=custom,none", "seed=range(3,0)", "epochs"])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("tenths", range(1, 30))
def test_a_range_is_what_counting_in_decimals_gives_and_never_holds_its_stop(tenths: int) -> None:
    jobs = expand([f"optimizer.lr=range(0,{tenths / 10},0.1)"])
    assert jobs == [[f"optimizer.lr={index / 10}"] for index in range(tenths)]


@pytest.mark.parametrize("word", ["a=range(0,1,0)", "a=range(0,inf)", "a=range(0,1e9,1)", "a=range(1,0)"])
def test_a_range_without_end_or_values_is_one_line(word: str) -> None:
    with pytest.raises(ConfigError) as raised:
        expand([word])
    assert len(raised.value.problems) == 1


def test_a_key_that_is_listed_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="give seed once, got seed=0,1 seed=3"):
        expand(["seed=0,1", "seed=3"])
