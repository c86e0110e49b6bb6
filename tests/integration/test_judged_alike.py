"""What doctor passes, training, prediction and `prepare` take, and nothing else."""

from __future__ import annotations

import pytest
from judged import check_alike
from planted_faults import plant

from sightsound.config.settings import DataSettings
from sightsound.data.manifest import load_manifest
from sightsound.data.rows import Row


def test_planted_faults(tmp_path):
    manifest, planted = plant(tmp_path / "clips", number=1, num_clean=2)
    rows = load_manifest(DataSettings(path=str(manifest), bad_files="drop")).rows
    expected = {i for k in ("unreadable", "missing_file", "outside_file") for i in planted[k]}
    bad = {"unreadable", "missing_file", "outside_file"}
    assert {row.id for row in rows if check_alike(row) & bad} == expected


@pytest.mark.data
def test_the_media_zoo(test_data):
    folder = test_data / "data" / "media_zoo"
    if not (folder / "manifest.csv").is_file():
        pytest.skip("no media_zoo among the test data")
    paths = [p for p in sorted(folder.iterdir()) if p.suffix != ".csv"]
    paths = [p for p in paths if p.name not in TOO_LONG]
    assert len(paths) > 80
    for path in paths:
        check_alike(Row(path.name, path, ("a",), split="train"))


TOO_LONG = {"t_long_15min_synthetic.mp4", "g_4k_half_second.mp4"}  # to be read several times
