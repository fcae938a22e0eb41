"""What a run's momentum and eps are said to be is what its norm has."""

import pytest

from bnexp.shorthand import as_norms_have, norm_values

BATCH = {"_target_": "a", "eps": 1e-5, "momentum": 0.5}
GROUP = {"_target_": "b", "eps": 1e-6}
NONE = {"_target_": "c"}
AT_THE_TOP = {"momentum": 0.1, "eps": 1e-3}


@pytest.mark.parametrize(
    ("norm", "head", "expected"),
    [
        (BATCH, BATCH, {"momentum": 0.5, "eps": 1e-5}),
        (BATCH, BATCH | {"momentum": 0.2}, {"momentum": 0.5, "eps": 1e-5}),
        (BATCH | {"momentum": None}, BATCH, {"momentum": None, "eps": 1e-5}),
        (BATCH, None, {"momentum": 0.5, "eps": 1e-5}),
        (GROUP, GROUP, {"eps": 1e-6}),
        (GROUP, BATCH, {"momentum": 0.5, "eps": 1e-6}),
        (NONE, BATCH, {"momentum": 0.5, "eps": 1e-5}),
        (BATCH, NONE, {"momentum": 0.5, "eps": 1e-5}),
        (NONE, NONE, {}),
    ],
)
def test_the_values_are_those_of_the_norm_and_else_of_the_heads(norm, head, expected):
    config = {"seed": 3, **AT_THE_TOP, "norm": norm, "head_norm": head}
    assert norm_values(config) == expected
    rest = {"seed": 3, "norm": norm, "head_norm": head}
    assert as_norms_have(config) == as_norms_have(rest) == rest | expected
    assert config["momentum"] == 0.1  # the given one is left alone


def test_keys_keep_their_places():
    config = {"momentum": 0.1, "eps": 1, "seed": 0, "norm": BATCH}
    assert list(as_norms_have(config)) == ["momentum", "eps", "seed", "norm"]
