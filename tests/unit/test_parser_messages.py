"""The installed jsonargparse says what `config/parser.py` matches by regular expression."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Literal

import pytest

from sightsound.config.parser import Parser, UsageError


@dataclass
class Settings:
    """Some settings."""

    width: int = 1
    """Channels."""
    rate: float | None = None
    """A share."""
    kind: Literal["cosine", "constant"] = "cosine"
    """A schedule."""


def parser() -> Parser:
    parser = Parser(prog="prog")
    parser.add_argument("place", help="Where.")
    parser.add_argument("--colour", choices=["red", "green"], default="red")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_class_arguments(Settings, "train")
    return parser


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["x", "--sed", "1"], "unknown option '--sed'. Did you mean '--seed'?"),
        (["x", "y"], "unexpected argument 'y'; see 'prog --help'"),
        (["x", "--seed", "a"], "seed cannot be 'a': expected a whole number."),
        (["x", "--train.rate", "a"], "train.rate cannot be 'a': expected a number or null."),
        (
            ["x", "--train.kind", "cosin"],
            "train.kind cannot be 'cosin': expected one of cosine, constant. "
            "Did you mean 'cosine'?",
        ),
        (["x", "--seed"], "option '--seed' needs a value: expected a whole number"),
        (
            ["x", "--colour", "gren"],
            "--colour cannot be 'gren': expected one of red, green. Did you mean 'green'?",
        ),
        ([], "missing: place (Where.); see 'prog --help'"),
    ],
)
def test_options(argv, sentence):
    with pytest.raises(UsageError) as error:
        parser().parse_args(argv)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"sed": 1}, "unknown setting 'sed'. Did you mean 'seed'?"),
        ({"train": {"widt": 1}}, "unknown setting 'train.widt'. Did you mean 'train.width'?"),
        ({"train": {"width": "a"}}, "train.width cannot be 'a': expected a whole number."),
    ],
)
def test_files(values, sentence):
    with pytest.raises(UsageError) as error:
        parser().parse_object({"place": "x", **values})
    assert str(error.value) == sentence


def test_private_parts_are_there():
    made = parser()
    action = made._option_string_actions["--train.width"]
    assert isinstance(action, argparse.Action) and action._typehint is int
    assert action in made._actions
    assert any(action in group._group_actions for group in made._action_groups)
