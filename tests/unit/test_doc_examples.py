"""Every example of docs/datasets.md is read as the line below it says."""

from pathlib import Path

import pytest
from doc_examples import Example, examples, make, read

from sightsound.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = examples((ROOT / "docs" / "datasets.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.command)
def test_example_reads_as_written(example: Example, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    make(example, folder)
    monkeypatch.chdir(folder)
    assert read(example) == example.reads


def test_every_data_set_has_an_example():
    """Those that read the files of another one need none."""
    same = {"audioset-500k", "kinetics-sounds-32", "kinetics-sounds-34", "ucf101"}
    shown = {example.command.split()[1] for example in EXAMPLES}
    assert set(DATASETS) - same <= shown
