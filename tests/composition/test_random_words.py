"""Whatever is typed, composing ends in a configuration or in lines that say what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bnexp.choices import groups
from bnexp.composition.compose import as_yaml, compose, restore
from bnexp.composition.expand import expand
from bnexp.errors import ConfigError

KEYS = [
    *groups(),
    *("head_norm", "norm@head_norm", "norm@norm", "seed", "steps", "epochs", "momentum", "decay", "norm.eps"),
    *(
        "norm._target_",
        "norm.nope",
        "head_norm.eps",
        "head_norm.nope",
        "model.hidden",
        "optimizer.lr",
        "weights",
    ),
    *("data.train_size", "early_stopping", "early_stopping.patience", "checkpoint", "device", "threads"),
    *(
        "drop_last",
        "output_dir",
        "placement",
        "choices",
        "hydra",
        "hydra.run.dir",
        "defaults",
        "schema",
        "",
        "norm.",
    ),
]
VALUES = [
    *(
        "custom",
        "none",
        "lenet",
        "null",
        "3",
        "-1",
        "0.5",
        "1e-3",
        "nan",
        "inf",
        "true",
        "off",
        "",
        "''",
        "???",
    ),
    *("[]", "[1,2]", "[custom,none]", "{}", "{a:1}", "{eps:1}", "{_target_:os.system}", "{_partial_:false}"),
    *(
        "1,2",
        "custom,none",
        "choice(1,2)",
        "range(1,3)",
        "range(1,3,0)",
        "range(3,1)",
        "glob(*)",
        "interval(0,1)",
    ),
    *("${seed}", "${nope}", "${norm.eps}", "${.seed}", "${..}", "${norm}", "${", "'${'", "${oc.env:HOME}"),
    *(
        "${oc.env:NO_SUCH}",
        "${oc.create:{_target_:os.system}}",
        "${hydra:runtime.cwd}",
        "${now:%Y}",
        "${a:b}",
    ),
    *("a=b", "a b", "'a b'", "é", "~", "\\", "(", "a\nb", "'a\nb'", "int(x)", "sort(1,2)", "sort(1,a)"),
]
DEEP = "{a:" * 400 + "1" + "}" * 400

any_word = st.one_of(
    st.builds(
        "{}{}={}".format,
        st.sampled_from(["", "", "+", "++", "~"]),
        st.sampled_from(KEYS),
        st.sampled_from(VALUES),
    ),
    st.builds("{}={}".format, st.sampled_from(KEYS), st.text(max_size=8)),
    st.text(max_size=12),
    st.text(alphabet="norm=.@+~,[]{}()${}:'\"\\ 1aé", max_size=14),
)
SETTINGS = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@settings(SETTINGS, max_examples=10)
@given(st.lists(any_word, min_size=1, max_size=3))
@example(["norm=3"])
@example(["experiment=null", "head_norm=null"])
@example(["=3"])
@example(["decay=nan"])
@example(["norm={eps2:1}"])
@example(["+norm=none", "++norm=none", "norm@norm=custom", "+norm@foo=custom"])
@example([f"seed={DEEP}"])
@example(["checkpoint=${.seed}"])
@example(["epochs=${oc.env:HOME}"])
@example(["x" * 10_000 + "=1"])
def test_any_words_compose_or_are_told(words: list[str]) -> None:
    try:
        composition = compose(words)
    except ConfigError as error:
        assert error.problems
        return
    assert os.listdir() == []
    if not composition.problems:
        assert as_yaml(restore(as_yaml(composition.config))) == as_yaml(composition.config)


@settings(SETTINGS, max_examples=300)
@given(st.lists(any_word, min_size=1, max_size=3))
@example(["seed=range(1,5,0)"])
@example(["norm=glob(*)"])
@example(["decay=nan,1"])
def test_any_words_make_jobs_or_are_told(words: list[str]) -> None:
    try:
        jobs = expand(words)
    except ConfigError as error:
        assert error.problems
        return
    assert jobs
