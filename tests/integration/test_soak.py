"""A short version of benchmarks/soak.py: the same files are left out in every pass."""

import csv
import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("soak")


@pytest.mark.slow
@pytest.mark.data
def test_broken_files_are_left_out_every_time_and_memory_stays(soak, test_data):
    folder = test_data / "data" / "media_zoo"
    if not (folder / "manifest.csv").is_file():
        pytest.skip("no media_zoo among the test data")
    found = soak.soak(folder, loads=800, workers=2)
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        broken = {row["path"] for row in csv.DictReader(file) if row["readable"] == "unreadable"}
    assert found.same_left_out()
    assert broken <= set(found.left_out[0]) and len(found.left_out[0]) < found.files / 5
    assert found.growth(warm_up=found.loads[3]) < 0.25  # short: caches are still filling


def test_growth_compares_stretches_after_the_warm_up(soak):
    found = soak.Soak(files=10, workers=2)
    found.loads = [10 * (index + 1) for index in range(100)]
    found.megabytes = [50.0] * 20 + [100.0, 300.0, 100.0] + [100.0] * 69 + [110.0] * 8
    assert found.growth(warm_up=200) == pytest.approx(0.1)
    found.left_out = [["a"], ["a"]]
    assert found.same_left_out()
    found.left_out.append(["a", "b"])
    assert not found.same_left_out()
