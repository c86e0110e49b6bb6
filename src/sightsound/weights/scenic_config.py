"""What the arrays of an official MBT say about its configuration, and what has to be assumed.

The released checkpoints come without a configuration. Names and shapes give most of it back; the
rest is taken from the paper or the one public configuration, and told in words.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sightsound.media.front_end import FrontEnd, VideoFrontEnd
from sightsound.media.logmel import front_end
from sightsound.registry import unknown_name
from sightsound.types import AUDIO, VIDEO

RGB, SPECTROGRAM = "rgb", "spectrogram"  # official names of video and audio
OURS = {RGB: VIDEO, SPECTROGRAM: AUDIO}
SUFFIXES = {VIDEO: "", AUDIO: "_spectrogram"}  # of the official names of a stream's arrays

# Paper MBT, sections 4.2 and 4.3.1.
PAPER_PIXELS, PAPER_SHORT_SIDE = 224, 256
PAPER_MELS = 128
PAPER_DEPTH, PAPER_FUSION_LAYER = 12, 8
# The one public configuration: 32 frames, every second one, at 25 per second.
OFFICIAL_FRAMES = 32
OFFICIAL_STRIDE_SECONDS = 2 / 25
MIN_FRAMES = 4  # a guess, for models of unknown size

# Number of classes -> data set, official model, classes of several heads.
KNOWN_CLASSES: dict[int, tuple[str, str, dict[str, int]]] = {
    527: ("AudioSet", "mbt_multilabel_classification", {}),
    309: ("VGGSound", "mbt_classification", {}),
    397: ("Epic-Kitchens-100", "mbt_multihead_classification", {"verb": 97, "noun": 300}),
}
NO_HEADS: dict[str, int] = {}
UNKNOWN_CLASSES = ("the public configuration", "mbt_multilabel_classification", NO_HEADS)
TASK_WORDS = {
    "single": "one label per clip",
    "multi": "several labels per clip",
    "heads": "one label per head",
}

CONFIG_PARTS = ("model", "dataset_configs", "model_name")  # what is read of a configuration
NUMBERS = ("fusion_layer", "num_frames", "crop_size")
LISTS = ("modality_fusion", "spec_shape", "class_splits")

Arrays = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]  # {"rgb": (B, T, H, W, 3), "spectrogram": (B, F, M, 1)}


# ---------------------------------------------------------------------------- checking


def unwrapped(config: Any) -> Any:
    """Scenic's configuration out of an entry of an index around it, {"config": ..., ...}."""
    wrapped = isinstance(config, dict) and "config" in config and "model" not in config
    return config["config"] if wrapped else config


def experiment(config: Any, *, remedy: str, parts: Sequence[str] = CONFIG_PARTS) -> dict:
    """Scenic's experiment configuration in `config`, be it that or an index entry around it.

    Raises:
        ValueError: it has none of `parts`, and the error ends with `remedy`; or a setting is of a
            type that Scenic's configurations do not have.
    """
    config = unwrapped(config)
    if not isinstance(config, dict) or not set(parts) & set(config):
        found = f"{config!r:.60}"
        if isinstance(config, dict):
            found = ", ".join(sorted(map(str, config))[:5]) or "nothing"
        raise ValueError(f"config has no 'model' part but {found}; {remedy}")
    _check_types(config, ("model", "dataset_configs"), dict, "a table of settings")
    settings = config.get("model", {}) | config.get("dataset_configs", {})
    _check_types(settings, NUMBERS, int, "a whole number")
    _check_types(settings, LISTS, list | tuple, "a list")
    _check_types(settings, ("temporal_encoding_config",), dict | None, "a table of settings")
    return config


def _check_types(settings: dict, names: tuple[str, ...], kind: Any, words: str) -> None:
    for name in names:
        if name in settings and not isinstance(settings[name], kind):
            raise ValueError(f"config's {name!r} is {settings[name]!r:.60}; {words} is accepted")


# ---------------------------------------------------------------------------- filling in


def completed(arrays: Arrays, given: dict | None, *, inputs: Shapes) -> tuple[dict, set[str]]:
    """Scenic's configuration as far as it is read, and the names of what `given` left open.

    `given` is the whole configuration, a part of it, or `None`; what it says is not changed.
    """
    config = {"model": {}, "dataset_configs": {}} | copy.deepcopy(given or {})
    model, data = config["model"], config["dataset_configs"]
    filled = _fill(model, _model(arrays, model))
    for name in model["modality_fusion"]:
        if name not in OURS:
            raise unknown_name("modality in modality_fusion", name, OURS)
    if RGB in model["modality_fusion"]:
        num_frames, steps = _frames(arrays, config, inputs.get(RGB))
        filled |= _fill(data, {"num_frames": num_frames})
        if steps is not None:
            sampling = {"method": "temporal_sampling", "n_sampled_frames": steps}
            filled |= _fill(model, {"temporal_encoding_config": sampling})
    if SPECTROGRAM in model["modality_fusion"]:
        mels = _mels(arrays, model["classifier"], inputs.get(SPECTROGRAM))
        filled |= _fill(data, {"spec_shape": (100, mels)})  # frames per second, bins
    _, name, heads = KNOWN_CLASSES.get(num_classes(arrays), UNKNOWN_CLASSES)
    if "class_splits" in data:
        name, heads = "mbt_multihead_classification", {}
    if "model_name" not in config and heads:
        data |= {"class_splits": list(heads.values()), "split_names": list(heads)}
    return config, filled | _fill(config, {"model_name": name})


def _fill(table: dict[str, Any], values: dict[str, Any]) -> set[str]:
    """Add what `table` does not have; the names that were added."""
    added = values.keys() - table.keys()
    table |= {name: values[name] for name in added}
    return set(added)


def _model(arrays: Arrays, given: dict) -> dict[str, Any]:
    """The `model` part: streams, layers, fusion and classifier."""
    depth = num_layers(arrays)
    streams = [
        name for name in (SPECTROGRAM, RGB) if f"embedding{SUFFIXES[OURS[name]]}/kernel" in arrays
    ]
    if not streams:
        raise no_mbt("patch embedding (embedding/kernel, embedding_spectrogram/kernel)", arrays)
    own_layers = any("/encoderblock_0_spectrogram/" in key for key in arrays)
    values = {
        "modality_fusion": streams,
        "share_encoder": len(streams) == 2 and not own_layers,
        "use_bottleneck": "bottleneck" in arrays,
        "fusion_layer": PAPER_FUSION_LAYER if depth == PAPER_DEPTH else round(depth * 2 / 3),
        "classifier": "token" if "cls" in arrays else "gap",
    }
    if "num_layers" not in given:  # a whole configuration means the official default by silence
        dropouts = ("dropout_rate", "attention_dropout_rate", "stochastic_droplayer_rate")
        values |= dict.fromkeys(dropouts, 0.0)
    return values


def _frames(arrays: Arrays, config: dict, shape: tuple[int, ...] | None) -> tuple[int, int | None]:
    """Frames that come in, and the number that is looked at, `None` for all of them."""
    model, data = config["model"], config["dataset_configs"]
    tubelet, *patch = video_patch(arrays)
    cells = num_positions(arrays, RGB, model["classifier"])
    if shape is not None:
        num_frames, *size = shape[1:4]
        steps = cells // max(_cells_of(size, patch), 1)
    else:
        sampling = model.get("temporal_encoding_config") or {}
        sampled = sampling.get("n_sampled_frames") if tubelet == 1 else None
        steps = sampled or _steps(cells, patch, config, tubelet=tubelet)
        num_frames = data.get("num_frames", steps * tubelet)
    return num_frames, steps if tubelet == 1 and steps < num_frames else None


def _steps(cells: int, patch: list[int], config: dict, *, tubelet: int) -> int:
    """Into how many pictures (or tubelets) `cells` positions divide.

    So that each has the size of the crop, else of the paper; else as many as the configuration has
    frames; else one square picture of a model without sound, which is an image ViT; else the
    largest square pictures of which there are at least four.
    """
    data = config["dataset_configs"]
    side = data.get("crop_size", PAPER_PIXELS)
    per_picture = _cells_of((side, side), patch)
    if per_picture and cells % per_picture == 0:
        return cells // per_picture
    steps = data.get("num_frames", 0) // tubelet
    if steps and cells % steps == 0:
        return steps
    silent = config["model"]["modality_fusion"] == [RGB] and tubelet == 1
    untold = not {"num_frames", "crop_size"} & data.keys()
    if silent and untold and math.isqrt(cells) ** 2 == cells:
        return 1
    squares = [n**2 for n in range(1, math.isqrt(cells) + 1) if cells % n**2 == 0]
    return next((cells // n for n in reversed(squares) if cells // n >= MIN_FRAMES), cells)


def _mels(arrays: Arrays, classifier: str, shape: tuple[int, ...] | None) -> int:
    """Mel bins: those of the paper if the positions allow it, else as many as look like sound."""
    if shape is not None:
        return shape[2]
    patch = shape_of(arrays, "embedding_spectrogram/kernel", 4)[1]
    cells = num_positions(arrays, SPECTROGRAM, classifier)
    columns = PAPER_MELS // patch
    if PAPER_MELS % patch or cells % columns:
        columns = max(n for n in range(1, math.isqrt(cells) + 1) if cells % n == 0)
    return columns * patch


def _cells_of(size: tuple[int, ...] | list[int], patch: list[int]) -> int:
    return math.prod(length // part for length, part in zip(size, patch, strict=True))


# ---------------------------------------------------------------------------- reading shapes


def num_layers(arrays: Arrays) -> int:
    """Transformer layers; those of both modalities are numbered alike."""
    layers = {int(n) for key in arrays for n in re.findall(r"Transformer/encoderblock_(\d+)", key)}
    if layers != set(range(len(layers))) or not layers:
        raise no_mbt("transformer layers (Transformer/encoderblock_0/...)", arrays)
    return len(layers)


def num_classes(arrays: Arrays) -> int:
    """Outputs of the classifier, over all heads."""
    return shape_of(arrays, "output_projection/bias", 1)[0]


def num_positions(arrays: Arrays, stream: str, classifier: str) -> int:
    """Rows of a stream's position table that belong to patches."""
    table = f"Transformer/posembed_input{SUFFIXES[OURS[stream]]}/pos_embedding"
    rows = shape_of(arrays, table, 3)[1]
    return rows - (classifier == "token")


def video_patch(arrays: Arrays) -> tuple[int, int, int]:
    """(frames, height, width) of a patch: kernels are ([t,] h, w, C, D)."""
    *frames, height, width, _, _ = shape_of(arrays, "embedding/kernel", 4, 5)
    return (frames[0] if frames else 1), height, width


def shape_of(arrays: Arrays, key: str, *axes: int) -> tuple[int, ...]:
    """Shape of an array that every official MBT has; `ValueError` without it."""
    if key not in arrays:
        raise no_mbt(key, arrays)
    shape = arrays[key].shape
    if len(shape) not in axes or 0 in shape:
        raise ValueError(
            f"the checkpoint's {key!r} has shape {shape}; {' or '.join(map(str, axes))} axes are "
            "expected: is it an MBT of Scenic?"
        )
    return shape


def no_mbt(what: str, arrays: Arrays) -> ValueError:
    """The error for arrays that lack `what`."""
    found = ", ".join(sorted(arrays)[:5]) or "nothing"
    return ValueError(f"the checkpoint holds no {what}, but {found}; is it an MBT of Scenic?")


# ---------------------------------------------------------------------------- in words


def in_words(arguments: dict[str, Any], task: str, filled: set[str]) -> list[str]:
    """What was found or assumed of a model with these constructor arguments, a sentence each.

    `filled` are the names that the configuration left open; what it said is not repeated.
    """
    several = len(arguments["modalities"]) > 1
    source, *_ = KNOWN_CLASSES.get(sum(arguments["heads"].values()), UNKNOWN_CLASSES)
    task_in_words = f"assumed: {TASK_WORDS[task]}, as in {source}"
    sets = "one set for both streams" if arguments["share_weights"] else "a set for each stream"
    layers_in_words = (
        f"found: {arguments['depth']} layers of width {arguments['width']}, "
        f"{arguments['num_heads']} heads, MLP width {arguments['mlp_width']}"
        + (f"; {sets}" if len(arguments["modalities"]) > 1 else "")
    )
    sentences = {
        "modality_fusion": _streams_in_words(arguments),
        "share_encoder": layers_in_words,
        "classifier": _classifier_in_words(arguments),
        "use_bottleneck": _fusion_in_words(arguments) if several else "",
        "fusion_layer": _fusion_layer_in_words(arguments) if several else "",
        "num_frames": _video_in_words(arguments),
        "spec_shape": _audio_in_words(arguments),
        "dropout_rate": "assumed: no dropout and no stochastic depth; they matter in training only",
        "model_name": task_in_words,
    }
    return [text for name, text in sentences.items() if name in filled and text]


def _streams_in_words(arguments: dict[str, Any]) -> str:
    streams = arguments["modalities"]
    if len(streams) == 1:
        return f"found: one stream, {streams[0]}"
    order = ", ".join(streams)
    return f"found: two streams; assumed: in the official order {order}, which changes no logits"


def _classifier_in_words(arguments: dict[str, Any]) -> str:
    classes = f"{sum(arguments['heads'].values())} classes"
    if arguments["classifier"] == "token":
        return f"found: {classes}, read from a CLS token of each stream"
    return (
        f"found: {classes} and no CLS token; assumed: classifier {arguments['classifier']}, the "
        "mean over tokens (gmp and gsp have the same arrays)"
    )


def _fusion_in_words(arguments: dict[str, Any]) -> str:
    if arguments["fusion"] == "self_attention":
        return "found: no fusion tokens; assumed: fusion by self-attention, as layers are shared"
    if arguments["fusion"] == "cross_attention":
        return (
            "found: no fusion tokens; assumed: fusion by cross-attention (late fusion has the same "
            f"arrays: fusion layer {arguments['depth']})"
        )
    number = arguments["bottleneck_tokens"]
    official = f" (called {number - 1} officially)" if arguments["classifier"] == "token" else ""
    return f"found: {number} fusion tokens{official}"


def _fusion_layer_in_words(arguments: dict[str, Any]) -> str:
    depth, layer = arguments["depth"], arguments["fusion_layer"]
    why = "as in the paper" if depth == PAPER_DEPTH else "two thirds, as in the paper"
    return f"assumed: fusion from layer {layer} of {depth} on, {why}; --fusion_layer changes it"


def _video_in_words(arguments: dict[str, Any]) -> str:
    if arguments["video_shape"] is None:
        return ""
    frames, height, width = arguments["video_shape"]
    patch = " x ".join(map(str, arguments["video_patch"]))
    sampled = arguments["frame_sampling"]
    looked_at = f" ({sampled} of them looked at)" if sampled else ""
    return (
        f"found: video patches of {patch} (frames, height, width); assumed, from the number of "
        f"positions: frames{looked_at} x height x width are {frames} x {height} x {width}"
        + _PICTURE_WORDS
        * (frames == 1 and arguments["audio_shape"] is None)
    )


_PICTURE_WORDS = (
    " (several frames of a smaller picture are possible, too; an image ViT is better read with "
    "kind vit)"
)


def _audio_in_words(arguments: dict[str, Any]) -> str:
    if arguments["audio_shape"] is None:
        return ""
    frames, mels = arguments["audio_shape"]
    patch = " x ".join(map(str, arguments["audio_patch"]))
    return (
        f"found: audio patches of {patch} (time, mel), {arguments['audio_channels']} channels; "
        f"assumed, from the number of positions: {frames} time frames of {mels} mel bins"
    )


# ---------------------------------------------------------------------------- front end


def front_end_for(arguments: dict[str, Any]) -> tuple[FrontEnd, list[str]]:
    """The front end `mbt` with the sizes of a model, and what is assumed in it, in words.

    Official checkpoints carry none: their code starts from stored spectrograms.
    """
    base = front_end("mbt")
    audio, video, words = base.audio, base.video, []
    if arguments["audio_shape"] is not None:
        num_frames, num_mels = arguments["audio_shape"]
        audio = dataclasses.replace(audio, num_frames=num_frames, num_mels=num_mels)
        words.append(
            f"assumed: log-mel of front end mbt, official mean {audio.mean} and deviation "
            f"{audio.deviation}; how it is computed is not in the official code"
        )
    if arguments["video_shape"] is not None:
        num_frames, height, width = arguments["video_shape"]
        official = num_frames == OFFICIAL_FRAMES
        seconds = audio.window_seconds if arguments["audio_shape"] else video.window_seconds
        video = dataclasses.replace(
            video,
            num_frames=num_frames,
            window_seconds=num_frames * OFFICIAL_STRIDE_SECONDS if official else seconds,
            stride_seconds=OFFICIAL_STRIDE_SECONDS if official else None,
            height=height,
            width=width,
            short_side=round(min(height, width) * PAPER_SHORT_SIDE / PAPER_PIXELS),
        )
        words.append(f"assumed: pixels from -1 to 1; {_window_in_words(video, base.video)}")
    return FrontEnd(base.name, audio, video), words


def _window_in_words(video: VideoFrontEnd, paper: VideoFrontEnd) -> str:
    frames = f"{video.num_frames} frame{'s' if video.num_frames > 1 else ''}"
    if video.stride_seconds is not None:
        return f"{frames}, {video.stride_seconds:g} s apart, as in the public configuration"
    same = (video.num_frames, video.window_seconds) == (paper.num_frames, paper.window_seconds)
    return f"{frames} spread over {video.window_seconds:g} s" + ", as in the paper" * same
