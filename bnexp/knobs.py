"""What is known of a knob besides its value, as metadata of a dataclass's field; see `bnexp.config`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, ParamSpec

from bnexp.errors import ConfigError, suggestion

LARGEST = 3.4028234663852886e38  # that float32 holds
NEVER = object()  # no value means "as before": the knob has always been there
KEY = "knob"
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, of which an open end is none; all of them finite in float32."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value <= LARGEST:
            return False
        above = self.low < value if self.open_low else self.low <= value
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"be above {self.low:g} and finite" if self.open_low else f"be at least {self.low:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"lie in {left}{self.low:g}, {self.high:g}{right}"

    def problems(self, name: str, value: object) -> list[str]:
        """Return a line if `value`, called `name`, is no number of the range; else nothing."""
        if value in self:
            return []
        if isinstance(value, (int, float)) and value > LARGEST and math.isinf(self.high):
            return [f"{name} must be finite, also in float32 (at most {LARGEST:.4g}), got {value!r}"]
        return [f"{name} must {self}, got {value!r}"]


COUNTS = Range(1)


@dataclass(frozen=True)
class Knob:
    """One knob; its default stands in a YAML.

    about: what it means, as help and completion say it.
    range: the numbers that it takes, or each item of a list; names: the words that it takes, also beside a
        range. Neither: whatever its type holds.
    must_be: how its values are called where range and names do not say it; is_one: tells them then.
    phrase: how names and legends write it, with {} for the value. Only knobs that are studied have one: they
        are headlines of a run and columns of TensorBoard's table.
    spoken: the phrase for single values, such as `no norm`.
    holds: what kind of name the value is, for TAB: a path, or a run's.
    folder: the folder of conf/ that its choices stand in, where it is a group.
    aside: it changes nothing that is computed, rounding apart, and so no name and no `config_hash`.
    null: whether it may be null; `described` fills it in.
    as_before: for a knob that a later version adds, the value with which a run does what runs did before.
    """

    about: str
    range: Range | None = None
    names: tuple[str, ...] = ()
    must_be: str = ""
    is_one: Callable[[object], bool] | None = None
    phrase: str = ""
    spoken: Mapping[Any, str] | None = None
    holds: Literal["", "path", "run"] = ""
    folder: str = ""
    aside: bool = False
    as_before: object = NEVER
    null: bool = False

    def problems(self, name: str, value: object) -> list[str]:
        """Return a line for each thing that is wrong with a value; the schema sees to its type."""
        if self.null if value is None else self._takes(value):
            return []
        if isinstance(value, (list, tuple)) and self.range is not None:
            items = enumerate(value)
            return [line for index, item in items for line in self.problems(f"{name}[{index}]", item)]
        if value == "":
            return [f"{name} must not be empty: leave it out for the default"]
        if self.range is not None and not self.must_be:
            return self.range.problems(name, value)
        wanted = self.must_be or f"one of {', '.join(self.names)}"
        return [f"{name} must be {wanted}, got {value!r}{suggestion(str(value), self.names)}"]

    def _takes(self, value: object) -> bool:
        if self.is_one is not None:
            return self.is_one(value)
        if value in self.names:
            return True
        if self.range is not None:
            return value in self.range
        return not self.names and (value != "" or not self.holds)

    def say(self, value: object) -> str:
        """Return a value in words, of a knob that has a phrase: `batch 8`, `no norm`."""
        if self.spoken is not None and isinstance(value, Hashable) and value in self.spoken:
            return self.spoken[value]
        return self.phrase.format(value)


def _as_metadata(make: Callable[Arguments, Knob]) -> Callable[Arguments, dict[str, Knob]]:
    return lambda *given, **named: {KEY: make(*given, **named)}


knob = _as_metadata(Knob)  # `knob(...)` is the metadata of a field


def described(schema: type, prefix: str = "") -> dict[str, Knob]:
    """Return the knobs of a dataclass and of those in it, under dotted keys, in their order.

    Its types say which of them may be null.
    """
    found: dict[str, Knob] = {}
    for field in fields(schema):
        # As text, since evaluating ninety annotations would take a tenth of the time of an answer to TAB.
        hint, name = str(field.type), f"{prefix}{field.name}"
        if KEY in field.metadata:
            found[name] = replace(field.metadata[KEY], null=hint == "Any" or hint.endswith("| None"))
        part = getattr(sys.modules[schema.__module__], hint, None)
        if isinstance(part, type) and is_dataclass(part):
            found |= described(part, f"{name}.")
    return found


def refuse(problems: list[str]) -> None:
    """Raise one ConfigError with all `problems`, if there are any."""
    if problems:
        raise ConfigError(problems)
