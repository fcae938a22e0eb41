"""What norms promise: each formula against an oracle that shares nothing with it, and apart from its layer.

`tests/parity/test_matrix.py` then holds every layer to its own formula.
"""

from __future__ import annotations

import dis
import inspect
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from example_norm_oracles import draw, stir
from norm_oracles import ORACLES, Case, Oracle
from oracles import assert_close, to_array
from test_norm_contract import CHOICES, read
from torch import nn

from bnexp.norms.contract.promises import Given, Promises, promises_of
from bnexp.protocols import Scheduled

SHAPES = {
    "dense": (6, 8),
    "1d": (4, 8, 3),
    "2d": (3, 8, 3, 2),
    "3d": (2, 8, 2, 1, 3),
    "one position": (5, 16, 1),
}
STEPS, DONE = 10, 4
OURS = "bnexp."


def promised(path: Path) -> Promises:
    found = promises_of(read(path)[0])
    if found is None:
        pytest.skip(f"norm={path.stem} promises nothing: see CONTRIBUTING.md")
    return found


def oracle(path: Path) -> Oracle:
    if path.stem not in ORACLES:
        pytest.skip(f"norm={path.stem} has no oracle yet: before it ships, tests/norm_oracles.py wants one")
    return ORACLES[path.stem]


@pytest.fixture(params=CHOICES, ids=lambda path: path.stem)
def choice(request: pytest.FixtureRequest) -> Path:
    return request.param


def stirred(path: Path, shape: tuple[int, ...], **changed: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Return a layer all of whose parameters and buffers differ, in the middle of its run, and its knobs."""
    target, knobs = read(path)
    knobs |= {name: value for name, value in changed.items() if name in knobs}
    layer = stir(target(shape[1], shape[2:], **knobs))
    if isinstance(layer, Scheduled):
        layer.set_total_steps(STEPS)
        layer.get_buffer("num_batches_tracked").fill_(DONE)
    return layer, knobs


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_formula_is_the_oracles(choice: Path, shape: tuple[int, ...], training: bool) -> None:
    promises, wanted = promised(choice), oracle(choice)
    layer, knobs = stirred(choice, shape, eps=0.3)
    state = {name: value.double() for name, value in layer.state_dict().items()}
    noise = tuple(draw(shape[:2], seed) for seed in (7, 8)) if promises.draw and training else ()
    x = draw(shape)
    y = promises.formula(Given(x, x, state, knobs, training, noise, STEPS))
    arrays = {name: to_array(value) for name, value in state.items()}
    case = Case(to_array(x), arrays, knobs, training, tuple(map(to_array, noise)), DONE / STEPS)
    assert_close(y, wanted.output(case), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.3, None, 0.0, 1.0])
@pytest.mark.parametrize("kind", ["unbiased", "biased"])
def test_the_promised_averages_are_the_oracles(choice: Path, momentum: float | None, kind: str) -> None:
    promises, wanted = promised(choice), oracle(choice)
    target, knobs = read(choice)
    knobs |= {
        name: value for name, value in {"momentum": momentum, "running_var": kind}.items() if name in knobs
    }
    start = {name: value.double() for name, value in target(8, (2,), **knobs).named_buffers()}
    if wanted.averages is None:
        batches = [draw((4, 8, 2), 1)]
        assert promises.buffers is None or promises.buffers(batches, start, knobs) == start
        return
    batches = [draw((4 + seed, 8, 2), seed) for seed in range(3)]
    assert promises.buffers is not None
    found = promises.buffers(batches, start, knobs)
    assert found.pop("num_batches_tracked") == 3
    averages = wanted.averages([to_array(x) for x in batches], knobs)
    assert found.keys() == averages.keys()
    for name, value in averages.items():
        assert_close(found[name], value, rtol=1e-12, atol=1e-12)


def used(function: Callable[..., Any], seen: set[Any]) -> Iterator[Any]:
    """Yield what a function names outside itself, and what our own functions that it names do."""
    if function in seen:
        return
    seen.add(function)
    for name in _globals(function.__code__):
        found = function.__globals__.get(name)
        yield found
        if isinstance(found, types.FunctionType) and found.__module__.startswith(OURS):
            yield from used(found, seen)


def _globals(code: types.CodeType) -> Iterator[str]:
    yield from (found.argval for found in dis.get_instructions(code) if found.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant)


def test_no_formula_computes_with_what_its_layer_computes_with(choice: Path) -> None:
    """Its own file and the formulas' parts are all of bnexp's that it may use, and no layer uses those."""
    promises = promised(choice)
    seen: set[Any] = set()
    functions = [f for f in (promises.formula, promises.buffers, promises.draw) if f is not None]
    for thing in [thing for function in functions for thing in used(function, seen)]:
        home = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", "")
        assert not home.startswith(f"{OURS}norms.arithmetic"), f"{home} belongs to the layers"
        assert not (inspect.isclass(thing) and issubclass(thing, nn.Module)), f"{thing} is a layer"


def test_layers_use_nothing_of_the_formulas() -> None:
    layers = [read(path)[0] for path in CHOICES]
    methods = [
        value
        for target in layers
        for value in (vars(target).values() if inspect.isclass(target) else [target])
        if isinstance(value, types.FunctionType)
    ]
    for method in methods:
        for thing in used(method, set()):
            assert getattr(thing, "__name__", "") != "bnexp.norms.contract.formulas", method


def test_every_oracle_is_of_a_norm_that_there_is() -> None:
    assert ORACLES.keys() <= {path.stem for path in CHOICES}


def test_a_subclass_promises_nothing_by_itself() -> None:
    target, _ = read(next(path for path in CHOICES if path.stem == "custom"))
    assert promises_of(target) is not None
    assert promises_of(type("Mine", (target,), {})) is None
    assert promises_of(partial(target)) is None
