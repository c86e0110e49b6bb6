"""Where the reference cases lie: `pytest tests/parity --cases DIR` (`make parity CASES=DIR`)."""

import contextlib
import json
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"
PARTS = ("mbt", "avt", "mafnet")


def pytest_addoption(parser):
    parser.addoption("--cases", default=str(CASES), help=f"folder with {', '.join(PARTS)}")


def cases_folder(config) -> Path:
    return Path(config.getoption("--cases", default=str(CASES))).expanduser().resolve()


@pytest.fixture(scope="session")
def cases(request) -> Path:
    """Folder with subfolders mbt, avt, mafnet: numbers that the original programs gave."""
    return cases_folder(request.config)


def pytest_generate_tests(metafunc):
    """One test per file: a test that asks for `mbt_model`, say, gets each of them."""
    folder = cases_folder(metafunc.config)
    if not any((folder / part).is_dir() for part in PARTS):
        raise pytest.UsageError(f"--cases {folder} has none of the folders {', '.join(PARTS)}")
    for fixture, wanted in SELECTIONS.items():
        if fixture in metafunc.fixturenames:
            entries = _index(folder, next((p for p in PARTS if fixture.startswith(p)), "mbt"))
            named = ((name, entry | {"name": name}) for name, entry in sorted(entries.items()))
            names = [name for name, entry in named if wanted(entry)]
            metafunc.parametrize(fixture, names)


def _index(folder: Path, part: str) -> dict[str, dict]:
    """{file: entry} of a part's index; none if there is no index."""
    if part == "mafnet":
        index = folder / part / "index.json"
        return json.loads(index.read_text())["files"] if index.is_file() else {}
    index = folder / part / "INDEX.json"
    content = json.loads(index.read_text()) if index.is_file() else {}
    if part == "avt":  # entries by kind
        return {
            name: entry
            for kind in ("uniformer", "ast")
            for name, entry in content.get(kind, {}).items()
        }
    return content


def _is_bottleneck_of_frames(entry: dict) -> bool:
    """What the NumPy model covers: bottleneck fusion, frame patches, CLS tokens."""
    if entry.get("kind") != "model":
        return False
    official = entry["config"]["model"]
    return (
        official["use_bottleneck"]
        and len(official["modality_fusion"]) == 2
        and official["fusion_layer"] < official["num_layers"]
        and official["classifier"] == "token"
        and not official["share_encoder"]
        and official["representation_size"] is None
        and official["temporal_encoding_config"]["method"] == "temporal_sampling"
    )


def _is_checkpoint(entry: dict) -> bool:
    """Flax's own file; its configuration and expected numbers have the kind, too, and a suffix."""
    return entry.get("kind") == "checkpoint" and not Path(entry["name"]).suffix


SELECTIONS = {
    "avt_adaptation": lambda entry: "cases" in entry,
    "avt_ast": lambda entry: "fstride" in entry,
    "avt_uniformer": lambda entry: "head_dim" in entry,
    "mbt_checkpoint": _is_checkpoint,
    "mbt_model": lambda entry: entry.get("kind") == "model",
    "mbt_training": lambda entry: entry.get("kind") == "train",
    "mbt_bottleneck": _is_bottleneck_of_frames,
    "mafnet_model": lambda entry: "eval/logits" in entry["arrays"],
    "mafnet_training": lambda entry: "grad/dense/kernel" in entry["arrays"],
    "mafnet_block": lambda entry: "in/cond" in entry["arrays"],
    "vit_start": lambda entry: entry.get("kind") == "vit_init",
    "vit_file": lambda entry: entry.get("kind") == "vit_ckpt",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with skipping_what_is_not_there(item.config):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with skipping_what_is_not_there(item.config):
        return (yield)


@contextlib.contextmanager
def skipping_what_is_not_there(config):
    """A folder given with `--cases` need not hold every file; what it lacks is skipped, by name."""
    folder = cases_folder(config)
    try:
        yield
    except FileNotFoundError as error:
        if folder == CASES or not Path(str(error.filename)).is_relative_to(folder):
            raise
        pytest.skip(f"{error.filename} is not among these cases")
