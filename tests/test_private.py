"""The private names of torch: all in one module, still there, and with stand-ins that answer the same."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from bnexp import private
from bnexp.norms.custom import CustomNorm

# torch's own, at a first use of forward mode
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:FutureWarning")

ROOT = Path(__file__).parents[1]
MODULES = sorted([*(ROOT / "bnexp").rglob("*.py"), *(ROOT / "hydra_plugins").glob("*.py")])
NAMES = (
    "_C._are_functorch_transforms_active",
    "_C._len_torch_dispatch_stack",
    "autograd.forward_ad._current_level",
    "_foreach_norm",
)
OWN_METHODS = {"_move", "_normalize", "_track"}  # of our norms, which their subclasses extend
PUBLIC = {"os._exit"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def private_uses(text: str) -> Iterator[str]:
    """Yield the private names that a module takes from others, also as strings for getattr."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if ast.unparse(node.value) not in ("self", "cls"):
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names if is_private(name.name))
            if any(map(is_private, (node.module or "").split("."))):
                yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if any(map(is_private, name.name.split("."))))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            yield from (
                ast.unparse(node)
                for argument in node.args
                if isinstance(argument, ast.Constant) and is_private(str(argument.value))
            )


def overridden(text: str) -> set[str]:
    """Return the private methods that classes of a module define."""
    classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    methods = [part for each in classes for part in each.body if isinstance(part, ast.FunctionDef)]
    return {method.name for method in methods if is_private(method.name)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_uses_private_names(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    own = {f"super().{name}" for name in OWN_METHODS}
    if path != ROOT / "bnexp" / "private.py":
        assert set(private_uses(text)) - own - PUBLIC == set()
    ours = {name for cls in (torch.nn.Module, torch.nn.Conv2d, torch.nn.BatchNorm2d) for name in dir(cls)}
    assert overridden(text) & ours == set(), "methods that torch calls and does not name as its interface"


@pytest.mark.parametrize("name", NAMES)
def test_torch_still_has_the_name(name: str) -> None:
    """Where this fails, a stand-in has taken its place, more slowly: find what took it in torch."""
    attrgetter(name)(torch)


def test_the_names_are_those_of_the_module() -> None:
    uses = private_uses((ROOT / "bnexp" / "private.py").read_text(encoding="utf-8"))
    found = {use.removeprefix("torch.").replace("forward_ad.", "autograd.forward_ad.") for use in uses}
    assert found - {"_C"} == set(NAMES)


class PublicOnly:
    """A module without its private names."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def __getattr__(self, name: str) -> object:
        if is_private(name):
            raise AttributeError(name)
        return getattr(self.module, name)


def lose_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "torch", PublicOnly(torch))
    monkeypatch.setattr(private, "forward_ad", PublicOnly(forward_ad))


@pytest.fixture(params=["names", "stand-ins"])
def names(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without torch's private names."""
    if request.param == "stand-ins":
        lose_names(monkeypatch)
    return str(request.param)


def asked(question: Callable[[], bool], around: Callable[[Callable[[Tensor], Tensor]], object]) -> bool:
    """Return the answer to `question` in a function that `around` calls."""
    answers = []

    def function(x: Tensor) -> Tensor:
        answers.append(question())
        return x.sum()

    around(function)
    return answers[0]


X = torch.ones(3)
TRANSFORMS = {
    "grad": lambda function: torch.func.grad(function)(X),
    "vmap": lambda function: torch.func.vmap(function)(X),
    "vjp": lambda function: torch.func.vjp(function, X),
    "jvp": lambda function: torch.func.jvp(function, (X,), (X,)),
    "hessian": lambda function: torch.func.hessian(function)(X),
    "functionalize": lambda function: torch.func.functionalize(function)(X),
}
PLAIN = {
    "plain": lambda function: function(X),
    "graph": lambda function: function(X.clone().requires_grad_()).backward(),
    "no_grad": torch.no_grad()(lambda function: function(X)),
    "inference": torch.inference_mode()(lambda function: function(X)),
}


def with_dual_numbers(function: Callable[[Tensor], Tensor]) -> None:
    with forward_ad.dual_level():
        function(forward_ad.make_dual(X, X))


@pytest.mark.parametrize("around", TRANSFORMS.values(), ids=TRANSFORMS)
def test_transforms_are_noticed(names: str, around: Callable[..., object]) -> None:
    assert asked(private.transforms_active, around)


@pytest.mark.parametrize("around", [*PLAIN.values(), with_dual_numbers], ids=[*PLAIN, "dual"])
def test_without_transforms_there_are_none(names: str, around: Callable[..., object]) -> None:
    assert not asked(private.transforms_active, around)


@pytest.mark.parametrize("around", [with_dual_numbers, TRANSFORMS["jvp"], TRANSFORMS["hessian"]])
def test_dual_levels_are_noticed(names: str, around: Callable[..., object]) -> None:
    assert asked(private.dual_level_active, around)


@pytest.mark.parametrize(
    "around", [*PLAIN.values(), TRANSFORMS["grad"], TRANSFORMS["vmap"]], ids=[*PLAIN, "grad", "vmap"]
)
def test_without_dual_numbers_there_is_no_level(names: str, around: Callable[..., object]) -> None:
    assert not asked(private.dual_level_active, around)


def test_modes_are_noticed(names: str) -> None:
    with FlopCounterMode(display=False):
        assert private.modes_active()
    assert private.modes_active() == (names == "stand-ins")


def test_norms_are_those_of_each_tensor_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [(1,), (7, 3), (64, 6, 5, 5), (100_003,)]
    tensors = [torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in shapes]
    tensors += [torch.zeros(0), tensors[1].t(), tensors[0].double()]
    found = private.norms(tensors)
    lose_names(monkeypatch)
    assert all(map(torch.equal, found, private.norms(tensors)))


def test_a_norm_without_the_names_computes_with_torchs_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(core: str) -> list[Tensor]:
        norm = CustomNorm(4, (3, 3), core=core)
        x = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y = norm(x)
        y.square().sum().backward()
        return [y, x.grad, norm.weight.grad, norm.running_mean, norm.running_var]

    eager = trained("eager")
    lose_names(monkeypatch)
    assert all(map(torch.equal, trained("auto"), eager))
