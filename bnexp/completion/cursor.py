"""Where in a command line the cursor is: which verb, and which of its options or arguments comes next.

Read from the Click command that typer makes, so a new verb or option appears by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnexp.completion.line import Candidate


@dataclass
class Cursor:
    """The state after some words.

    command: the Click command, or group of commands, that they lead to.
    verb: its name, with that of its group in front: `runs show`; empty at the beginning.
    option: the option whose value comes next, if one does.
    positional: words of the command that are no options.
    options: the last value of each option that was given, by the name of its parameter.
    """

    command: Any
    verb: str = ""
    option: Any = None
    positional: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    dashes_are_words: bool = False

    @property
    def argument(self) -> Any:
        """The argument that the next word belongs to, None where no more are taken."""
        left = len(self.positional)
        for parameter in self.command.params:
            if parameter.param_type_name == "argument":
                if parameter.nargs == -1 or left < parameter.nargs:
                    return parameter
                left -= parameter.nargs
        return None

    @property
    def unnamed(self) -> Cursor:
        """The command that `bnexp runs` stands for where no verb follows: `list`."""
        default = _commands(self).get("list") if self.verb else None
        return Cursor(default, f"{self.verb} list") if default is not None else self


def follow(root: Any, words: Sequence[str]) -> Cursor | None:
    """Follow `words`, which come after the program's name; None where they name no verb."""
    cursor = Cursor(root)
    for word in words:
        if cursor.option is None and word in _commands(cursor):
            cursor = Cursor(cursor.command.commands[word], f"{cursor.verb} {word}".strip())
            continue
        cursor = cursor.unnamed
        if cursor.option is None and not cursor.verb and not word.startswith("-"):
            return None
        _take(cursor, word)
    return cursor


def option(cursor: Cursor, name: str) -> Any:
    """Return the option that is called `name` at the cursor, None where none is."""
    return next((option for option in _options(cursor) if name in _names(option)), None)


def option_names(cursor: Cursor) -> Iterator[Candidate]:
    """Give the options that can still be given."""
    for option in _options(cursor):
        if option.name not in cursor.options or option.multiple:
            yield from (Candidate(name, option.help or "") for name in _names(option))
    if cursor.command.add_help_option:
        yield Candidate("--help", "Show what there is and exit.")


def commands(cursor: Cursor) -> Iterator[Candidate]:
    """Give the verbs that may come next."""
    for name, command in _commands(cursor).items():
        if not command.hidden:
            yield Candidate(name, command.get_short_help_str(100))


def _take(cursor: Cursor, word: str) -> None:
    """Take a word that is no verb."""
    if cursor.option is not None:
        cursor.options[cursor.option.name], cursor.option = word, None
    elif cursor.dashes_are_words or not word.startswith("-"):
        cursor.positional.append(word)
    elif word == "--":
        cursor.dashes_are_words = True
    else:
        _take_option(cursor, word)


def _take_option(cursor: Cursor, word: str) -> None:
    name, equals, value = word.partition("=")
    found = option(cursor, name)
    if found is None:
        return
    cursor.options[found.name] = value
    if not equals and not found.is_flag:
        cursor.option = found


def _commands(cursor: Cursor) -> dict[str, Any]:
    return getattr(cursor.command, "commands", {})


def _options(cursor: Cursor) -> list[Any]:
    return [one for one in cursor.command.params if one.param_type_name == "option" and not one.hidden]


def _names(option: Any) -> list[str]:
    return [*option.opts, *option.secondary_opts]
