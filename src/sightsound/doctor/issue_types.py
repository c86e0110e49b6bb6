"""What can be wrong with a data set, what it means for training, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

BLOCKS, HURTS, KNOW = SEVERITIES = ("blocks training", "hurts", "worth knowing")


@dataclass(frozen=True)
class IssueType:
    """One type of finding."""

    title: str
    severity: str
    means: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    """Something found, of a clip or, where `id` is empty, of the whole set."""

    issue: str  # a key of ISSUE_TYPES
    detail: str
    id: str = ""


# In the order in which they are told.
ISSUE_TYPES: dict[str, IssueType] = {
    "refused": IssueType(
        "data refused",
        BLOCKS,
        "training stops with this message before the first clip",
        "mend the table or folder as it says",
    ),
    "missing_file": IssueType(
        "no such file",
        BLOCKS,
        "training stops at the first one",
        "correct the path, or leave them out: exclude.csv has them",
    ),
    "unreadable": IssueType(
        "unreadable",
        BLOCKS,
        "training stops at the first one (--data.bad_files error)",
        "fetch them again, or leave them out: exclude.csv has them",
    ),
    "outside_file": IssueType(
        "outside its file",
        BLOCKS,
        "start_seconds lies past the end: often the times are those of a longer original",
        "remove start_seconds and end_seconds, or leave out: exclude.csv has them",
    ),
    "no_label": IssueType(
        "no label",
        BLOCKS,
        "nothing to learn from; training refuses it, unless clips may have no class (task multi)",
        "write the label, or remove the clip",
    ),
    "damaged": IssueType(
        "partly damaged",
        HURTS,
        "what decodes is used, the rest is missing: frozen or smeared pictures, gaps in the sound",
        "fetch them again if there are many",
    ),
    "no_sound": IssueType(
        "no sound",
        HURTS,
        "the model sees pictures alone; a class of its own teaches 'no sound' instead of the class",
        "spread over all classes it is harmless; otherwise find the sound, or leave them out",
    ),
    "no_pictures": IssueType(
        "no pictures",
        HURTS,
        "the model hears sound alone",
        "as above; if no clip has any: --model.modalities '[\"audio\"]'",
    ),
    "silence": IssueType(
        "silence",
        HURTS,
        "there is a sound track, but nothing to hear: worse than none, since it is not masked",
        "remove the sound track, or leave them out",
    ),
    "antiphase": IssueType(
        "silent as mono",
        HURTS,
        "the channels cancel out when they are mixed, as every front end does",
        "keep one channel: ffmpeg -i IN -c:v copy -af pan=mono|c0=c0 OUT",
    ),
    "static_picture": IssueType(
        "static picture",
        HURTS,
        "a photograph with sound: nothing of the action is to be seen",
        "leave them out of evaluation, or say so beside the score",
    ),
    "too_short": IssueType(
        "too short",
        HURTS,
        "mostly padding",
        "leave them out",
    ),
    "offset": IssueType(
        "streams start apart",
        HURTS,
        "one stream is missing at the start; if only its clock is wrong, sound and pictures "
        "do not belong together",
        "look at one (sightsound preview); mend the clock with ffmpeg -itsoffset",
    ),
    "lengths": IssueType(
        "streams of different length",
        HURTS,
        "where sound ends first windows are half empty; where pictures end first the last one is "
        "held for up to a minute, and still",
        "cut the clip to what both have (end_seconds)",
    ),
    "leak": IssueType(
        "same clip in two splits",
        HURTS,
        "the model has seen what it is tested on: scores are too good",
        "keep one: exclude.csv has those outside the test",
    ),
    "two_labels": IssueType(
        "same clip, other label",
        HURTS,
        "one of the labels is wrong, or several belong together (task multi)",
        "decide which; join labels of one clip by |",
    ),
    "similar_names": IssueType(
        "class names alike",
        HURTS,
        "they differ only in case, space or punctuation: most likely one class in two parts",
        "write them alike",
    ),
    "missing_class": IssueType(
        "class missing in a split",
        HURTS,
        "without training clips it cannot be learnt, without test clips not be scored",
        "move clips, or draw the splits anew (remove the column split)",
    ),
    "shared_source": IssueType(
        "one source, two splits",
        HURTS,
        "parts of one file or group lie in training and test: scores are too good",
        "keep all clips of a file or group in one split",
    ),
    "stutter": IssueType(
        "picture stops",
        KNOW,
        "for a while one frame stands still",
        "fetch them again if it is not meant to be so",
    ),
    "joined": IssueType(
        "joined recordings",
        KNOW,
        "the file holds several recordings, or its clock jumps: played one after the other",
        "cut the clip to one of them (start_seconds, end_seconds) if they do not belong together",
    ),
    "several_tracks": IssueType(
        "several tracks",
        KNOW,
        "of several tracks of pictures or sound one is taken, the same in training and prediction",
        "if it is another language or camera: keep one, as with ffmpeg -map 0:a:1",
    ),
    "variable_rate": IssueType(
        "variable frame rate",
        KNOW,
        "harmless here, where frames are read by time; tools that count frames go wrong",
        "",
    ),
    "reshaped": IssueType(
        "shown otherwise than stored",
        KNOW,
        "pixels are not square, or the file says to crop: pictures have the shape that a player "
        "shows, as in training; not with models made before there was front_end.video.picture",
        "",
    ),
    "past_end": IssueType(
        "ends past its file",
        KNOW,
        "end_seconds lies past the end of the file: the rest is padding",
        "check where the times are from",
    ),
    "shorter": IssueType(
        "shorter than the others",
        KNOW,
        "nearly all clips have one length; of these a part may be missing",
        "keep them if the event is in them",
    ),
    "duplicate": IssueType(
        "same clip twice",
        KNOW,
        "it counts twice; where splits are drawn, copies may fall into training and test",
        "keep one; without splits, exclude.csv has the others",
    ),
    "same_sound": IssueType(
        "same sound",
        KNOW,
        "different pictures with one recording: across splits or classes sound alone misleads",
        "keep them if pictures were given other sound on purpose",
    ),
    "overlooked": IssueType(
        "overlooked",
        KNOW,
        "a media file whose name ends unlike one: training does not see it",
        "rename it, such as to .mp4",
    ),
    "imbalance": IssueType(
        "unbalanced classes",
        KNOW,
        "rare classes are learnt last and count little in the accuracy",
        "--data.balanced true, or sightsound subset",
    ),
    "few_clips": IssueType(
        "few clips of a class",
        KNOW,
        "too few to learn, and to score with any certainty",
        "find more, or join classes",
    ),
    "unused_class": IssueType(
        "class without clips",
        KNOW,
        "labels.json names it: the model gets an output for it that is never trained",
        "remove the name, unless weights need it",
    ),
}

ORDER = {name: position for position, name in enumerate(ISSUE_TYPES)}
