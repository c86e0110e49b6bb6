"""A skip fails unless it is in the list of those allowed."""

from pathlib import Path

import pytest
import torch
from allowed_skips import ALLOWED

pytest_plugins = ["pytester"]
CONFTEST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from allowed_skips import (
    pytest_make_collect_report, pytest_runtest_makereport, pytest_runtest_setup
)
"""


@pytest.fixture(autouse=True)
def same_hooks(pytester):
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\nmarkers = gpu\naddopts = -p no:hypothesispytest")


TESTS = {
    "call": "import pytest\ndef test_it():\n    pytest.importorskip('no_such_package')",
    "mark": "import pytest\n@pytest.mark.skip(reason='not today')\ndef test_it(): pass",
    "fixture": "import pytest\n@pytest.fixture\ndef x():\n    pytest.skip('not today')\n"
    "def test_it(x): pass",
}


@pytest.mark.parametrize("where", TESTS)
def test_a_skip_that_is_not_allowed_fails(pytester, where):
    pytester.makepyfile(TESTS[where])
    result = pytester.runpytest()
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*which fails, since this skip is not allowed here: *n*",
            "*pip install -e '.[[]dev]'*tests/allowed_skips.py.",
        ]
    )


def test_a_module_that_skips_fails(pytester):
    pytester.makepyfile("import pytest\npytest.importorskip('no_such_package')")
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*this skip is not allowed here: could not import 'no_such*"])


def test_in_workers_too(pytester):
    pytester.makepyfile(TESTS["mark"])
    result = pytester.runpytest("-n", "1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*this skip is not allowed here: not today"])


def test_allowed_skips_and_expected_failures_are_left_alone(pytester):
    pytester.makepyfile(
        """
        import pytest
        def test_skips(): pytest.skip("no drone_av among the test data")
        @pytest.mark.xfail
        def test_fails(): assert False
        def test_passes(): pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, skipped=1, xfailed=1)


def test_a_skip_is_allowed_only_where_its_cause_is(pytester, monkeypatch):
    pytester.makepyfile("import pytest\ndef test_it():\n    pytest.skip('there is a GPU')")
    for there, outcome in ((True, "skipped"), (False, "failed")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        pytester.runpytest().assert_outcomes(**{outcome: 1})


def test_without_a_gpu_its_tests_skip_or_fail_as_asked(pytester, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("FAIL_WITHOUT_CUDA", raising=False)
    pytester.makepyfile("import pytest\n@pytest.mark.gpu\ndef test_it(): pass")
    pytester.runpytest().assert_outcomes(skipped=1)
    monkeypatch.setenv("FAIL_WITHOUT_CUDA", "1")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no GPU that torch can use, and FAIL_WITHOUT_CUDA=1"])


def test_each_has_a_reason():
    assert all(len(skip.reason.split()) > 3 for skip in ALLOWED)
