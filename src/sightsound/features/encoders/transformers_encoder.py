"""Any vision or audio model of Hugging Face's `transformers` as an encoder.

Pictures go in as our front end makes them, with the numbers of the model's own image processor.
Sound goes in as samples: the models' spectrograms differ too much for one description, so each
one's own feature extractor makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sightsound.features.encoder import Encoder, no_classifier
from sightsound.media.front_end import AudioFrontEnd
from sightsound.optional import require
from sightsound.types import AUDIO, VIDEO
from sightsound.weights.transformers_processor import picture_numbers, processor_numbers

MODALITY_OF = {"pixel_values": VIDEO, "input_features": AUDIO, "input_values": AUDIO}
SECONDS = 1.0  # of sound per segment


class TransformersEncoder(Encoder):
    """Encoder of pictures, or of sound from samples.

    Features are the last hidden state: a map (h, w, D) of convolutional networks, else tokens
    (n, D). Of a model of two parts (CLIP, SigLIP, CLAP) the one for pictures or sound is used, of
    an encoder with a decoder (Whisper) the encoder.

    Args:
        directory: as `save_pretrained` of transformers writes it: `config.json`,
            `model.safetensors`, and the processor's file.
    """

    model: Any  # of a class of transformers, which is not always installed
    _extract: Any

    def __init__(self, directory: str | Path) -> None:
        super().__init__()
        self.model = _model(Path(directory)).float().eval()
        self._part_name = _part_name(self.model)
        self._input_name: str = self.model.get_submodule(self._part_name).main_input_name
        self.modality = MODALITY_OF[self._input_name]
        self.reads_waveform = self.modality == AUDIO
        config = self.model.config
        classifies = "Classification" in type(self.model).__name__
        self.num_classes = config.num_labels if classifies else 0
        self.labels = [config.id2label[i] for i in range(self.num_classes)]
        if self.modality == VIDEO:
            self._extract = None
            pictures = picture_numbers(processor_numbers(Path(directory)))
            self.front_end = pictures
            shape: tuple[int, ...] = (3, pictures.height, pictures.width)
        else:
            transformers = require("transformers", extra="hf")
            self._extract = transformers.AutoFeatureExtractor.from_pretrained(directory)
            self.front_end = AudioFrontEnd(rate_hz=self._extract.sampling_rate)
            shape = (round(SECONDS * self.front_end.rate_hz),)
        with torch.no_grad():
            self.feature_shape = tuple(self(torch.zeros(1, *shape)).shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) normalised, or samples (N, S) -> (N, n, D) or (N, h, w, D)."""
        part = self.model.get_submodule(self._part_name)
        features: Tensor = part(**self._inputs(x)).last_hidden_state
        return features.permute(0, 2, 3, 1) if features.ndim == 4 else features

    def logits(self, x: Tensor) -> Tensor:
        """(N, K) of the model's classifier."""
        if not self.num_classes:
            raise no_classifier(type(self.model).__name__)
        return self.model(**self._inputs(x)).logits

    def _inputs(self, x: Tensor) -> Mapping[str, Tensor]:
        """The arguments of the model."""
        if self._extract is None:
            return {self._input_name: x}
        waveforms = [samples.numpy() for samples in x.float().cpu()]
        inputs = self._extract(
            waveforms, sampling_rate=self._extract.sampling_rate, return_tensors="pt"
        )
        return {name: value.to(x.device) for name, value in inputs.items()}


def _model(directory: Path) -> Any:
    """The model with its classifier where it has one."""
    transformers = require("transformers", extra="hf")
    config = transformers.AutoConfig.from_pretrained(directory)
    name = (config.architectures or [""])[0]
    kind = transformers.AutoModel
    if name.endswith("ForImageClassification"):
        kind = transformers.AutoModelForImageClassification
    elif name.endswith(("ForAudioClassification", "ForSequenceClassification")):
        kind = transformers.AutoModelForAudioClassification
    return kind.from_pretrained(directory, use_safetensors=True)


def _part_name(model: Any) -> str:
    """Name of the module that reads pictures or sound; "": the model itself."""
    if "Classification" in type(model).__name__:
        names = [model.base_model_prefix, "vision_model", "encoder"]
    elif model.config.is_encoder_decoder:
        names = ["encoder"]
    else:
        names = ["vision_model", "audio_model", ""]
    clips = getattr(model.config, "num_frames", 1) > 1
    for name in names:
        part = getattr(model, name, None) if name else model
        if part is not None and part.main_input_name in MODALITY_OF and not clips:
            return name
    what = f"clips of {model.config.num_frames} frames" if clips else model.main_input_name
    raise ValueError(
        f"{type(model).__name__} reads {what}; accepted are models of single pictures or of "
        f"sound, which read {', '.join(MODALITY_OF)}"
    )
