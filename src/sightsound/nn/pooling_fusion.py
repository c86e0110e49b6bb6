"""One vector out of one vector per stream (MAFnet).

    pooling_fusion(pooled, present=present) -> (B, size)

    pooled   (B, K, H); zeros where a stream is absent
    present  (B, K) bool or None: which example has which stream

An absent stream contributes nothing. `columns(weight)` splits the weight (C, size) of a linear
layer behind it into (C, K, H), what it does to each stream; `None` where
that is not linear.
"""

from __future__ import annotations

import functools
import operator

import torch
from torch import Tensor, nn
from torch.nn import functional

from sightsound.nn.glorot import glorot_

SMALLEST = 1e-6  # below it the square root, whose slope at zero is infinite, becomes a line


class PoolingFusion(nn.Module):
    """What the modules of this file share: a call, `size` and `columns`, see above."""

    size: int

    def forward(self, pooled: Tensor, *, present: Tensor | None = None) -> Tensor:
        """(B, size) of pooled (B, K, H)."""
        raise NotImplementedError

    def columns(self, weight: Tensor) -> Tensor | None:
        """(C, K, H) of the weight (C, size) of a layer behind it; `None`: it is not linear."""
        return None


class Concatenation(PoolingFusion):
    """Side by side, in order; the part of an absent stream is zero."""

    def __init__(self, num_streams: int, width: int) -> None:
        super().__init__()
        self.shape = (num_streams, width)
        self.size = num_streams * width

    def forward(self, pooled: Tensor, *, present: Tensor | None = None) -> Tensor:
        return pooled.flatten(1)

    def columns(self, weight: Tensor) -> Tensor | None:
        return weight.unflatten(1, self.shape)


class Addition(PoolingFusion):
    """The sum."""

    def __init__(self, num_streams: int, width: int) -> None:
        super().__init__()
        self.num_streams = num_streams
        self.size = width

    def forward(self, pooled: Tensor, *, present: Tensor | None = None) -> Tensor:
        return pooled.sum(1)

    def columns(self, weight: Tensor) -> Tensor | None:
        return weight[:, None].expand(-1, self.num_streams, -1)


class CompactBilinear(PoolingFusion):
    """Multimodal compact bilinear pooling (Fukui et al. 2016): an outer product, hashed.

    Each stream's count sketch, their circular convolution, signed square root, unit length. A
    stream alone gives its own sketch. The hashes are drawn once and saved with the model.

    Args:
        size: length of the sketch; MAFnet does not give its own, 8,000 to 16,000 are usual.
    """

    def __init__(self, num_streams: int, width: int, *, size: int) -> None:
        super().__init__()
        self.size = size
        self.place: Tensor
        self.sign: Tensor
        self.register_buffer("place", torch.randint(size, (num_streams, width)))
        self.register_buffer("sign", torch.randint(2, (num_streams, width)) * 2.0 - 1.0)

    def forward(self, pooled: Tensor, *, present: Tensor | None = None) -> Tensor:
        spectra = torch.fft.rfft(self.sketches(pooled.to(self.sign.dtype)))
        if present is not None:  # 1 is the spectrum of what a convolution leaves alone
            spectra = torch.where(present[..., None], spectra, torch.ones_like(spectra))
        product = functools.reduce(operator.mul, spectra.unbind(1))
        joined = torch.fft.irfft(product, n=self.size)
        return functional.normalize(joined / (joined.abs() + SMALLEST).sqrt(), dim=1)

    def sketches(self, pooled: Tensor) -> Tensor:
        """(B, K, size): number i of stream k, times sign[k, i], is added at place[k, i]."""
        places = self.place.expand(pooled.shape)
        empty = pooled.new_zeros(*pooled.shape[:2], self.size)
        return empty.scatter_add(2, places, pooled * self.sign)


class DualMultimodalResidual(PoolingFusion):
    """tanh(own + mean of all streams' linear maps) for each stream, then the mean of these.

    After Tian et al. 2018, as MAFnet's text describes it; there is no released code of this.
    Absent streams are left out of both means.
    """

    def __init__(self, num_streams: int, width: int) -> None:
        super().__init__()
        self.size = width
        layers = [nn.Linear(width, width) for _ in range(num_streams)]
        for layer in layers:
            glorot_(layer)
        self.maps = nn.ModuleList(layers)

    def forward(self, pooled: Tensor, *, present: Tensor | None = None) -> Tensor:
        mapped = [layer(x) for layer, x in zip(self.maps, pooled.unbind(1), strict=True)]
        update = _mean(torch.stack(mapped, dim=1), present)
        return _mean(torch.tanh(pooled + update[:, None]), present)


def _mean(values: Tensor, present: Tensor | None) -> Tensor:
    """(B, H) of values (B, K, H): the mean over the streams present."""
    if present is None:
        return values.mean(1)
    here = present[..., None].to(values.dtype)
    return (values * here).sum(1) / here.sum(1).clamp(min=1)
