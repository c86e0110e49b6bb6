"""The examples of docs/datasets.md: made as files, read as the line below them says.

An example is one or more fenced blocks and a line that tells what is read of them:

    ```csv clips.csv              a block with a file's name: its text, tabs included
    ```text files                 a block called `files`: a media file on every line
    ```text clips.tar             a tar: a member on every line, after a blank what is in it
    ```csv clips.parquet          a table `video,label`: clips embedded as {bytes, path}
    `sightsound train clips.csv` reads 2 clips of cat, dog: 1 train, 1 val.

The command is `sightsound train DATA [--columns ...]`, where files that a table names are made
too, or `sightsound manifest DATASET ...`, whose manifest is read. Labels are those of the clips,
in order; splits are left out where the data names none; "several labels each" where that is so.
"""

import io
import re
import shlex
import shutil
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet
from media_files import regular, tone, write_clip

from sightsound import cli
from sightsound.config.settings import DataSettings
from sightsound.data.manifest import load_manifest
from sightsound.data.rows import SUFFIXES, Manifest

_PART = re.compile(r"```\w+ (\S+)\n(.*?)```|^`sightsound ([^`]+)`\s+reads\s+(.+?)\.$", re.M | re.S)
_MEDIA = re.compile(rf"[^\s,;|\"']+(?:{'|'.join(map(re.escape, sorted(SUFFIXES)))})\b", re.I)


@dataclass(frozen=True)
class Example:
    """Files by name, the command that reads them, and what it reads."""

    files: dict[str, str]
    command: str
    reads: str


def examples(text: str) -> list[Example]:
    """Every example of a document, in its order."""
    found, files = [], {}
    for name, content, command, reads in _PART.findall(text):
        if name:
            files[name] = content
        else:
            found.append(Example(files, command, " ".join(reads.split())))
            files = {}
    assert not files, f"no line says what is read of {', '.join(files)}"
    return found


def make(example: Example, folder: Path) -> None:
    """Write the files of an example below `folder`, media files as copies of one short clip."""
    clip = folder.parent / "clip.mp4"
    if not clip.exists():
        write_clip(clip, levels=[90] * 12, times=regular(12), sound=tone(0.5))
    for name, content in example.files.items():
        path = folder / name
        if name != "files":
            path.parent.mkdir(parents=True, exist_ok=True)
            write = {".tar": _write_tar, ".parquet": _write_parquet}.get(path.suffix, _write_text)
            write(path, content, clip)
        if name == "files" or example.command.startswith("train"):
            base = folder if name == "files" else path.parent
            for media in _MEDIA.findall(content.replace("\\", "/")):
                (base / media).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(clip, base / media)


def _write_text(path: Path, content: str, clip: Path) -> None:
    path.write_text(content, encoding="utf-8")


def _write_tar(path: Path, content: str, clip: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for line in content.splitlines():
            name, _, text = line.partition(" ")
            held = text.encode() or clip.read_bytes()
            about = tarfile.TarInfo(name)
            about.size = len(held)
            tar.addfile(about, io.BytesIO(held))


def _write_parquet(path: Path, content: str, clip: Path) -> None:
    rows = [line.split(",") for line in content.splitlines()[1:]]
    clips = [{"bytes": clip.read_bytes(), "path": name} for name, _ in rows]
    table = pyarrow.table({"video": clips, "label": [label for _, label in rows]})
    pyarrow.parquet.write_table(table, path)


def read(example: Example) -> str:
    """What the command of an example reads in the working folder, in words."""
    verb, *rest = shlex.split(example.command)
    if verb == "train":
        columns = rest[2] if rest[1:2] == ["--columns"] else ""
        settings = {"columns": columns} if columns else {}
        return told(load_manifest(DataSettings(path=rest[0], **settings), draw=False))
    assert cli.main([verb, *rest, "--output", "read/manifest.csv"]) == 0
    return told(load_manifest(DataSettings(path="read/manifest.csv"), draw=False))


def told(manifest: Manifest) -> str:
    """`3 clips of cat, dog: 2 train, 1 val`."""
    parts = []
    for head, order in manifest.labels.items():
        used = {name for row in manifest.rows for name in row.names(head)}
        names = ", ".join(name for name in order if name in used)
        parts.append(names if len(manifest.labels) == 1 else f"{head} {names}")
    text = f"{len(manifest.rows)} clips of {'; '.join(parts)}"
    text += ", several labels each" if manifest.task == "multi" else ""
    counts = Counter(row.split for row in manifest.rows)
    splits = ", ".join(f"{counts[name]} {name}" for name in manifest.splits)
    return f"{text}: {splits}" if splits else text
