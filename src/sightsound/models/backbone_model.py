"""What models around backbones share; each backbone stands under the name of its stream.

So one of these can start a stream of another (`train --init`).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sightsound.models.backbone import Backbone, Tokens, frames_that_count
from sightsound.models.explained import ALL, GradCamLayer, RolloutRows
from sightsound.models.input_masks import check_input, check_modalities, present_streams
from sightsound.models.pretrained import Pretrained
from sightsound.nn.masking import mean_of_present
from sightsound.types import Encoded

Masks = Mapping[str, Tensor] | None


class BackboneModel(Pretrained):
    """A model with a backbone for each of its modalities, and `fuse`."""

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
            check_input(name, x, channels=self.stream(name).channels)
        present = present_streams(inputs, present, valid) if present or valid else None
        streams = {
            name: self._sequence(
                name,
                self._run(
                    name,
                    x,
                    present=present,
                    valid=valid,
                    token_mask=(token_mask or {}).get(name),
                    maps=maps,
                ),
            )
            for name, x in inputs.items()
        }
        masks = {name: x.key_mask for name, x in streams.items() if x.key_mask is not None}
        return Encoded(
            tokens={name: x.tokens for name, x in streams.items()},
            pooled={name: x.pooled for name, x in streams.items()},
            present=present,
            key_mask=masks or None,
            attention={
                f"{name}.{layer}": weights
                for name, x in streams.items()
                for layer, weights in x.attention.items()
            },
        )

    def _run(
        self,
        name: str,
        x: Tensor,
        *,
        present: Masks,
        valid: Masks,
        token_mask: Tensor | None,
        maps: bool,
    ) -> Tokens:
        """What the backbone of stream `name` makes of its input `x`; arguments as of `encode`."""
        frames = frames_that_count(name, x, present=present, valid=valid)
        return self.stream(name)(x, valid=frames, token_mask=token_mask, maps=maps)

    def _sequence(self, name: str, found: Tokens) -> Tokens:
        """What fusion reads of a backbone's tokens."""
        return found

    def stream(self, name: str) -> Backbone:
        """The backbone of one modality."""
        return getattr(self, name)

    @property
    def default_explanation(self) -> str:
        """Rollout, where all tokens of a stream see one another; else occlusion."""
        attends = all(self.stream(name).global_attention for name in self.modalities)
        return "rollout" if attends else "occlusion"

    def grad_cam_layers(
        self, shapes: Mapping[str, tuple[int, ...]], *, stage: int
    ) -> list[GradCamLayer]:
        """What the attention of each encoder's last layer reads; of UniFormer a stage's result."""
        layers = []
        for call, (name, shape) in enumerate(shapes.items()):
            found = self.stream(name).grad_cam_layer(shape, stage=stage)
            if found is None:
                raise ValueError(
                    f"the {name} encoder of {self.info.name!r} is a foreign network, whose last "
                    "layer is not known; ask by occlusion or rollout"
                )
            module, cells = found
            layers.append(GradCamLayer(name, module, call, self.stream(name).num_prefix, cells))
        return layers

    def rollout(self, rows: RolloutRows) -> dict[str, Tensor]:
        """As of `Pretrained`, of encoders that never meet: of one stream, or with averaged logits.

        Raises:
            ValueError: not all tokens of an encoder see one another.
        """
        read = {name: self._stream_rows(name, rows)[1] for name in rows.encoded.tokens}
        return read | {ALL: mean_of_present(read, rows.encoded.present)}

    def _stream_rows(self, name: str, rows: RolloutRows) -> tuple[Tensor, Tensor]:
        """Rows (B, P + N, 1) of a backbone's tokens, and of its vector (B, 1)."""
        if not rows.own(name):
            raise ValueError(
                f"{self.info.name!r} has no attention weights over all tokens of its {name}, so "
                "there is no rollout; ask by occlusion, or by grad_cam"
            )
        return self.stream(name).rollout(rows)

    def example_inputs(self, batch_size: int = 1) -> dict[str, Tensor]:
        """Zeros of the shapes the model is built for, on its device."""
        return {name: self.stream(name).example_input(batch_size) for name in self.modalities}

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute each layer's activations in the backward pass: less memory, same numbers."""
        for name in self.modalities:
            self.stream(name).set_gradient_checkpointing(enabled)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without decay: biases, norms, and what the backbones name."""
        return super().no_weight_decay() | {
            f"{stream}.{name}"
            for stream in self.modalities
            for name in self.stream(stream).no_weight_decay()
        }

    def resize_state(self, name: str, tensor: Tensor, source: Pretrained) -> Tensor | None:
        """`source`'s tensor `name` made to fit, see `Backbone`; `None`: it fits or cannot."""
        part, _, rest = name.partition(".")
        if part not in self.modalities or not isinstance(source, BackboneModel):
            return None
        if part not in source.modalities or type(self.stream(part)) is not type(
            source.stream(part)
        ):
            return None
        return self.stream(part).resize_state(rest, tensor, source.stream(part))
