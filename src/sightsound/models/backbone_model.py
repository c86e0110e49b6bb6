"""What models around complete backbones share; each backbone stands under the name of its stream.

So one of these can start a stream of another (`train --init`).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sightsound.models.backbone import Backbone, Tokens, frames_that_count
from sightsound.models.input_masks import check_input, check_modalities, present_streams
from sightsound.models.pretrained import Pretrained
from sightsound.types import Encoded, Output


class OfBackbones(Pretrained):
    """A model with `modalities`, a backbone of that name for each, and `fuse`."""

    modalities: tuple[str, ...]

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> Output:
        """Logits and what led to them: `fuse(encode(inputs))`.

        Args:
            inputs: {"video": (B, T, C, H, W), "audio": (B, 1, F, M)} normalised; a modality that is
                not there is absent for all examples, one that the model does not read is left out.
            present: {modality: (B,) bool}; false: the example does not have this stream.
            valid: {"video": (B, T), "audio": (B, F)} bool; false: padding. A stream without any
                valid frame counts as absent.
            maps: also return attention weights: {"audio.3": (B, h, N, N)} of the backbones, and
                what `fuse` adds.

        Raises:
            ValueError: an example has no stream at all, or a shape does not fit.
        """
        encoded = self.encode(inputs, present=present, valid=valid, maps=maps)
        return self.fuse(encoded, maps=maps)

    def encode(
        self,
        inputs: Mapping[str, Tensor],
        *,
        present: Mapping[str, Tensor] | None = None,
        valid: Mapping[str, Tensor] | None = None,
        token_mask: Mapping[str, Tensor] | None = None,
        maps: bool = False,
    ) -> Encoded:
        """Each stream alone: its backbone's tokens after the last norm, and its vector.

        Args:
            token_mask: {modality: (B, N') bool}; true: the token is zero right after the (first)
                patch embedding, whose grid is `embedded_cells` of the backbone.
        """
        check_modalities(inputs, self.modalities)
        inputs = {name: inputs[name] for name in self.modalities if name in inputs}
        for name, x in inputs.items():
            check_input(name, x, channels=self._own(name).channels)
        present = present_streams(inputs, present, valid)
        found = {
            name: self._own(name)(
                x,
                valid=frames_that_count(name, x, present=present, valid=valid),
                token_mask=(token_mask or {}).get(name),
                maps=maps,
            )
            for name, x in inputs.items()
        }
        streams = {name: self._sequence(name, each) for name, each in found.items()}
        return Encoded(
            tokens={name: tokens for name, (tokens, _) in streams.items()},
            pooled={name: each.pooled for name, each in found.items()},
            present=present,
            key_mask={name: mask for name, (_, mask) in streams.items() if mask is not None}
            or None,
            attention={
                f"{name}.{layer}": weights
                for name, each in found.items()
                for layer, weights in each.attention.items()
            },
        )

    def fuse(self, encoded: Encoded, *, maps: bool = False) -> Output:
        """What becomes of the encoded streams."""
        raise NotImplementedError

    def example_inputs(self, batch_size: int = 1) -> dict[str, Tensor]:
        """Zeros of the shapes the model is built for, on its device."""
        return {name: self._own(name).example_input(batch_size) for name in self.modalities}

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        for name in self.modalities:
            self._own(name).set_gradient_checkpointing(enabled)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without decay: biases, norms, and what the backbones name."""
        names = {name for name, parameter in self.named_parameters() if parameter.ndim == 1}
        return names | {
            f"{stream}.{name}"
            for stream in self.modalities
            for name in self._own(stream).no_weight_decay()
        }

    def resize_state(self, name: str, tensor: Tensor, source: Pretrained) -> Tensor | None:
        """`source`'s tensor `name` made to fit, see `Backbone`; `None`: it fits or cannot."""
        part, _, rest = name.partition(".")
        own, other = (getattr(each, part, None) for each in (self, source))
        if part not in self.modalities or type(own) is not type(other):
            return None
        return own.resize_state(rest, tensor, other)

    def _own(self, name: str) -> Backbone:
        return getattr(self, name)

    def _sequence(self, name: str, found: Tokens) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, N, D) of a stream for `fuse`, and their key mask (B, N)."""
        return found.tokens, found.key_mask
