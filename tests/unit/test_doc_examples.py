"""Every example of docs/datasets.md is read as the line below it says."""

import pytest
from conftest import ROOT
from doc_examples import Example, examples, make, read

EXAMPLES = examples((ROOT / "docs" / "datasets.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.command)
def test_example_reads_as_written(example: Example, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    make(example, folder)
    monkeypatch.chdir(folder)
    assert read(example) == example.reads
