"""Contrastive loss between the streams before fusion (paper AVT, section 3.1).

Equation 2 of the paper, taken by the letter, cancels its own temperature; this is the usual form
(InfoNCE), in both directions. Where a batch holds several cuts of one source, all of them match:
they would be wrong negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from sightsound.registry import unknown_name
from sightsound.types import AUDIO, VIDEO

DIRECTIONS = ("both", "audio_to_video", "video_to_audio")
Direction = Literal["both", "audio_to_video", "video_to_audio"]


class Contrastive(nn.Module):
    """A linear layer for each stream, and the loss of what they make of the encoders' vectors.

    Args:
        widths: {modality: D} of the vectors.
        embedding_width: E, of the space they are compared in.
        temperature: similarities are divided by it.
        direction: `both`, or which stream finds which.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        embedding_width: int = 256,
        temperature: float = 0.07,
        direction: Direction = "both",
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({n: nn.Linear(w, embedding_width) for n, w in widths.items()})
        self.embedding_width = embedding_width
        self.temperature, self.direction = temperature, direction

    def embed(self, encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{modality: (n, E)} of length 1, in float32, of the encoders' vectors (n, D).

        A batch without a stream has no row of either.
        """
        embedded = {}
        for name, head in self.heads.items():
            vectors = encoded.get(name, head.get_parameter("weight")[:0])
            embedded[name] = functional.normalize(head(vectors).float(), dim=1)
        return embedded

    def forward(self, embedded: Mapping[str, Tensor], source: Tensor) -> Tensor:
        """The loss () over the pairs of all processes; in evaluation mode over those given.

        Every process scores the same validation clips, which would then count several times.

        Args:
            embedded: {modality: (n, E)}, row i of both from one clip.
            source: (n,) long; clips of the same number match.
        """
        values = [embedded[VIDEO], embedded[AUDIO], source]
        return contrastive_loss(
            *(map(of_all_processes, values) if self.training else values),
            temperature=self.temperature,
            direction=self.direction,
        )


def contrastive_loss(
    video: Tensor,
    audio: Tensor,
    source: Tensor,
    *,
    temperature: float = 0.07,
    direction: Direction = "both",
) -> Tensor:
    """InfoNCE () of vectors (n, E) of length 1; 0 without any.

    -log softmax of the similarities over the temperature, averaged over the pairs that match.
    """
    if direction not in DIRECTIONS:
        raise unknown_name("direction", direction, DIRECTIONS)
    if not len(source):
        return video.sum() + audio.sum()
    with torch.autocast(video.device.type, enabled=False):
        similarity = audio @ video.T / temperature  # rows: audio
    same = (source[:, None] == source).to(similarity)
    wanted = same / same.sum(1, keepdim=True)
    ways = {"audio_to_video": similarity, "video_to_audio": similarity.T}
    names = ways if direction == "both" else (direction,)
    losses = [-(wanted * ways[name].log_softmax(1)).sum(1).mean() for name in names]
    return torch.stack(losses).mean()


def of_all_processes(values: Tensor) -> Tensor:
    """Rows of `values` (n, ...) of every process, in their order; n may differ between them.

    Gradients reach the process that a row came from, added up over all processes: after those of
    the parameters are averaged, they are those of the one loss over all pairs.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return values
    counts = values.new_zeros(distributed.get_world_size(), dtype=torch.long)
    counts[distributed.get_rank()] = len(values)
    distributed.all_reduce(counts)
    largest = int(counts.max())
    padded = torch.cat((values, values.new_zeros(largest - len(values), *values.shape[1:])))
    rows = _Gather.apply(padded)
    return torch.cat([part[:n] for part, n in zip(rows, counts.tolist(), strict=True)])


class _Gather(torch.autograd.Function):
    """(n, ...) -> (processes, n, ...)."""

    @staticmethod
    def forward(_context: object, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, values.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total[distributed.get_rank()]
