"""A network's tensors in what other training code saved: nested, or under the prefix of a wrapper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

DEEPEST = 3
# Of torch.compile, FSDP and activation checkpointing: anywhere in a name, and never of a network itself.
WRAPPERS = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))


@dataclass(frozen=True)
class StateDict:
    """Values by a network's own names.

    place: where they stood, such as `state_dict (names without model.)`; empty where they are the whole file.
    matches: how many of the names are the network's.
    beside: the names of tensors that stood beside them, without the prefix.
    """

    values: dict[str, object]
    place: str
    matches: int
    beside: list[str]


def state_dicts(content: Mapping[str, object], own: Collection[str]) -> list[StateDict]:
    """Return the parts of `content` that hold most of the names `own`: none if it holds no tensors by name.

    Several, in the file's order, where it holds the network more than once, such as its moving average.
    """
    found = [part for place, values in _dicts(content, "", 0) for part in _readings(place, values, own)]
    most = max([part.matches for part in found], default=0)
    return [part for part in found if part.matches == most]


def _dicts(content: Mapping[str, object], place: str, depth: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every dict that holds tensors by name, with the keys that lead to it."""
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    if any(isinstance(value, Tensor) for value in named.values()):
        yield place, named
    for key, value in named.items() if depth < DEEPEST else ():
        if isinstance(value, Mapping):
            yield from _dicts(value, f"{place}.{key}".lstrip("."), depth + 1)


def _readings(place: str, values: dict[str, object], own: Collection[str]) -> Iterator[StateDict]:
    """Yield `values` as they are, and without each prefix behind which a name of `own` stands."""
    names = {_unwrapped(name): name for name in values}
    prefixes = Counter(name[: -len(rest)] for name in names for rest in _rests(name) if rest in own)
    prefixes.setdefault("", 0)
    for prefix, matches in prefixes.items():
        taken = {
            name[len(prefix) :]: values[given] for name, given in names.items() if name.startswith(prefix)
        }
        beside = [
            given
            for name, given in names.items()
            if not name.startswith(prefix) and isinstance(values[given], Tensor)
        ]
        removed = [part for part in (*_wrappers(values), prefix) if part]
        without = f" (names without {', '.join(removed)})" if removed else ""
        yield StateDict(taken, f"{place}{without}".strip(), matches, beside)


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _wrappers(names: Collection[str]) -> list[str]:
    return sorted(WRAPPERS & {part for name in names for part in name.split(".")})


def _rests(name: str) -> list[str]:
    """Return a dotted name, and what remains of it when its first parts are taken away one by one."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]
