"""The parser behind every command: options written out in full, errors of one sentence."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin

import jsonargparse

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


class UsageError(ValueError):
    """A mistake in options or configuration, told in one sentence."""


class Parser(jsonargparse.ArgumentParser):
    """Options that must be written out, with errors of one sentence."""

    def __init__(self, *args: Any, also: Sequence[str] = (), **kwargs: Any) -> None:
        """`also`: names of options that are handled elsewhere, for "did you mean"."""
        self.also = tuple(also)
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(*args, allow_abbrev=False, print_config=None, **kwargs)

    def parse_args(  # type: ignore[override]  # jsonargparse narrows argparse's own signature
        self, args: Sequence[str] | None = None, *others: Any, **kwargs: Any
    ) -> jsonargparse.Namespace:
        """As jsonargparse has it, but files and folders may also stand between or after options."""
        tokens = _places_first(list(sys.argv[1:] if args is None else args), parser=self)
        return super().parse_args(tokens, *others, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a `UsageError` instead of printing a page of usage."""
        raise UsageError(_sentence(message, parser=self)) from ex


class HelpFormatter(jsonargparse.DefaultHelpFormatter):
    """Examples keep their line breaks; defaults are shown where they say something."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"max_help_position": 36} | kwargs)

    def _get_help_string(self, action: argparse.Action) -> str:
        silent = (None, "", False, (), argparse.SUPPRESS)
        default = "" if action.default in silent else f" (default: {action.default})"
        return (action.help or "") + default

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.splitlines())


def _places_first(args: list[str], *, parser: Parser) -> list[str]:
    """`args` with what belongs to no option in front; as it is where that cannot be told.

    argparse gives up an optional place (`MODEL [DATA]`) as soon as an option follows `MODEL`.
    """
    places, options, rest = [], [], args
    while rest:
        token, *rest = rest
        if not token.startswith("-"):
            places.append(token)
            continue
        name, equals, _ = token.partition("=")
        action = parser._option_string_actions.get(name)
        if action is None:
            return args
        end = 0 if equals else _num_values(action.nargs, rest)
        options += [token, *rest[:end]]
        rest = rest[end:]
    return places + options


def _num_values(nargs: int | str | None, rest: Sequence[str]) -> int:
    """How many of the tokens `rest` belong to the option before them."""
    if nargs is None or isinstance(nargs, int):
        return 1 if nargs is None else nargs
    end = next((i for i, token in enumerate(rest) if token.startswith("-")), len(rest))
    return min(end, 1) if nargs == "?" else end


def _sentence(message: str, *, parser: Parser) -> str:
    """jsonargparse's message as one sentence with the nearest valid name."""
    if match := re.match(r"unrecognized arguments: (.*)", message, re.S | re.I):
        tokens = match[1].split()
        option = next((token for token in tokens if token.startswith("-")), None)
        if option is None:
            return f"unexpected argument {tokens[0]!r}; see '{parser.prog} --help'"
        name = option.split("=")[0]
        hint = _known_here(name, _options(parser)) or did_you_mean(name, _options(parser))
        return f"unknown option {name!r}." + (hint or f" See '{parser.prog} --help'.")
    if match := re.match(r"Group '(.*)' does not accept option '(.*)'", message):
        return _unknown_setting(f"{match[1]}.{match[2]}", parser=parser)
    if match := re.match(r"Option '(.*)' is not accepted", message):
        return _unknown_setting(match[1], parser=parser)
    if match := re.match(r'Parser key "([^"]*)":(.*)', message, re.S):
        key, details = match[1], match[2]
        given = re.search(r"(?:Given|Got) value: (.*)", details)
        accepted = _accepted_by(f"--{key}", parser=parser)
        if given is None or not accepted:
            return f"{key}: {' '.join(details.split())}"
        value, hint = given[1].strip(), _hint(f"--{key}", parser=parser)
        choices = [str(item) for item in get_args(hint)] if get_origin(hint) is Literal else []
        return f"{key} cannot be {value!r}{accepted}.{did_you_mean(value, choices)}"
    if match := re.match(r"argument (\S+): expected one argument", message):
        return f"option {match[1]!r} needs a value{_accepted_by(match[1], parser=parser)}"
    if match := re.match(
        r"argument (\S+): invalid choice: '?(.*?)'? \(choose from (.*)\)", message
    ):
        choices = match[3].replace("'", "").split(", ")
        near = did_you_mean(match[2], choices)
        return f"{match[1]} cannot be {match[2]!r}: expected one of {', '.join(choices)}.{near}"
    if match := re.match(r"the following arguments are required: (.*)", message):
        return f"missing: {_required(match[1].split(', '), parser=parser)}"
    return " ".join(message.split())


def _required(names: list[str], *, parser: Parser) -> str:
    """Options as they are typed, with what they are for."""
    actions = [action for action in parser._actions if action.dest in names]
    words = [f"{[*a.option_strings, a.metavar or a.dest][0]} ({a.help})" for a in actions]
    return ", ".join(words or names) + f"; see '{parser.prog} --help'"


def _unknown_setting(name: str, *, parser: Parser) -> str:
    known = [option.removeprefix("--") for option in _options(parser)]
    return f"unknown setting {name!r}.{_known_here(name, known) or did_you_mean(name, known)}"


def _known_here(name: str, known: Sequence[str]) -> str:
    """The names of an existing section that has nothing like `name`."""
    section = name.rpartition(".")[0]
    here = sorted(k.rpartition(".")[2] for k in known if section and k.startswith(f"{section}."))
    if not here or _nearest_in_section(name, known):
        return ""
    return f" Known in {section}: {', '.join(here)}."


def _options(parser: Parser) -> list[str]:
    return [*parser._option_string_actions, *parser.also]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The question with the nearest name, after a space, or nothing.

    A name that lacks only its section (`--epochs` for `--train.epochs`) counts as near; within a
    section only the last part is compared.
    """
    near = [option for option in known if option.endswith(f".{name.removeprefix('--')}")]
    near = near or _nearest_in_section(name, known) or difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _nearest_in_section(name: str, known: Sequence[str]) -> list[str]:
    section, dot, last = name.rpartition(".")
    names = {option.rpartition(".")[2]: option for option in known if option.startswith(section)}
    names = {key: option for key, option in names.items() if option == f"{section}.{key}"}
    return [names[key] for key in difflib.get_close_matches(last, names, n=1)] if dot else []


def _hint(option: str, *, parser: Parser) -> Any:
    """The type that an option expects, or `None`."""
    action = parser._option_string_actions.get(option)
    return getattr(action, "_typehint", None) or getattr(action, "type", None)


def _accepted_by(option: str, *, parser: Parser) -> str:
    hint = _hint(option, parser=parser)
    return f": expected {_describe(hint)}" if hint is not None else ""


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "names"}


def _describe(hint: Any) -> str:
    """A type in words: "a number or null", "one of random, centre, full"."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(str(item) for item in get_args(hint))}"
    if get_origin(hint) in (tuple, list):
        items = get_args(hint)
        count = "" if Ellipsis in items or get_origin(hint) is list else f"{len(items)} "
        plural = _PLURALS.get(items[0], "values") if items else "values"
        return f"a list of {count}{plural}, [a,b]"
    if hint in _WORDS:
        return _WORDS[hint]
    parts = get_args(hint)
    return " or ".join(_describe(part) for part in parts) if parts else str(hint)
