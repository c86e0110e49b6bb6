"""The papers' ablations as a table: each study varies settings along one or two axes.

MBT: NeurIPS 2021, section 4.3; figures 7 and 8 and table 4 are in the appendix of arXiv
2107.00135v1. MAFnet: arXiv 2106.06736, section 4.5 (its table 1 is three recipes). AVT: arXiv
2401.04154, tables 4 and 5.

A study changes what its axes say and nothing else: length, window, data and everything not varied
are those of the recipe. The first axis is the figure's x, the others make its lines; where two axes
say something about one setting, x decides. Free of torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from sightsound.build import build_front_end
from sightsound.config.parser import UsageError
from sightsound.config.settings import RunConfig
from sightsound.media.front_end import FrontEnd
from sightsound.models.sizes import SIZES, choose_size
from sightsound.registry import FUSIONS, unknown_name

Overrides = dict[str, Any]  # {dotted name: value}
AUDIO, VIDEO = "audio", "video"  # as in types.py, which imports torch

_FEW_LAYERS = 6  # up to this depth fusion may start at every layer, above at seven of them
_PAPER_ALPHA = 0.3  # of mixup (section 4.2), where the recipe has none
_LOG_RANGE = 32  # numbers that span more than this factor are drawn on a logarithmic axis; a guess


@dataclass(frozen=True)
class Axis:
    """One thing that is varied: its values, and what each of them overrides."""

    name: str  # what `--axis` calls it
    label: str  # in table and figure, with the unit
    overrides: Callable[[RunConfig, Any], Overrides]
    values: tuple[Any, ...] | Callable[[RunConfig], tuple[Any, ...]] = ()
    scale: Literal["linear", "log", "names"] = "names"
    words: Mapping[Any, str] = field(default_factory=dict)  # of values that need others
    mean_of: Mapping[Any, tuple[Any, ...]] = field(default_factory=dict)
    """{value: others}: nothing is trained for it, the logits of those models are averaged."""

    def say(self, value: Any) -> str:
        """`value` as it stands in table and figure."""
        text = f"{value:g}" if isinstance(value, float) else str(value)
        return self.words.get(value, text) if isinstance(value, Hashable) else text


@dataclass(frozen=True)
class Study:
    """Axes that are crossed: the first is the figure's x, the others make its lines."""

    name: str
    title: str
    source: str  # where the paper has it
    axes: tuple[Axis, ...]
    has_work: bool = False  # a second panel with GFLOP per clip
    check: Callable[[RunConfig], None] = lambda base: None
    note: str = ""
    model: str = ""  # the model it needs; empty: any
    covers_clips: bool = False  # its windows change: as many views as cover a clip

    @property
    def x(self) -> Axis:
        """The horizontal axis."""
        return self.axes[0]

    @property
    def lines(self) -> tuple[Axis, ...]:
        """Axes that tell the lines apart."""
        return self.axes[1:]


# ---------------------------------------------------------------------------- axes


def setting(name: str, label: str, *values: Any, **options: Any) -> Axis:
    """The axis of one setting, such as `train.learning_rate`."""
    return Axis(name, label, lambda base, value: {name: value}, values, **options)


def choices(name: str, label: str, table: Mapping[str, Overrides], **options: Any) -> Axis:
    """The axis of named sets of overrides."""

    def overrides(base: RunConfig, value: Any) -> Overrides:
        if value not in table:
            raise unknown_name(name, value, table)
        return table[value]

    return Axis(name, label, overrides, tuple(table), **options)


def fusion_layers(base: RunConfig) -> tuple[int, ...]:
    """0, 2, ... 12 of 12 layers (figure 3); every layer of a shallow model; else seven of them."""
    depth = model_depth(base.model)
    if depth <= _FEW_LAYERS:
        return tuple(range(depth + 1))
    return tuple(round(index * depth / _FEW_LAYERS) for index in range(_FEW_LAYERS + 1))


def model_depth(model: Mapping[str, Any]) -> int:
    """Layers of the model that a `model:` section describes."""
    names = ("width", "depth", "num_heads", "mlp_width")
    return choose_size(model["size"], **{name: model[name] for name in names}).depth


def window_overrides(base: RunConfig, seconds: Any) -> Overrides:
    """Both streams cut to `seconds`: the same frames further apart, more or less sound.

    Section 4.3.2: the number of video patches stays, the frames' stride changes.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise UsageError(f"window cannot be {seconds!r}: expected a number above 0")
    seconds = float(seconds)
    front_end: FrontEnd = build_front_end(base.front_end)
    audio, video = front_end.audio, front_end.video
    found: Overrides = {
        "front_end.audio.num_frames": round(seconds * audio.rate_hz / audio.hop_samples),
        "front_end.video.window_seconds": seconds,
    }
    if video.stride_seconds is not None:
        found["front_end.video.stride_seconds"] = seconds / video.num_frames
    return found


def _mixup(base: RunConfig, value: Any) -> Overrides:
    alpha = base.augment.mixup_alpha or _PAPER_ALPHA
    table = {
        "none": {"augment.mixup_alpha": 0.0, "augment.modality_mixup": False},
        "same": {"augment.mixup_alpha": alpha, "augment.modality_mixup": False},
        "modality": {"augment.mixup_alpha": alpha, "augment.modality_mixup": True},
    }
    if value not in table:
        raise unknown_name("mixup", value, table)
    return table[value]


def _size(base: RunConfig, value: Any) -> Overrides:
    """The size by name; numbers of the recipe that would override it are cleared."""
    if value not in SIZES:
        raise unknown_name("size", value, SIZES)
    cleared = {f"model.{name}": None for name in ("width", "depth", "num_heads", "mlp_width")}
    return {"model.size": value, **cleared}


def _init(base: RunConfig, value: Any) -> Overrides:
    return {"train.init": [] if value == "scratch" else [str(value)]}


def streams_of(model: Mapping[str, Any]) -> list[str]:
    """What the model of a `model:` section looks at."""
    single = {"ast": [AUDIO], "uniformer": [VIDEO]}
    if model["name"] == "one_stream":
        return [AUDIO] if model["backbone"] == "ast" else [VIDEO]
    return list(model.get("modalities") or single.get(model["name"], [AUDIO, VIDEO]))


def _modalities(base: RunConfig, value: Any) -> Overrides:
    if base.model["name"] == "avt" and value in (AUDIO, VIDEO):
        return alone(base, value)
    given = streams_of(base.model)
    if "modalities" not in base.model and value == "+".join(sorted(given)):
        return {}
    if "modalities" not in base.model:
        raise UsageError(f"model {base.model['name']} cannot be cut down to {value!r}")
    both = given if len(given) == 2 else [AUDIO, VIDEO]
    table = {f"{AUDIO}+{VIDEO}": both, AUDIO: [AUDIO], VIDEO: [VIDEO]}
    if value not in table:
        raise unknown_name("modalities", value, table)
    return {"model.modalities": table[value]}


FUSION_LAYER = Axis(
    "model.fusion_layer",
    "fusion layer $L_f$",
    lambda base, value: {"model.fusion_layer": value},
    fusion_layers,
    scale="linear",
)
FUSION = setting(
    "model.fusion",
    "fusion",
    *FUSIONS,
    words={
        "bottleneck": "bottleneck fusion",
        "cross_attention": "vanilla cross-attention",
        "self_attention": "vanilla self-attention",
    },
)
# Section 4.3.1: sharing weights is strategy (i) against (ii): one encoder for all tokens, with
# self-attention above the fusion layer, or one per modality, with cross-attention.
WEIGHTS = choices(
    "weights",
    "encoder weights",
    {
        "separate": {"model.fusion": "cross_attention", "model.share_weights": False},
        "shared": {"model.fusion": "self_attention", "model.share_weights": True},
    },
)
WINDOW = Axis("window", "window $t$ (s)", window_overrides, (2, 4, 6, 8), scale="linear")
MODALITIES = Axis(
    "modalities",
    "model",
    _modalities,
    (f"{AUDIO}+{VIDEO}", AUDIO, VIDEO),
    words={f"{AUDIO}+{VIDEO}": "audio-visual", AUDIO: "audio only", VIDEO: "visual only"},
)
SYNCHRONOUS = setting(
    "data.synchronous",
    "windows",
    True,
    False,
    words={True: "synchronous", False: "asynchronous"},
)

# MAFnet's tables are without FiLM, but for the one about FiLM; one stream has no path to skip.
_PLAIN: Overrides = {"model.film": "none", "model.residual": "none"}
_ALONE: Overrides = {"train.skip_video": 0.0, "train.skip_audio": 0.0, "train.skip_released": False}
MAFNET_FUSION = choices(
    "fusion",
    "fusion",
    {
        "video": {"model.modalities": [VIDEO], **_PLAIN, **_ALONE},
        "audio": {"model.modalities": [AUDIO], **_PLAIN, **_ALONE},
        **{
            name: {"model.fusion": name, **_PLAIN}
            for name in ("addition", "concatenation", "mcb", "dmr")
        },
    },
    words={"video": "visual only", "audio": "audio only", "mcb": "MCB", "dmr": "DMR"},
)
MAFNET_ATTENTION = choices(
    "attention",
    "attention",
    {
        name: {"model.attention": name, **_PLAIN}
        for name in ("none", "temporal", "modality", "joint")
    },
    words={"joint": "modality & temporal"},
)
# Residual blocks are 3 x 3 convolutions of maps; the whole table reads the same features.
_MAPS: Overrides = {f"front_end.features.{name}_maps": True for name in (AUDIO, VIDEO)}
MAFNET_FILM = choices(
    "film",
    "FiLM",
    {
        "none": _PLAIN | _MAPS,
        "residual": {"model.film": "none", "model.residual": "both", **_MAPS},
        **{
            name: {"model.film": name, "model.residual": "none", **_MAPS}
            for name in ("both", "audio", "video")
        },
    },
    words={
        "none": "none, no residual block",
        "residual": "none, residual block in both paths",
        "both": "in both paths",
        "audio": "in the audio path",
        "video": "in the visual path",
    },
)


# AVT's losses by table 4's names, added one after another. What a recipe gives no weight has that
# of the paper.
_AVT_WEIGHTS = {"contrastive_weight": 0.5, "matching_weight": 0.1, "masked_weight": 0.01}
_AVT_LOSSES: dict[str, tuple[int, str]] = {  # {value: (how many of the weights, what is masked)}
    "bottleneck": (0, "segments"),
    "avc": (1, "segments"),
    "avc+avm": (2, "segments"),
    "avc+avm+mav": (3, "tokens"),
    "avc+avm+masegmv": (3, "segments"),
}
_AVT_WORDS = {
    "audio": "audio only",
    "video": "video only",
    "average": "average of both",
    "bottleneck": "AVBottleneck",
    "avc": "+ AVC",
    "avc+avm": "+ AVC + AVM",
    "avc+avm+mav": "+ AVC + AVM + MAV",
    "avc+avm+masegmv": "+ AVC + AVM + MASegmV",
}


def avt_losses(base: RunConfig, value: Any) -> Overrides:
    """A row of AVT's table 4."""
    if value in (AUDIO, VIDEO):
        return alone(base, value)
    if value not in _AVT_LOSSES:
        raise unknown_name("losses", value, _AVT_WORDS)
    number, masking = _AVT_LOSSES[value]
    weights = {
        name: (base.objective[name] or weight) if index < number else 0.0
        for index, (name, weight) in enumerate(_AVT_WEIGHTS.items())
    }
    found = weights | {"audio_masking": masking}
    return {f"objective.{name}": given for name, given in found.items()}


def alone(base: RunConfig, stream: str) -> Overrides:
    """One of AVT's encoders with a linear layer; without pictures their number does not matter."""
    backbone, options = _encoder(base, stream)
    model = {"name": "one_stream", "backbone": backbone, "options": options}
    found: Overrides = {"model": model, "objective": _classification(base)}
    if stream == AUDIO:
        found["front_end.video.num_frames"] = build_front_end(base.front_end).video.num_frames
        found["train.batch_size"] = base.train.batch_size
    return found


def _encoder(base: RunConfig, stream: str) -> tuple[str, dict[str, Any]]:
    """Name and options of one of AVT's encoders."""
    rate = {"stochastic_depth": base.model["stochastic_depth"]}
    return base.model[f"{stream}_backbone"], rate | (base.model[f"{stream}_options"] or {})


def _classification(base: RunConfig) -> dict[str, Any]:
    """The loss of the labels, which weighs as much as in the recipe: with two heads, their sum."""
    given = base.objective
    names = ["label_smoothing", "class_weights"]
    weight = given.get("classification_weight", 1.0) * given.get("average_weight", 1.0)
    kept = {name: given[name] for name in names if name in given}
    return {"name": "classification", "average_weight": weight or 1.0} | kept


_AVT_CLIPS = {16: 40, 32: 32}  # {frames: clips of a batch}, section 4, implementation details


def _frames(base: RunConfig) -> tuple[int, ...]:
    """16 and 32 as in the paper, of verbs and nouns the recipe's alone; else also twice as many."""
    frames = build_front_end(base.front_end).video.num_frames
    if base.data.task == "heads":  # "we only employ 16 x 4 because of the short clip length"
        return (frames,)
    return tuple(_AVT_CLIPS) if frames in _AVT_CLIPS else (frames, 2 * frames)


def frames_overrides(base: RunConfig, value: Any) -> Overrides:
    """`value` frames; where the recipe's batch is the paper's, the paper's batch for so many."""
    given = build_front_end(base.front_end).video.num_frames
    found: Overrides = {"front_end.video.num_frames": value}
    repeats, clips = base.data.repeats, _AVT_CLIPS
    if value in clips and base.train.batch_size == clips.get(given, 0) * repeats:
        found["train.batch_size"] = clips[value] * repeats
    return found


def _avt_video(base: RunConfig, value: Any) -> Overrides:
    """AVT's pictures: the recipe's encoder, or a ViT of the size of its AST, frame by frame.

    Scored with one view, as the paper says of table 5.
    """
    if value == base.model["video_backbone"]:
        return {"evaluate.views": 1}
    if value != "vit":
        raise unknown_name("video encoder", value, (base.model["video_backbone"], "vit"))
    sizes = ("size", "width", "depth", "num_heads", "mlp_width")
    options = base.model["audio_options"] or {}
    same = {name: options[name] for name in sizes if name in options}
    found = {"model.video_backbone": "vit", "model.video_options": same}
    return found | {"evaluate.views": 1}


AVT_LOSSES = Axis(
    "losses",
    "losses",
    avt_losses,
    tuple(_AVT_WORDS),
    words=_AVT_WORDS,
    mean_of={"average": (AUDIO, VIDEO)},
)
AVT_FRAMES = Axis(
    "front_end.video.num_frames",
    "pictures",
    frames_overrides,
    _frames,
    words={number: f"{number} frames" for number in range(1, 257)},
)
AVT_VIDEO = Axis(
    "video_encoder",
    "video encoder",
    _avt_video,
    lambda base: tuple(dict.fromkeys(("vit", base.model["video_backbone"]))),
    words={"vit": "ViT", "uniformer": "UniFormer"},
)


# ---------------------------------------------------------------------------- studies


def _avt(base: RunConfig) -> None:
    if base.objective["name"] != "avt":
        raise UsageError(
            f"it varies the losses of objective avt, but objective is {base.objective['name']}; "
            "leave that out"
        )


def _two_streams(base: RunConfig) -> None:
    given = streams_of(base.model)
    if len(given) < 2:
        raise UsageError(
            f"it compares ways to bring two streams together, but model.modalities is "
            f"[{', '.join(given)}]; leave that out"
        )


def _pixels(base: RunConfig) -> None:
    if base.front_end.get("features"):
        raise UsageError(
            "it changes the window of pixels and spectrograms, but this model reads features; "
            "their number of seconds is --vary front_end.features.segments=3,5,10"
        )


def _random_windows(base: RunConfig) -> None:
    _two_streams(base)
    if base.data.windows != "random":
        raise UsageError(
            f"windows are drawn together or apart only with data.windows random, but it is "
            f"{base.data.windows}; add --data.windows random"
        )


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "fusion",
            "Fusion strategy and fusion layer",
            "figure 3",
            (FUSION_LAYER, FUSION),
            has_work=True,
            check=_two_streams,
            note="The last layer is late fusion: one model, whatever the strategy, trained once. "
            "The paper's clips span 4 s here (--front_end.video.window_seconds 4 "
            "--front_end.audio.num_frames 400). "
            "The figure in the paper has bottleneck and cross-attention; self-attention is added. "
            "Cross-attention is counted as in equation 6 of the paper; the official code "
            "also computes, and throws away, foreign tokens.",
            model="mbt",
        ),
        Study(
            "weights",
            "Encoder weights shared by the modalities or separate",
            "figure 7",
            (FUSION_LAYER, WEIGHTS),
            check=_two_streams,
            model="mbt",
        ),
        Study(
            "bottlenecks",
            "Number of fusion tokens",
            "section 4.3.1",
            (
                setting(
                    "model.bottleneck_tokens",
                    "fusion tokens $B$",
                    *(4, 36, 64, 256, 1024),
                    scale="log",
                ),
            ),
            check=_two_streams,
            model="mbt",
        ),
        Study(
            "update",
            "Fusion tokens averaged, or updated by one stream after the other",
            "section 3.2; arXiv v1",
            (setting("model.update", "update", "averaged", "sequential"),),
            check=_two_streams,
            model="mbt",
        ),
        Study(
            "window",
            "Length of the window",
            "figure 4 and table 4",
            (WINDOW, MODALITIES),
            check=_pixels,
            covers_clips=True,
            note="Scored with as many views as cover a clip, and no fewer than the recipe's.",
        ),
        Study(
            "synchronous",
            "Windows of both streams drawn together or apart",
            "figure 8",
            (WINDOW, SYNCHRONOUS),
            check=_random_windows,
            covers_clips=True,
            note="Scored with as many views as cover a clip, and no fewer than the recipe's.",
        ),
        Study(
            "mixup",
            "Mixup: none, one weight for both streams, or one for each",
            "section 4.3.2",
            (Axis("mixup", "mixup", _mixup, ("none", "same", "modality")),),
            check=_two_streams,
        ),
        Study(
            "train_fraction",
            "Number of training clips",
            "figure 5",
            (
                setting(
                    "data.train_fraction",
                    "share of the training clips",
                    *(0.1, 0.25, 0.5, 0.75, 1.0),
                    scale="linear",
                ),
                MODALITIES,
            ),
        ),
        Study(
            "size",
            "Size of the encoders; the fusion layer stays",
            "named in section 4.3",
            (Axis("size", "size", _size, tuple(SIZES)),),
            model="mbt",
        ),
        Study(
            "init",
            "Weights to start from, given by --inits",
            "named in section 4.3",
            (Axis("init", "start", _init),),
        ),
        Study(
            "mafnet_fusion",
            "One stream, and ways to join two",
            "MAFnet, table 2",
            (MAFNET_FUSION,),
            check=_two_streams,
            note="Without FiLM. The paper has 75.63, 69.29, 84.77, 89.34, 88.83, 87.56 % on AVE.",
            model="mafnet",
        ),
        Study(
            "mafnet_attention",
            "Attention over modalities, seconds or both",
            "MAFnet, table 3",
            (MAFNET_ATTENTION,),
            check=_two_streams,
            note="Without FiLM. The paper has 87.82, 88.92, 88.66 and 89.34 % on AVE. It does not "
            "say what stands for attention over seconds where there is none; here their mean.",
            model="mafnet",
        ),
        Study(
            "mafnet_film",
            "Where FiLM lets one stream modulate the other",
            "MAFnet, table 4",
            (MAFNET_FILM,),
            check=_two_streams,
            note="The paper has 89.34 (table 3), 86.55, 87.62, 90.86 and 90.61 % on AVE. Both "
            "streams are read as maps (front_end.features.video_maps, audio_maps), which the "
            "3 x 3 convolutions of the residual blocks need.",
            model="mafnet",
        ),
        Study(
            "mafnet_skip",
            "Rate of steps that leave the visual path alone",
            "MAFnet, figure 6",
            (
                setting(
                    "train.skip_video",
                    "rate of skipped visual updates",
                    *(0.0, 0.1, 0.2, 0.3, 0.5, 0.7),
                    scale="linear",
                ),
            ),
            check=_two_streams,
            note="As meant by the paper, unless train.skip_released is on. The rates are ours: the "
            "text has none.",
            model="mafnet",
        ),
        Study(
            "avt_losses",
            "One stream, the average of both, the bottleneck, and AVT's losses added to it",
            "AVT, table 4",
            (AVT_LOSSES, AVT_FRAMES),
            check=_avt,
            note="Audio and video only: the encoder and a linear layer. Average: of the logits of "
            "these two models; nothing is trained for it. With 16 frames a batch has 40 clips, "
            "with 32 it has 32, where the recipe's is the paper's. MAV masks random tokens of the "
            "sound, MASegmV whole segments. The paper has, on VGGSound with 16 frames, 54.4, 52.6, "
            "59.0, 59.2, 61.2, 61.6, 61.8 and 62.7 %; with 32, 53.2 (video), 58.6, 58.2, 60.7, "
            "61.0, 62.4 and 64.2 %.",
            model="avt",
        ),
        Study(
            "avt_vit",
            "The same losses on an image ViT in place of the video encoder",
            "AVT, table 5",
            (
                dataclasses.replace(
                    AVT_LOSSES, values=("bottleneck", "avc+avm+mav", "avc+avm+masegmv")
                ),
                AVT_VIDEO,
            ),
            has_work=True,
            check=_avt,
            note="The paper has 45.5, 46.9 and 48.1 % with ViT, 53.7, 55.6 and 57.1 % with "
            "UniFormer, on VGGSound, 16 frames; scored with one view, as there. It does not say "
            "whether its 'w/ MAV' has the other losses, too; here it has. The ViT sees each frame "
            "alone. Both may start from published weights when run apart: --axis "
            "video_encoder=vit --init AST --init vit:FILE.",
            model="avt",
        ),
        Study(
            "avt_update",
            "Readings of how fusion tokens go on to the next layer",
            "AVT, section 3.2",
            (
                setting(
                    "model.fusion_update", "fusion tokens", "chain", "block_mean", "running_mean"
                ),
            ),
            note="The paper says that they are averaged along all blocks, and has no such table.",
            model="avt",
        ),
    )
}


def choose_studies(
    names: Sequence[str],
    *,
    vary: Sequence[str] = (),
    axes: Sequence[str] = (),
    inits: Sequence[str] = (),
) -> list[Study]:
    """The studies called `names` and one's own of `vary`, with other values on their axes.

    Args:
        vary: `SECTION.FIELD=V1,V2` each, see `own_study`.
        axes: `NAME=V1,V2` each, see `restrict`.
        inits: values of the study `init`.

    Raises:
        ValueError: an unknown study or axis, nothing to vary, or a text not of that form.
    """
    for name in names:
        if name not in STUDIES:
            raise unknown_name("study", name, STUDIES)
    studies = [STUDIES[name] for name in dict.fromkeys(names)]
    studies += [own_study(vary)] if vary else []
    if not studies:
        raise UsageError(
            f"nothing to vary: give --study with one of {', '.join(STUDIES)}, or "
            "--vary SECTION.FIELD=V1,V2"
        )
    if inits and "init" not in names:
        raise UsageError("--inits gives the values of one study; add --study init")
    if inits:
        studies = [_with_values(study, "init", values=tuple(inits)) for study in studies]
    return restrict(studies, axes)


def parse_seeds(text: str, *, first: int) -> list[int]:
    """Seeds of `3` (so many, from `first` on) or `0,4` (just these).

    Raises:
        ValueError: neither.
    """
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers or ("," not in text and numbers[0] < 1) or len(set(numbers)) < len(numbers):
        raise UsageError(
            f"--seeds is {text!r}; accepted: how many, such as 3, or a list, such as 0,4"
        )
    return numbers if "," in text else list(range(first, first + numbers[0]))


def own_study(options: Sequence[str]) -> Study:
    """The study that `--vary SECTION.FIELD=V1,V2` options describe, the first being x."""
    axes = []
    for option in options:
        name, values = parse_axis("--vary", option)
        if "." not in name:
            raise UsageError(
                f"--vary cannot be {option!r}: expected SECTION.FIELD=V1,V2; seeds are given by "
                "--seeds"
            )
        axes.append(setting(name, name, *values, scale=_scale(values)))
    names = [axis.name for axis in axes]
    if len(set(names)) < len(names):
        raise UsageError(f"--vary names {names[-1]!r} twice; give all its values at once")
    title = " and ".join(names)
    return Study("+".join(names), f"Variation of {title}", "no figure of the paper", tuple(axes))


def restrict(studies: Sequence[Study], options: Sequence[str]) -> list[Study]:
    """`studies` with the values that `--axis NAME=V1,V2` options give instead.

    Raises:
        ValueError: no study has such an axis.
    """
    for option in options:
        name, values = parse_axis("--axis", option)
        known = [axis.name for study in studies for axis in study.axes]
        if name not in known:
            raise unknown_name("axis of these studies", name, set(known))
        studies = [_with_values(study, name, values=values) for study in studies]
    return list(studies)


def _with_values(study: Study, name: str, *, values: tuple[Any, ...]) -> Study:
    axes = [dataclasses.replace(a, values=values) if a.name == name else a for a in study.axes]
    return dataclasses.replace(study, axes=tuple(axes))


def parse_axis(option: str, text: str) -> tuple[str, tuple[Any, ...]]:
    """Name and values of `NAME=V1,V2`; commas inside brackets do not separate.

    Raises:
        ValueError: not of that form, or a value comes twice.
    """
    name, equals, rest = text.partition("=")
    values = tuple(_typed(part) for part in _split(rest))
    if not (name and equals and values):
        raise UsageError(f"{option} cannot be {text!r}: expected NAME=VALUE,VALUE")
    repeated = [value for index, value in enumerate(values) if value in values[:index]]
    if repeated:
        raise UsageError(f"{option} {name} has the value {repeated[0]!r} twice")
    return name, values


def _split(text: str) -> list[str]:
    """`a,[1,2],b` -> ["a", "[1,2]", "b"]."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _typed(text: str) -> Any:
    """A number, true, false, null or a list where `text` looks like one; else itself."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _scale(values: Sequence[Any]) -> Literal["linear", "log", "names"]:
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return "names"
    return "log" if min(values) > 0 and max(values) > _LOG_RANGE * min(values) else "linear"
