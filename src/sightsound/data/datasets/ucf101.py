"""UCF101 (Soomro et al. 2012) and UCF51, its classes with sound: three splits into train and test.

A file is `v_<class>_g<group>_c<clip>.avi`: clips of a group are cut from one video. No validation
clips are named, so a tenth of each class's training groups is held out, never part of a group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from sightsound.data.datasets.listing import Clip, Listing, annotation_files, text_lines, wrong_line
from sightsound.data.rows import Row
from sightsound.data.splits import draw_splits

VAL_SHARE = 0.1
_LIST = re.compile(r"(train|test)list0*(\d)")  # testlist001.txt is DI-MML's, with class numbers
_GROUP = re.compile(r"v_.*_((g\d+)_c\d+)")

# Sound is kept for the 51 classes that UCF101 added to UCF50 (Soomro et al. 2012); the paper MAFnet
# counts 6,836 clips with sound.
UCF51 = """ApplyEyeMakeup ApplyLipstick Archery BabyCrawling BalanceBeam BandMarching
BasketballDunk BlowDryHair BlowingCandles BodyWeightSquats Bowling BoxingPunchingBag
BoxingSpeedBag BrushingTeeth CliffDiving CricketBowling CricketShot CuttingInKitchen
FieldHockeyPenalty FloorGymnastics FrisbeeCatch FrontCrawl Haircut Hammering HammerThrow
HandstandPushups HandstandWalking HeadMassage IceDancing Knitting LongJump MoppingFloor
ParallelBars PlayingCello PlayingDaf PlayingDhol PlayingFlute PlayingSitar Rafting ShavingBeard
Shotput SkyDiving SoccerPenalty StillRings SumoWrestling Surfing TableTennisShot Typing UnevenBars
WallPushups WritingOnBoard""".split()

# Clips of these classes whose files lack a sound track all the same: 6,845 less 9 are 6,836.
_SILENT = re.compile(
    r"v_(BasketballDunk_g15_c0[4-7]|HandStandPushups_g14_c0[1-4]|PlayingCello_g19_c06)", re.I
)


def ucf101(paths: Sequence[Path], *, fold: int = 1, seed: int = 0) -> Listing:
    """classInd.txt, trainlist01.txt, testlist01.txt and so on, or their folder ucfTrainTestlist.
    --fold 1, 2 or 3 is the official split. From UCF's page."""
    files = annotation_files(paths, "classInd.txt", "trainlist*.txt", "testlist*.txt")
    clips = [clip for file in files for clip in _clips(file, fold=fold)]
    if {clip.split for clip in clips} != {"train", "test"}:
        raise ValueError(
            f"trainlist0{fold}.txt and testlist0{fold}.txt are needed for --fold {fold}; given: "
            f"{', '.join(file.name for file in files)}"
        )
    order = next((_order(file) for file in files if not _LIST.search(file.name)), None)
    order = order or sorted({_label(clip) for clip in clips}, key=str.lower)
    clips = [_in_order(clip, order) for clip in clips]
    train = [clip for clip in clips if clip.split == "train"]
    rows = [Row(clip.id, Path(), clip.labels, group=clip.group) for clip in train]
    splits = draw_splits(rows, seed=seed, shares={"val": VAL_SHARE, "test": 0.0})
    drawn = [clip._replace(split=split) for clip, split in zip(train, splits, strict=True)]
    note = f"official split {fold}; {VAL_SHARE:.0%} of each class's groups held out, seed {seed}"
    tests = [clip for clip in clips if clip.split == "test"]
    return Listing(drawn + tests, {"label": order}, [note])


def ucf51(paths: Sequence[Path], *, fold: int = 1, seed: int = 0) -> Listing:
    """The same files; the 51 classes whose files have sound."""
    listing = ucf101(paths, fold=fold, seed=seed)
    clips = [_in_order(clip, UCF51) for clip in listing.clips]
    listing.clips = [clip for clip in clips if _label(clip) in UCF51]
    listing.labels = {"label": UCF51}
    silent = [clip.id for clip in listing.clips if _SILENT.fullmatch(clip.id)]
    if silent:
        listing.notes.append(f"{len(silent)} clips have no sound track: {', '.join(silent)}")
    return listing


def _label(clip: Clip) -> str:
    (label,) = clip.labels
    return label


def _in_order(clip: Clip, order: list[str]) -> Clip:
    """`clip` with its class as `order` spells it: HandStandPushups is HandstandPushups."""
    spelt = {name.lower(): name for name in order}
    label = spelt.get(_label(clip).lower(), _label(clip))
    return clip._replace(labels=(label,), group=f"{label}/{clip.group.rpartition('/')[2]}")


def _order(path: Path) -> list[str]:
    names: list[str] = []
    for number, line in text_lines(path):
        index, _, name = line.strip().partition(" ")
        if index != str(len(names) + 1) or not name:
            raise wrong_line(path, number, f"expected {len(names) + 1} and a class name")
        names.append(name)
    return names


def _clips(path: Path, *, fold: int) -> Iterator[Clip]:
    """Those of one list of the fold: a path and, in trainlists, the number of its class."""
    kind = _LIST.search(path.name)
    if not kind or int(kind[2]) != fold:
        return
    for number, line in text_lines(path):
        name = PurePosixPath(line.split()[0]).with_suffix("")
        group = _GROUP.fullmatch(name.name)
        if not group or len(name.parts) < 2:
            raise wrong_line(path, number, "expected <class>/v_<class>_gNN_cNN.avi")
        label = name.parts[-2]
        # Lists and files write HandstandPushups with a small or a large s, whatever the folder.
        spelt = (label, label.replace("HandS", "Hands"), label.replace("Hands", "HandS"))
        names = (name.name, *(f"v_{each}_{group[1]}" for each in spelt))
        names = tuple(dict.fromkeys(names))
        yield Clip(name.name, (label,), kind[1], names, group=f"{label}/{group[2]}")
