"""Paper and v1 written out in NumPy float64 on the official arrays: no code shared with ours.

Slow and plain on purpose. It exists because the official code knows no sequential update, so that
no stored numbers can.
"""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]


def layer_norm(x: np.ndarray, p: Arrays, name: str) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    return x * p[f"{name}/scale"] + p[f"{name}/bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def attention(x: np.ndarray, p: Arrays, name: str) -> np.ndarray:
    """Self-attention of one example (N, D), head by head."""
    q, k, v = (
        np.einsum("nd,dhe->hne", x, p[f"{name}/{part}/kernel"]) + p[f"{name}/{part}/bias"][:, None]
        for part in ("query", "key", "value")
    )
    result = p[f"{name}/out/bias"]
    for head in range(len(q)):
        scores = np.exp(q[head] @ k[head].T / np.sqrt(q.shape[-1]))
        gathered = scores / scores.sum(-1, keepdims=True) @ v[head]
        result = result + gathered @ p[f"{name}/out/kernel"][head]
    return result


def transformer(x: np.ndarray, p: Arrays, name: str) -> np.ndarray:
    """Equations 2 and 3."""
    name = f"Transformer/{name}"
    normed = layer_norm(x, p, f"{name}/LayerNorm_0")
    y = x + attention(normed, p, f"{name}/MultiHeadDotProductAttention_0")
    h = layer_norm(y, p, f"{name}/LayerNorm_1")
    h = gelu(h @ p[f"{name}/MlpBlock_0/Dense_0/kernel"] + p[f"{name}/MlpBlock_0/Dense_0/bias"])
    return y + h @ p[f"{name}/MlpBlock_0/Dense_1/kernel"] + p[f"{name}/MlpBlock_0/Dense_1/bias"]


def patches(picture: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Tokens (N, D) of a picture (H, W, C), row by row."""
    height, width = kernel.shape[:2]
    tokens = [
        np.einsum("hwc,hwcd->d", picture[top : top + height, left : left + width], kernel) + bias
        for top in range(0, picture.shape[0] - height + 1, height)
        for left in range(0, picture.shape[1] - width + 1, width)
    ]
    return np.stack(tokens)


def embed(stored: Arrays, row: int, frames: list[int]) -> dict[str, np.ndarray]:
    """Equation 1 for both modalities of one example."""
    p = weights(stored)
    rgb = stored["inputs/rgb"][row].astype(np.float64)
    sound = np.repeat(stored["inputs/spectrogram"][row].astype(np.float64), 3, axis=-1)
    kernel, bias = p["embedding/kernel"], p["embedding/bias"]
    tall_picture = np.concatenate([rgb[i] for i in frames])  # frames under one another
    video = patches(tall_picture, kernel, bias)
    audio = patches(sound, p["embedding_spectrogram/kernel"], p["embedding_spectrogram/bias"])
    video = np.concatenate([p["cls"][0], video])
    audio = np.concatenate([p["clsspectrogram"][0], audio])
    return {
        "rgb": video + p["Transformer/posembed_input/pos_embedding"][0],
        "spec": audio + p["Transformer/posembed_input_spectrogram/pos_embedding"][0],
    }


def weights(stored: Arrays) -> Arrays:
    return {
        key.removeprefix("params/"): value.astype(np.float64)
        for key, value in stored.items()
        if key.startswith("params/")
    }


def bottleneck_logits(
    stored: Arrays, *, frames: list[int], depth: int, fusion_layer: int, update: str
) -> np.ndarray:
    """Logits (B, K): averaged update (paper) or sequential, video first (v1)."""
    p = weights(stored)
    return np.stack(
        [
            _one_example(embed(stored, row, frames), p, depth, fusion_layer, update)
            for row in range(len(stored["inputs/rgb"]))
        ]
    )


def _one_example(z: dict, p: Arrays, depth: int, fusion_layer: int, update: str) -> np.ndarray:
    rgb, spec, fsn = z["rgb"], z["spec"], p["bottleneck"][0]
    for layer in range(depth):
        theta_rgb, theta_spec = f"encoderblock_{layer}", f"encoderblock_{layer}_spectrogram"
        if layer < fusion_layer:
            rgb, spec = transformer(rgb, p, theta_rgb), transformer(spec, p, theta_spec)
        elif update == "averaged":
            both_rgb = transformer(np.concatenate([rgb, fsn]), p, theta_rgb)
            both_spec = transformer(np.concatenate([spec, fsn]), p, theta_spec)
            rgb, fsn_rgb = both_rgb[: len(rgb)], both_rgb[len(rgb) :]
            spec, fsn_spec = both_spec[: len(spec)], both_spec[len(spec) :]
            fsn = (fsn_rgb + fsn_spec) / 2
        else:
            both_rgb = transformer(np.concatenate([rgb, fsn]), p, theta_rgb)
            rgb, fsn_hat = both_rgb[: len(rgb)], both_rgb[len(rgb) :]
            both_spec = transformer(np.concatenate([spec, fsn_hat]), p, theta_spec)
            spec, fsn = both_spec[: len(spec)], both_spec[len(spec) :]
    logits = [
        layer_norm(x[0], p, "Transformer/encoder_norm") @ p["output_projection/kernel"]
        + p["output_projection/bias"]
        for x in (rgb, spec)
    ]
    return (logits[0] + logits[1]) / 2
