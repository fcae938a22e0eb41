"""What bnexp accepts on the command line beyond Hydra's grammar, rewritten to Hydra's words.

decay=0.99                momentum=0.01, the same average said Keras's way
head_norm=none            norm@head_norm=none
steps=100                 steps=100 epochs=null, and the other way round
+seed=1                   seed=1: every knob stands in the YAMLs already, so there is nothing to add
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from bnexp.choices import GROUPS, groups
from bnexp.errors import ConfigError

HEAD_NORM = {"norm@head_norm": "head_norm"}  # Hydra's key and ours
# What a norm alone depends on: the words of `bnexp check`.
CHECK_KEYS = ("norm", "momentum", "decay", "eps", "convention", "device", "runs_dir")


def rewrite(words: Sequence[str]) -> list[str]:
    """Return `words` in Hydra's grammar.

    Raises:
        ConfigError: a key that stands twice; a decay that is no number in [0, 1]; both decay and momentum;
            both epochs and steps; a number with zeros before it; a word that names code, removes a part, puts
            a choice elsewhere, or belongs to bnexp or Hydra.
    """
    keys = {key(word) for word in words}
    found = twice(words)
    if {"decay", "momentum"} <= keys:
        found.append("give momentum or decay, not both: decay=0.99 is momentum=0.01")
    given = [word for word in words if key(word) in ("epochs", "steps") and value(word) != "null"]
    if len({key(word) for word in given}) == 2:
        found.append(f"give epochs or steps, not both (got {' '.join(given)})")
    rewritten = []
    for word in words:
        try:
            _refuse(word)
            rewritten.append(_rewrite_one(word))
        except ConfigError as error:
            found += error.problems
    if found:
        raise ConfigError(found)
    return rewritten + _other_duration(rewritten)


def twice(words: Sequence[str]) -> list[str]:
    """Return a line for each key that several words give: which of them is meant cannot be known."""
    given: dict[tuple[str, bool], list[str]] = {}
    for word in words:
        if not word.startswith("~"):  # refused in any case
            # a choice and a mapping of its knobs go together: norm=custom norm={momentum:0.5}
            name = (HEAD_NORM.get(key(word), key(word)), value(word).startswith("{"))
            given.setdefault(name, []).append(word)
    return [f"give {name} once, got {' '.join(each)}" for (name, _), each in given.items() if len(each) > 1]


def key(word: str) -> str:
    """Return the key of `KEY=VALUE`, without Hydra's leading + and ~."""
    return word.partition("=")[0].lstrip("+~")


def value(word: str) -> str:
    return word.partition("=")[2]


def _refuse(word: str) -> None:
    name = key(word)
    if name not in GROUPS and re.match(r"[-+]?0\d", value(word)):
        raise ConfigError(
            f"{word}: write numbers without zeros before them; a text of digits is put in quotes of its own"
        )
    if word.startswith("~"):
        raise ConfigError(f"{word}: a run needs all of its configuration; GROUP=none switches a norm off")
    if re.split(r"[./@]", name)[0] == "hydra":
        raise ConfigError(
            f"{word}: bnexp makes the run folder itself; output_dir=PATH or runs_dir=PATH say where"
        )
    if value(word).startswith("[") and name in (*groups(), *GROUPS):
        raise ConfigError(f"{word}: a run takes one choice; {name}=ONE,OTHER with -m makes a run of each")
    if name in ("head_norm", "norm@head_norm") and value(word).startswith("{"):
        raise ConfigError(
            f"{word}: head_norm is one NAME; its knobs are words of their own: head_norm.KNOB=VALUE"
        )
    if name.partition(".")[0] == "choices":
        raise ConfigError(f"{word}: choices are filled in by bnexp; GROUP=NAME makes one")
    if "@" in name and name != "norm@head_norm":
        raise ConfigError(
            f"{word}: words look like GROUP=NAME or KEY=VALUE; the head's norm is head_norm=NAME"
        )
    if any(part.startswith("_") for part in name.split(".")):
        group = name.partition(".")[0].removeprefix("head_")
        raise ConfigError(
            f"{word}: what is built is not named on the command line; choose {group}=NAME, or write your own "
            f"bnexp_conf/{group}/NAME.yaml"
        )


def _rewrite_one(word: str) -> str:
    if key(word) == "decay":
        return f"momentum={','.join(_momentum(part) for part in value(word).split(','))}"
    plain = word.lstrip("+")
    name, text = key(plain), value(plain)
    if name.removeprefix("norm@") in GROUPS:  # each choice has one name, however its file may be called
        text = ",".join(part.removeprefix("./").removesuffix(".yaml") for part in text.split(","))
    elif re.match(r"~(/|$)", text):
        text = quoted(text)  # Hydra's grammar has no such sign
    plain = f"{name}={text}" if "=" in plain else plain
    return f"norm@{plain}" if plain.startswith("head_norm=") else plain


def quoted(text: str) -> str:
    """Return a text as Hydra's grammar has it, whatever letters it holds."""
    # Here and not above: answers to TAB read these words without Hydra.
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()


def _momentum(decay: str) -> str:
    try:
        number = Decimal(decay)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or not 0 <= number <= 1:
        raise ConfigError(
            f"decay is the weight of the old average and must be a number in [0, 1], got {decay!r}"
        )
    return str(1 - number)


def _other_duration(words: list[str]) -> list[str]:
    keys = {key(word): value(word) for word in words}
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if keys.get(one, "null") != "null" and other not in keys:
            return [f"{other}=null"]
    return []
