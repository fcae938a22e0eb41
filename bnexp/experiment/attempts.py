"""Trying every part of something, so that all that is wrong with it can be told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from bnexp.errors import BnexpError, ConfigError

Part = TypeVar("Part")


class Attempts:
    """Makes parts from other parts; a part whose ingredients are missing is not tried.

    Args:
        problems: what is known to be wrong before the first attempt.
    """

    def __init__(self, problems: Sequence[str] = ()) -> None:
        self._problems = list(problems)
        self._errors: list[BnexpError] = []

    def __call__(self, make: Callable[..., Part], *ingredients: Any) -> Part | None:
        """Return what `make` makes of `ingredients`, None where it fails or one of them is None."""
        if any(ingredient is None for ingredient in ingredients):
            return None
        try:
            return make(*ingredients)
        except BnexpError as error:
            self._errors.append(error)
            return None

    @property
    def failed(self) -> bool:
        return bool(self._problems or self._errors)

    def finish(self) -> None:
        """Raise what went wrong: the error itself where it is the only one.

        Raises:
            BnexpError: some attempt failed, or something was known to be wrong.
        """
        if len(self._errors) == 1 and not self._problems:
            raise self._errors[0]
        found = [
            line
            for error in self._errors
            for line in (error.problems if isinstance(error, ConfigError) else [str(error)])
        ]
        # A part says again, with its own name in front, what is known of a knob that it reads.
        new = [line for line in found if not any(line.endswith(known) for known in self._problems)]
        if self._problems or new:
            raise ConfigError(list(dict.fromkeys(self._problems + new)))
