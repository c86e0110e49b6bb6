"""Modules of version 0.1 are found by their old names, with a warning."""

import importlib
import sys

import pytest

from sightsound.moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_name_is_the_new_module(old: str, new: str):
    with pytest.warns(DeprecationWarning, match=f"sightsound.{old} is now sightsound.{new}; .*0.3"):
        module = importlib.import_module(f"sightsound.{old}")
    try:
        assert module is importlib.import_module(f"sightsound.{new}")
        assert module.__name__ == f"sightsound.{new}"
    finally:
        del sys.modules[f"sightsound.{old}"]


def test_names_inside_a_moved_folder_are_found():
    with pytest.warns(DeprecationWarning, match="sightsound.figures"):
        from sightsound.explain.figures.confusion import __file__ as file
    assert file.endswith("figures/confusion.py")


def test_scores_are_found_in_the_package_that_was_their_module():
    with pytest.warns(DeprecationWarning, match="metrics.scores.top_k_hits"):
        from sightsound.metrics import top_k_hits
    assert callable(top_k_hits)


def test_what_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("sightsound.evaluates")


def test_read_evaluation_is_found_where_it_was():
    from sightsound.evaluation import compare, results

    with pytest.warns(DeprecationWarning, match="evaluation.results.read_evaluation; .*0.3"):
        assert compare.read_evaluation is results.read_evaluation
    with pytest.raises(AttributeError, match="no attribute 'read_evaluations'"):
        _ = compare.read_evaluations
