"""The settings of a run: plain dataclasses, free of torch, so that a command's help is fast.

They are the schema of recipes and of the command line: the text under each field is its help.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

BadFiles = Literal["error", "drop", "mask"]
Windows = Literal["random", "centre", "start", "official"]
Crop = Literal["random", "jitter", "centre", "full"]


def _check(section: str, values: Any, accepted: str, *names: str) -> None:
    """`ValueError` for the first of `names` whose value is not as `accepted` says."""
    tests = {
        "at least 1": lambda value: value >= 1,
        "at least 0": lambda value: value >= 0,
        "above 0": lambda value: value > 0,
        "between 0 and 1": lambda value: 0 <= value <= 1,
        "between 0 and 10": lambda value: 0 <= value <= 10,
        "between 1 and 100": lambda value: 1 <= value <= 100,
        "above 0, at most 1": lambda value: 0 < value <= 1,
        "a smaller and a larger number above 0": lambda value: 0 < value[0] <= value[1],
    }
    for name in names:
        value = getattr(values, name)
        if not tests[accepted](value):
            option = f"{section}.{name}" if section else name
            raise ValueError(f"--{option} is {value}; accepted: {accepted}")


@dataclass
class DataSettings:
    """Where the clips are and how they are read."""

    path: str = ""
    """A folder of class folders, a table (CSV, JSON lines, Parquet), or a folder of shards."""
    columns: str = ""
    """Which columns of a table are ours, where its names do not say: `path=video_path,label=class`;
    `split=` does without."""
    exclude: str = ""
    """A list of clips to leave out, such as doctor writes: CSV with a column id, or one id per
    line."""
    task: Literal["auto", "single", "multi", "heads", "none"] = "auto"
    """One label per clip, several, or verb and noun; `auto` reads it off the manifest; `none`, for
    pre-training: labels are not read."""
    val_fraction: float = 0.15
    """Share of groups used for validation where the data names no splits."""
    test_fraction: float = 0.15
    """Share of groups kept for the test where the data names no splits."""
    train_fraction: float = 1.0
    """Train on this share of the training clips; a smaller share lies within a larger one."""
    num_workers: int = 2
    """Decoding processes; 0 decodes in the main process."""
    bad_files: BadFiles = "error"
    """A file that cannot be decoded stops the run, is left out, or counts as absent stream."""
    decoder: Literal["pyav", "torchcodec", "torchcodec-cuda"] = "pyav"
    """What decodes files; torchcodec (extra `gpu`) runs in the loading process itself, without a
    time limit, and its frames are exact; `torchcodec-cuda` decodes pictures on the GPU."""
    time_limit_seconds: float = 60.0
    """A file that takes longer to decode, or crashes the decoder, counts as one that cannot be
    decoded; 0 decodes in the loading process itself, without a limit."""
    approximate: bool = False
    """Leave out frames that no other refers to: twice as fast, pictures at most .25 s late."""
    features: str = ""
    """Folder where features of frozen encoders are kept (default: `features` beside the run), or
    `none`: encode every clip at every step."""
    cache: bool = False
    """Keep decoded clips in memory. Needs deterministic windows and crops."""
    balanced: bool = False
    """Draw training clips so that all classes come equally often."""
    repeats: int = 1
    """Repeated augmentation: each clip of a batch comes this many times, cut and augmented anew.
    `train.batch_size` and `train.examples` count all of them; an epoch still shows every clip, so
    it has this many times the steps."""
    windows: Windows = "random"
    """Position of the training window; `official`: the video window lies anywhere and the audio
    window starts with it, so that the longer one may run past the end of the clip. `start` holds in
    evaluation, too."""
    wrap: bool = False
    """A window that runs past the end of the clip, which is that of its longer stream, goes on at
    the clip's start; otherwise it is padded."""
    synchronous: bool = True
    """Cut both modalities from the same window (paper MBT, section 4.3.2)."""
    crop: Crop = "random"
    """Training crop; `full` squeezes the whole frame. Evaluation: `full` if full, else `centre`."""
    crop_scale: tuple[float, float] = (0.25, 1.0)
    """Area of a random crop as a share of the frame."""
    crop_ratio: tuple[float, float] = (0.75, 1.3333333333333333)
    """Aspect ratio of a random crop."""
    crop_jitter: tuple[float, float] = (0.9, 1.33)
    """Crop `jitter`: height and width of the scaled frame are multiplied by factors from here."""

    def __post_init__(self) -> None:
        _check("data", self, "at least 0", "num_workers", "time_limit_seconds")
        _check("data", self, "at least 1", "repeats")
        _check("data", self, "between 0 and 1", "val_fraction", "test_fraction")
        _check("data", self, "above 0, at most 1", "train_fraction")
        _check("data", self, "a smaller and a larger number above 0", "crop_jitter")


@dataclass
class AugmentSettings:
    """What is done to a training batch on the device. Zero switches a part off."""

    rand_augment_operations: int = 0
    """RandAugment: number of operations drawn for each clip. Video transformers take 4."""
    rand_augment_magnitude: float = 7.0
    """RandAugment: their strength, 0 to 10."""
    rand_augment_deviation: float = 0.5
    """RandAugment: deviation of the strength, drawn for each operation."""
    rand_augment_probability: float = 0.5
    """RandAugment: probability that a drawn operation is applied."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    affine_degrees: float = 0.0
    """Rotation of up to this many degrees either way."""
    affine_translate: float = 0.0
    """Shift of up to this share of the frame."""
    affine_scale: float = 0.0
    """Zoom by a factor within 1 - s and 1 + s."""
    colour: float = 0.0
    """Probability of colour jitter: brightness 32/255, saturation and contrast .4, hue .2."""
    grey: float = 0.0
    """Probability of turning the clip grey."""
    video_noise: float = 0.0
    """Deviation of Gaussian noise added to normalised pixels."""
    erase: float = 0.0
    """Random erasing: probability that a box of the clip, the same in all frames, becomes noise."""
    time_masks: int = 0
    """SpecAugment: number of time masks."""
    time_mask_frames: int = 192
    """SpecAugment: largest width of a time mask."""
    frequency_masks: int = 0
    """SpecAugment: number of frequency masks."""
    frequency_mask_bins: int = 48
    """SpecAugment: largest width of a frequency mask."""
    audio_shift_frames: int = 0
    """Circular shift of the spectrogram in time by up to this many frames either way."""
    audio_gain: float = 0.0
    """Loudness change: up to this much is added to the normalised log-mel."""
    audio_noise: float = 0.0
    """Deviation of Gaussian noise added to the normalised log-mel."""
    mixup_alpha: float = 0.0
    """Beta(alpha, alpha) mixup with the reversed batch."""
    cutmix_alpha: float = 0.0
    """Beta(alpha, alpha) cutmix with the reversed batch: a box of the pictures and as large a
    stretch of the sound come from the partner."""
    cutmix_share: float = 0.5
    """Share of mixed batches that are cut, where both mixup and cutmix are on."""
    mix_probability: float = 1.0
    """Probability that a batch is mixed at all."""
    modality_mixup: bool = False
    """Draw weights of mixup and cutmix for each modality apart (paper MBT, section 4.3.2)."""
    drop_video: float = 0.0
    """Probability that a clip loses its pictures (its sound then stays)."""
    drop_audio: float = 0.0
    """Probability that a clip loses its sound (its pictures then stay)."""

    def __post_init__(self) -> None:
        chances = ("flip", "colour", "grey", "erase", "drop_video", "drop_audio")
        shares = ("rand_augment_probability", "cutmix_share", "mix_probability")
        _check("augment", self, "between 0 and 1", *chances, *shares)
        _check("augment", self, "between 0 and 10", "rand_augment_magnitude")
        amounts = ("rand_augment_operations", "rand_augment_deviation", "cutmix_alpha")
        _check("augment", self, "at least 0", *amounts)
        counts = ("time_masks", "time_mask_frames", "frequency_masks", "frequency_mask_bins")
        _check("augment", self, "at least 0", *counts, "mixup_alpha", "audio_shift_frames")


@dataclass
class ShardSettings:
    """What `prepare` stores of every clip."""

    short_side: int = 256
    """Pixels of the short side of stored pictures; smaller ones are not enlarged."""
    frames_per_second: float = 10.0
    """Pictures stored per second; of slower videos every frame is stored; 0: every frame of all."""
    quality: int = 94
    """JPEG quality."""
    rate_hz: int = 16000
    """Samples per second of the stored sound: that of the model's front end."""
    clips_per_shard: int = 128
    """Clips in one file."""
    approximate: bool = False
    """Leave out frames that no other refers to: twice as fast, pictures at most .25 s late."""
    picture: Literal["displayed", "stored"] = "displayed"
    """Pictures as a player shows them, or all stored pixels, taken for square: that of the model's
    front end."""
    downmix: Literal["itu", "mean"] = "itu"
    """How several channels become one: that of the model's front end."""

    def __post_init__(self) -> None:
        _check("", self, "at least 1", "short_side", "rate_hz", "clips_per_shard")
        _check("", self, "at least 0", "frames_per_second")
        _check("", self, "between 1 and 100", "quality")


@dataclass
class TrainSettings:
    """How the model is trained."""

    epochs: float | None = None
    """Length of the run in epochs; give exactly one of epochs, steps, examples."""
    steps: int | None = None
    """Length of the run in optimiser steps."""
    examples: int | None = None
    """Length of the run in training clips, those of all devices together."""
    batch_size: int = 32
    """Clips per optimiser step and device, split over `accumulate` passes."""
    accumulate: int = 1
    """Forward and backward passes per optimiser step."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """AdamW, Adam (paper MAFnet), or SGD with momentum (paper MBT)."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.05
    """Decoupled decay (adamw) or L2 (others) of matrices; biases, norms, positions are spared."""
    momentum: float = 0.9
    """Momentum of SGD."""
    warmup: float = 0.05
    """Linear warm-up as a share of the run."""
    first_learning_rate: float = 0.0
    """Learning rate at the start of the warm-up, as a share of the peak."""
    final_learning_rate: float = 0.0
    """Learning rate at the end of the cosine, as a share of the peak."""
    clip_norm: float = 1.0
    """Largest global gradient norm; 0 does not clip."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Full precision, or bf16 autocast."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    freeze: tuple[str, ...] = ()
    """Patterns of parameter names that are not trained, such as `video.*`."""
    head_only: bool = False
    """Linear probe: train the classifier alone; all else is frozen and in evaluation mode."""
    init: tuple[str, ...] = ()
    """Start from these models: directories, hf:owner/name, or an image ViT as vit:FILE or
    vit:hf:owner/name. What does not fit is listed. Where several have a tensor, the last one gives
    it."""
    init_faithful: bool = False
    """Start from a ViT as the official MBT does: fusion tokens from positions, audio CLS 0."""
    evaluate_every: float = 1.0
    """Epochs between validations."""
    patience: int = 0
    """Stop after this many validations in a row without a better score; 0: never."""
    keep: Literal["best", "last"] = "best"
    """The model of which validation: the best, or the last one, which owes nothing to the clips of
    validation, so that they may be scored, too."""
    skip_video: float = 0.0
    """Probability that a step leaves the weights of the video path as they are (MAFnet)."""
    skip_audio: float = 0.0
    """Probability that a step leaves the weights of the audio path as they are."""
    skip_released: bool = False
    """Skip as the released MAFnet does: by names, of which most miss; Adam's moments apart."""
    checkpoint_every: int = 0
    """Steps between checkpoints besides those at validation; 0: none."""
    overfit: int = 0
    """Self-test: learn this many clips by heart, without augmentation."""
    tensorboard: bool = False
    """Also write TensorBoard files (extra `track`)."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train."""
    devices: int = 1
    """Number of devices."""

    def __post_init__(self) -> None:
        _check("train", self, "at least 1", "batch_size", "accumulate", "devices")
        _check("train", self, "above 0", "learning_rate", "evaluate_every")
        amounts = ("weight_decay", "clip_norm", "checkpoint_every", "overfit", "patience")
        _check("train", self, "at least 0", *amounts)
        shares = ("momentum", "warmup", "skip_video", "skip_audio")
        rates = ("first_learning_rate", "final_learning_rate")
        _check("train", self, "between 0 and 1", *shares, *rates)
        if self.skip_video + self.skip_audio > 1:
            raise ValueError(
                f"--train.skip_video {self.skip_video} and --train.skip_audio {self.skip_audio} "
                "add up to more than 1: a step skips one path at most; lower one of them"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"--train.batch_size {self.batch_size} must be a multiple of "
                f"--train.accumulate {self.accumulate}"
            )


@dataclass
class EvaluateSettings:
    """How a model is scored."""

    views: int = 4
    """Temporal views per clip, averaged as logits (paper MBT, section 4.2)."""
    batch_size: int = 32
    """Clips per forward pass."""
    bootstrap: int = 1000
    """Resamplings for 95 % intervals; 0: none."""
    split: str = "auto"
    """Which clips: any split that the data names, or several, such as `val+test`; `auto`: test if
    there is one, else val, else the only one that is not train."""

    def __post_init__(self) -> None:
        _check("evaluate", self, "at least 1", "views", "batch_size")
        _check("evaluate", self, "at least 0", "bootstrap")


@dataclass
class RunConfig:
    """Everything that determines a run; saved beside every checkpoint and result."""

    model: dict[str, Any] = field(default_factory=lambda: {"name": "mbt"})
    """`name` and the constructor arguments of that model."""
    front_end: dict[str, Any] = field(default_factory=lambda: {"name": "mbt"})
    """`name` of a shipped front end, with `audio:` and `video:` numbers that replace its own; or
    `features` with `features:`, the frozen encoders whose features the model reads."""
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    objective: dict[str, Any] = field(default_factory=lambda: {"name": "classification"})
    """`name` and the constructor arguments of the objective."""
    train: TrainSettings = field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    seed: int = 0
    """Every random choice follows from this number."""
    output: str = "runs/default"
    """Directory of the run."""
