"""Do these pictures and this sound belong together? Asked after fusion (paper AVT, section 3.2).

Fusion runs once more, on wrong pairs; the encoders do not. `hard` (Li et al. 2021, ALBEF, section
3.2): each clip's pictures get the sound of another one and its sound the pictures of another one,
drawn the likelier the more alike the contrastive loss finds them: two wrong pairs for a right one.
`random`: every clip's pictures get another one's sound.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightsound.models.pretrained import Pretrained
from sightsound.types import AUDIO, VIDEO, Encoded, Output

NEGATIVES = ("hard", "random")


class Matching(nn.Module):
    """A linear layer with two outputs, (wrong, right), on both streams after fusion.

    Args:
        widths: {modality: D} of the streams after fusion.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.head = nn.Linear(sum(widths.values()), 2)

    def forward(
        self, model: Pretrained, encoded: Encoded, output: Output, pairs: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Loss () and share () of pairs that are judged rightly.

        Args:
            encoded: of the batch.
            output: what `model.fuse` made of it.
            pairs: {modality: (n + m,) long} rows of the batch; first the n right pairs, which need
                both streams, then m wrong ones. From `right_and_wrong`.
        """
        rows, others = pairs["right"], {name: pairs[name] for name in (VIDEO, AUDIO)}
        right = {name: output.pooled[name][rows] for name in others}
        wrong = model.fuse(chosen(encoded, others)).pooled
        both = [torch.cat((right[name], wrong[name])) for name in (VIDEO, AUDIO)]
        logits = self.head(torch.cat(both, dim=1)).float()
        target = (torch.arange(len(logits), device=logits.device) < len(rows)).long()
        return functional.cross_entropy(logits, target), (logits.argmax(1) == target).float().mean()


def chosen(encoded: Encoded, rows: Mapping[str, Tensor]) -> Encoded:
    """Streams before fusion in new pairs: row i has `rows[modality][i]` of each, all present."""
    masks = encoded.key_mask or {}
    return Encoded(
        tokens={name: encoded.tokens[name][index] for name, index in rows.items()},
        pooled={name: encoded.pooled[name][index] for name, index in rows.items()},
        key_mask={name: masks[name][index] for name, index in rows.items() if name in masks}
        or None,
    )


def right_and_wrong(
    rows: Tensor,
    source: Tensor,
    *,
    similarity: Tensor | None,
    generator: torch.Generator | None,
) -> dict[str, Tensor] | None:
    """Rows of right pairs under "right", those of wrong ones under "video" and "audio".

    `None` if all clips are of one source: there is no wrong pair.

    Args:
        rows: (n,) long, those of the batch that have both streams.
        source: (n,) long; clips of the same number match.
        similarity: (n, n) of sound (rows) and pictures, over the temperature; no gradient is asked
            of it. `None`: wrong pairs are random.
    """
    same = source[:, None] == source
    if bool(same.all()):
        return None
    if similarity is None:
        partner = another(source, generator=generator)
        usable = source != source[partner]
        return {"right": rows, VIDEO: rows[usable], AUDIO: rows[partner[usable]]}
    video_of = _drawn(similarity, same, generator=generator)
    audio_of = _drawn(similarity.T, same, generator=generator)
    return {
        "right": rows,
        VIDEO: torch.cat((rows, rows[video_of])),
        AUDIO: torch.cat((rows[audio_of], rows)),
    }


def _drawn(similarity: Tensor, same: Tensor, *, generator: torch.Generator | None) -> Tensor:
    """(n,) long: a column for each row, drawn by softmax over those that do not match."""
    chances = similarity.detach().float().masked_fill(same, -torch.inf).softmax(1)
    return torch.multinomial(chances, 1, generator=generator)[:, 0]


def another(source: Tensor, *, generator: torch.Generator | None) -> Tensor:
    """(n,) long: a random order in which nobody meets a clip of the same source.

    If more than half of them are of one source, some of those do.
    """
    order = torch.randperm(len(source), generator=generator, device=source.device)
    _, group = source[order].unique(return_inverse=True)
    shuffled = torch.randperm(int(group.max()) + 1, generator=generator, device=source.device)
    order = order[shuffled[group].argsort(stable=True)]  # clips of one source side by side
    partner = torch.empty_like(order)
    partner[order] = order.roll(-int(group.bincount().max()))
    return partner
