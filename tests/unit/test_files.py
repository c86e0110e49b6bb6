import errno

import pytest

from sightsound.files import atomic_directory, atomic_path, csv_rows, csv_text, write_whole


def test_a_file_is_replaced_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_writing_names_the_file_and_one_of_another_file_that_one(tmp_path):
    with pytest.raises(OSError, match="no space.*a.txt"), atomic_path(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "no space")
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()
    assert caught.value.filename == str(tmp_path / "other")


def test_a_directory_appears_whole_and_nothing_is_left_of_one_that_fails(tmp_path):
    path = tmp_path / "folder" / "model"
    with pytest.raises(RuntimeError), atomic_directory(path, last="b") as temporary:
        (temporary / "a").write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    with atomic_directory(path, last="b") as temporary:
        (temporary / "a").write_text("1")
        (temporary / "b").write_text("2")
        assert not path.exists()
    assert sorted(file.name for file in path.iterdir()) == ["a", "b"]
    assert list(path.parent.iterdir()) == [path]


def test_files_of_a_directory_that_exists_are_replaced_and_others_stay(tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.mkdir()
    for name in ("a", "config", "z", "mine"):
        (path / name).write_text("old")
    moved = []
    monkeypatch.setattr(
        "pathlib.Path.replace",
        lambda self, target: moved.append(target.name) or self.rename(target),
    )
    with atomic_directory(path, last="config") as temporary:
        for name in ("config", "a", "z"):
            (temporary / name).write_text("new")
    assert sorted(moved) == ["a", "config", "z"]
    assert moved[-1] == "config"
    assert {file.name: file.read_text() for file in path.iterdir()} == {
        "a": "new",
        "config": "new",
        "z": "new",
        "mine": "old",
    }


def test_csv_has_one_form():
    assert csv_rows([["a", "b"], [1, None], ["x, y", 0.5]]) == 'a,b\n1,\n"x, y",0.5\n'
    assert csv_text([{"a": 1}, {"a": None, "b": "x, y"}]) == 'a,b\n1,\n,"x, y"\n'
    assert csv_text([], ["a", "b"]) == "a,b\n"
