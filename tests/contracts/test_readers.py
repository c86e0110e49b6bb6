"""Every reader of official annotation files: rows that load again, a report that adds up."""

import json

import pytest
from dataset_files import CASES

from sightsound.config.settings import DataSettings
from sightsound.data.datasets.coverage import ALL
from sightsound.data.datasets.matching import match
from sightsound.data.datasets.media_index import MediaIndex
from sightsound.data.manifest import load_manifest, write_manifest
from sightsound.data.rows import SPLITS, id_hash
from sightsound.registry import DATASETS, resolve

NAMES = sorted(DATASETS)


def matched_case(name, folder):
    case = CASES[name](folder)
    read = resolve(DATASETS, name, kind="data set")
    return case, match(name, read(case.paths, **case.options), MediaIndex(case.media))


def test_every_reader_has_its_official_files_here():
    assert sorted(CASES) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_load_again(tmp_path, name, suffix):
    case, matched = matched_case(name, tmp_path)
    table = tmp_path / f"table{suffix}"
    write_manifest(matched.rows, table)
    (tmp_path / "labels.json").write_text(json.dumps(matched.labels))
    loaded = load_manifest(DataSettings(path=str(table)))
    assert loaded.labels == matched.labels
    assert sorted(row.id for row in loaded.rows) == sorted(case.found)
    assert loaded.id_hash == matched.coverage.splits[ALL].found_hash
    for row, again in zip(matched.rows, loaded.rows, strict=True):
        assert again.split == row.split or (not row.split and again.split in SPLITS)
        assert (again.path, again.audio_path, again.labels) == (
            row.path,
            row.audio_path,
            row.labels,
        )
        assert (again.start_seconds, again.end_seconds) == (row.start_seconds, row.end_seconds)


@pytest.mark.parametrize("name", NAMES)
def test_coverage_adds_up(tmp_path, name):
    case, matched = matched_case(name, tmp_path)
    coverage = matched.coverage
    total = coverage.splits[ALL]
    assert [each for each, _ in coverage.missing] == case.missing
    assert total.found_hash == id_hash(case.found)
    assert total.listed_hash == id_hash(case.found + case.missing)
    assert (total.found, total.listed) == (len(case.found), len(case.found) + len(case.missing))
    parts = [count for split, count in coverage.splits.items() if split != ALL]
    assert sum(part.found for part in parts) == total.found
    assert sum(part.listed for part in parts) == total.listed
    for head, names in matched.labels.items():
        counts = coverage.classes[head]
        assert list(counts) == names
        assert sum(b for _, b in counts.values()) == sum(len(r.names(head)) for r in matched.rows)
    assert json.loads(coverage.as_json())["splits"][ALL]["listed"] == total.listed
    assert f"{total.found} of {total.listed} listed clips found" in coverage.text()


@pytest.mark.parametrize("name", NAMES)
def test_reading_changes_no_file(tmp_path, name):
    case = CASES[name](tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    read = resolve(DATASETS, name, kind="data set")
    match(name, read(case.paths, **case.options), MediaIndex(case.media))
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_help_tells_which_files_are_wanted(name):
    assert len(resolve(DATASETS, name, kind="data set").__doc__ or "") > 20
