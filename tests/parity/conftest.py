"""Where the reference cases lie: `pytest tests/parity --cases DIR` (`make parity CASES=DIR`)."""

import json
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"


def pytest_addoption(parser):
    parser.addoption("--cases", default=str(CASES), help="folder with mbt/, avt/, mafnet/")


def cases_folder(config) -> Path:
    return Path(config.getoption("--cases", default=str(CASES))).expanduser().resolve()


@pytest.fixture(scope="session")
def cases(request) -> Path:
    """Folder with subfolders mbt, avt, mafnet: numbers that the original programs gave."""
    folder = cases_folder(request.config)
    if not folder.is_dir():
        raise FileNotFoundError(f"no reference cases at {folder}; give --cases DIR")
    return folder


def pytest_generate_tests(metafunc):
    """One test per file: a test that asks for `mbt_model` or `mbt_training` gets each of them."""
    for fixture, kind in {"mbt_model": "model", "mbt_training": "train"}.items():
        if fixture in metafunc.fixturenames:
            index = cases_folder(metafunc.config) / "mbt" / "INDEX.json"
            entries = json.loads(index.read_text()) if index.is_file() else {}
            names = [n for n, e in sorted(entries.items()) if e.get("kind") == kind]
            metafunc.parametrize(fixture, names)
