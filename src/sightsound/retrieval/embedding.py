"""Embeddings of sound and of pictures in the shared space of the contrastive loss.

Its vectors come from a run's best model and from the layers that the loss trained on top of it,
which lie beside the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from sightsound.build import OBJECTIVE_FILE, build_objective
from sightsound.data.rows import Manifest
from sightsound.features.load import weights_hash
from sightsound.library_errors import load_tensors
from sightsound.models.pretrained import Pretrained
from sightsound.objectives.audio_visual.contrastive import Contrastive
from sightsound.predict import Predictor
from sightsound.types import Batch


class Embedder:
    """The best model of a run and the layers that its contrastive loss trained.

    Args:
        run: the directory of a run, or the model directory in it.
        columns: of tables, see `DataSettings.columns`.

    Raises:
        ValueError: the run has no contrastive loss, or its files do not belong together.
    """

    def __init__(
        self,
        run: str | Path,
        *,
        device: torch.device | str | None = None,
        columns: str | None = None,
    ) -> None:
        self.predictor = Predictor(run, device=device, classes=False, columns=columns)
        config = self.predictor.config
        if config is None:
            raise ValueError(
                f"{str(run)!r} is a model without its run; the layers that compare sound and "
                "pictures are saved with the run only: name the directory of the run"
            )
        self.config = config
        run = Path(run).absolute()
        self.run = run if (run / "config.yaml").is_file() else run.parent
        self.contrastive = self._contrastive().to(self.predictor.device).eval()

    def _contrastive(self) -> Contrastive:
        info = self.predictor.model.info
        classes = Manifest((), info.labels, info.task, self.run)
        objective = build_objective(self.config.objective, classes, self.predictor.model)
        contrastive = getattr(objective, "contrastive", None)
        if not isinstance(contrastive, Contrastive):
            raise ValueError(
                f"{str(self.run)!r} was trained without a contrastive loss, so its sound and "
                "pictures cannot be compared; train with objective avt and a contrastive_weight "
                "above 0, or without labels: 'sightsound pretrain DATA'"
            )
        file = self.run / OBJECTIVE_FILE
        if not file.is_file():
            raise FileNotFoundError(
                f"{str(file)!r} is missing, the layers that compare sound and pictures; they are "
                "saved with the best model: let the run get to its first validation"
            )
        tensors = load_tensors(file, remedy="go on with the run (--resume), which saves it again")
        _check_objective(file, tensors, objective, step=info.provenance.get("step"))
        objective.load_state_dict(tensors)
        return contrastive

    @property
    def width(self) -> int:
        """E."""
        return self.contrastive.embedding_width

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of the weights, those of the model and of the layers."""
        files = (self.run / "model", self.run / OBJECTIVE_FILE)
        return hashlib.sha256(" ".join(map(weights_hash, files)).encode()).hexdigest()[:16]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """{modality: (B, E)}, see `embed`; `batch` comes from the loader."""
        batch = self.predictor.encoding(batch.to(self.predictor.device))
        return embed(self.predictor.model, self.contrastive, batch)


def _check_objective(
    file: Path, tensors: Mapping[str, Tensor], objective: nn.Module, *, step: object
) -> None:
    """`ValueError` unless the layers are those of this objective and of this model."""
    wanted = {name: tuple(tensor.shape) for name, tensor in objective.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if given != wanted:
        names = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
        raise ValueError(
            f"{str(file)!r} does not fit the objective in the run's config.yaml; tensors that are "
            f"missing, left over or of another shape: {', '.join(names[:5])}"
        )
    with safe_open(file, framework="pt") as content:
        saved = content.metadata().get("step")
    if saved != str(step):
        raise ValueError(
            f"{str(file)!r} was saved after step {saved}, the model beside it after step {step}: "
            "the run was stopped between the two; go on with it (--resume)"
        )


@torch.no_grad()
def embed(model: Pretrained, contrastive: Contrastive, batch: Batch) -> dict[str, Tensor]:
    """{modality: (B, E)} float32 of length 1; nan where a clip lacks the stream.

    Args:
        batch: ready for the model: on its device, normalised or encoded.
    """
    encoded = model.encode(batch.inputs, **batch.masks)
    result = {}
    for name, vectors in contrastive.embed(encoded.pooled).items():
        if name not in encoded.pooled:
            vectors = vectors.new_full((len(batch), vectors.shape[1]), torch.nan)
        elif encoded.present is not None:
            vectors = vectors.masked_fill(~encoded.present[name][:, None], torch.nan)
        result[name] = vectors
    return result
