"""Public data sets in small: official lists of the real layout, and real clips under their names.

Each function fills a folder and returns what `sightsound manifest` is given there, but --output.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from dataset_files import AVE_HEADER, EPIC_HEADER, put

NUM_TRAIN, NUM_HELD_OUT = 8, 4


def numbered(*splits: str) -> list[tuple[int, str]]:
    """(number, split) of the clips: `NUM_TRAIN` of the first, `NUM_HELD_OUT` of each other."""
    counts = [NUM_TRAIN, *[NUM_HELD_OUT] * (len(splits) - 1)]
    names = [split for split, count in zip(splits, counts, strict=True) for _ in range(count)]
    return list(enumerate(names))


def copy(clips: Sequence[Path], files: Sequence[Path]) -> None:
    """Each of `files` is one of `clips`, in turn."""
    for index, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clips[index % len(clips)], file)


def audioset(folder: Path, clips: Sequence[Path], *, train: str = "balanced_train") -> list[str]:
    machine = ("/m/09x0r,/m/04rlf", "/m/0bt9lr", "/m/012xff", "/m/0k4j")
    files = {"train": f"{train}_segments.csv", "test": "eval_segments.csv"}
    for split, name in files.items():
        lines = [
            f'clip{number:07}, 0.000, 2.000, "{machine[number % 4]}"\n'
            for number, each in numbered("train", "test")
            if each == split
        ]
        put(folder, name, "# YTID, start_seconds, end_seconds, positive_labels\n" + "".join(lines))
    copy(clips, [folder / f"media/clip{number:07}.mp4" for number, _ in numbered("train", "test")])
    return ["audioset", *files.values(), "--media", "media"]


def as500k(folder: Path, clips: Sequence[Path]) -> list[str]:
    return audioset(folder, clips, train="unbalanced_train")


def vggsound(folder: Path, clips: Sequence[Path]) -> list[str]:
    labels = ("people marching", '"female speech, woman speaking"')
    rows = numbered("train", "test")
    lines = [f"clip{number:07},0,{labels[number % 2]},{split}\n" for number, split in rows]
    put(folder, "annotations/vggsound.csv", "".join(lines))
    copy(clips, [folder / f"media/clip{number:07}_000000.mp4" for number, _ in rows])
    return ["vggsound", "annotations", "--media", "media"]


def epic(folder: Path, clips: Sequence[Path]) -> list[str]:
    """Untrimmed videos; the test set has no public labels."""
    videos = {"train": "P01_01", "validation": "P02_03"}
    for split, video in videos.items():
        lines = [
            f"{video}_{number},{video[:3]},{video},00:00:00.0,00:00:00.{number % 8},00:00:01."
            f"{number % 8},0,25,n,v,{number % 2},n,{number % 2},['n'],[0]\n"
            for number, each in numbered(*videos)
            if each == split
        ]
        put(folder, f"annotations/EPIC_100_{split}.csv", EPIC_HEADER + "".join(lines))
    put(folder, "annotations/EPIC_100_verb_classes.csv", "id,key\n0,take\n1,put\n2,open\n")
    put(folder, "annotations/EPIC_100_noun_classes_v2.csv", "id,key\n0,knife\n1,door\n")
    copy(clips, [folder / f"media/{video[:3]}/{video}.MP4" for video in videos.values()])
    return ["epic-kitchens", "annotations", "--media", "media"]


def kinetics(folder: Path, clips: Sequence[Path]) -> list[str]:
    """Kinetics' test list without classes."""
    labels = ("tapping guitar", "strumming guitar")
    rows = numbered("train", "val")
    for split in ("train", "val"):
        lines = [
            f"{labels[number % 2]},clip{number:07},0,2,{split}\n"
            for number, each in rows
            if each == split
        ]
        text = "label,youtube_id,time_start,time_end,split\n" + "".join(lines)
        put(folder, f"annotations/{split}.csv", text)
    put(folder, "annotations/test.csv", "youtube_id,time_start,time_end,split\na,0,10,test\n")
    copy(clips, [folder / f"kinetics/clip{number:07}_000000_000002.mp4" for number, _ in rows])
    return ["kinetics", "annotations", "--media", "kinetics"]


def kinetics_sounds(folder: Path, clips: Sequence[Path]) -> list[str]:
    return ["kinetics-sounds-32", *kinetics(folder, clips)[1:]]


def moments(folder: Path, clips: Sequence[Path]) -> list[str]:
    labels = ("clapping", "adult+female+singing")
    rows = numbered("training", "validation")
    names = [f"{labels[number % 2]}/yt-{number}.mp4" for number, _ in rows]
    for split in ("training", "validation"):
        lines = [
            f"{names[number]},{labels[number % 2]},3,0\n" for number, each in rows if each == split
        ]
        put(folder, f"lists/{split}Set.csv", "".join(lines))
    put(folder, "lists/moments_categories.txt", f"{labels[0]},0\n{labels[1]},1\n")
    copy(clips, [folder / f"media/{rows[i][1]}/{name}" for i, name in enumerate(names)])
    return ["moments", "lists", "--media", "media"]


def ave(folder: Path, clips: Sequence[Path]) -> list[str]:
    labels, rows = ("Church bell", "Violin, fiddle"), numbered("train", "val", "test")
    lines = {n: f"{labels[n % 2]}&clip{n:07}&good&0&10\n" for n, _ in rows}
    put(folder, "data/Annotations.txt", AVE_HEADER + "".join(lines.values()))
    for split in ("train", "val", "test"):
        listed = [lines[number] for number, each in rows if each == split]
        put(folder, f"data/{split}Set.txt", "".join(listed))
    copy(clips, [folder / f"AVE/clip{number:07}.mp4" for number, _ in rows])
    return ["ave", "data", "--media", "AVE"]


def ucf51(folder: Path, clips: Sequence[Path]) -> list[str]:
    """Two classes, ten groups of one clip each."""
    names = [
        f"{label}/v_{label}_g{group:02d}_c01.avi"
        for label in ("ApplyEyeMakeup", "Archery")
        for group in range(1, 11)
    ]
    put(folder, "ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup\n2 ApplyLipstick\n3 Archery\n")
    for fold in (1, 2, 3):
        test = [n for n in names if n[-10:-8] == f"{fold:02d}"]
        train = [f"{n} {1 if n.startswith('Apply') else 3}" for n in names if n not in test]
        put(folder, f"ucfTrainTestlist/trainlist0{fold}.txt", "\n".join(train) + "\n")
        put(folder, f"ucfTrainTestlist/testlist0{fold}.txt", "\n".join(test) + "\n")
    copy(clips, [folder / "UCF-101" / name for name in names])
    return ["ucf51", "ucfTrainTestlist", "--media", "UCF-101"]


TOY_SETS: dict[str, Callable[[Path, Sequence[Path]], list[str]]] = {
    "audioset": audioset,
    "as500k": as500k,
    "vggsound": vggsound,
    "epic": epic,
    "kinetics400": kinetics,
    "kinetics-sounds": kinetics_sounds,
    "moments": moments,
    "ave": ave,
    "ucf51": ucf51,
}
