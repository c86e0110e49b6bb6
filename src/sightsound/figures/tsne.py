"""t-SNE: points of many dimensions as points of the plane, neighbours staying neighbours.

Exact, so for a few thousand points: time and memory grow with the square of their number.
van der Maaten and Hinton 2008; starts from the first two principal components, as advised by
Kobak and Berens 2019, so that the same points give the same picture.
"""

from __future__ import annotations

import numpy as np

_STEPS, _EXAGGERATED, _EXAGGERATION = 750, 250, 12.0
_MOST_COMPONENTS = 50  # principal components that distances are taken over
_HALVINGS = 50  # of the search for each point's width
_SMALLEST = 1e-12


def tsne(values: np.ndarray, *, perplexity: float = 30.0) -> np.ndarray:
    """Places (n, 2) of the rows of `values` (n, D).

    `perplexity` is about how many neighbours count; at most a third of the points.

    Raises:
        ValueError: fewer than four points, or values that are not finite.
    """
    if len(values) < 4 or not np.isfinite(values).all():
        raise ValueError(f"t-SNE needs at least 4 points of finite values; given: {len(values)}")
    components = _principal(values.astype(np.float64), _MOST_COMPONENTS)
    near = _neighbourhood(components, perplexity=min(perplexity, (len(values) - 1) / 3))
    start = components[:, :2] if components.shape[1] > 1 else np.pad(components, ((0, 0), (0, 1)))
    places = 1e-4 * start / max(start[:, 0].std(), _SMALLEST)
    return _descend(near.astype(np.float32), places.astype(np.float32))


def _principal(values: np.ndarray, most: int) -> np.ndarray:
    """(n, up to `most`) the first principal components; signs are fixed by the largest weight."""
    centred = values - values.mean(0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(1)])
    return (left * sizes * signs)[:, :most]


def _squared_distances(points: np.ndarray) -> np.ndarray:
    squares = (points**2).sum(1)
    return np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0)


def _neighbourhood(points: np.ndarray, *, perplexity: float) -> np.ndarray:
    """(n, n) joint probabilities; each row's width is searched for, so that it has `perplexity`."""
    distances = _squared_distances(points)
    np.fill_diagonal(distances, np.inf)
    distances -= distances.min(1, keepdims=True)  # cancels below; keeps the exponents in range
    low, high, wanted = np.zeros(len(points)), np.full(len(points), np.inf), np.log(perplexity)
    sharpness = 1 / np.maximum(np.median(distances, 1), _SMALLEST)
    for _ in range(_HALVINGS):
        rows, entropy = _rows(distances, sharpness)
        wide = entropy > wanted
        low, high = np.where(wide, sharpness, low), np.where(wide, high, sharpness)
        sharpness = np.where(np.isinf(high), 2 * sharpness, (low + high) / 2)
    rows, _ = _rows(distances, sharpness)
    return (rows + rows.T) / (2 * len(points))


def _rows(distances: np.ndarray, sharpness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, n) each row a distribution over the other points, and its entropy (n,)."""
    rows = np.exp(-distances * sharpness[:, None])
    rows /= rows.sum(1, keepdims=True)
    return rows, -(rows * np.log(np.maximum(rows, _SMALLEST))).sum(1)


def _descend(near: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Gradient descent with momentum and a step of its own for each coordinate."""
    speed, gains = np.zeros_like(places), np.ones_like(places)
    rate = max(len(places) / _EXAGGERATION / 4, 50.0)
    for step in range(_STEPS):
        early = step < _EXAGGERATED
        gradient = _gradient(near * _EXAGGERATION if early else near, places)
        with_speed = np.sign(gradient) == np.sign(speed)
        gains = np.maximum(np.where(with_speed, 0.8 * gains, gains + 0.2), 0.01)
        speed = (0.5 if early else 0.8) * speed - rate * gains * gradient
        places = places + speed
    return places - places.mean(0)


def _gradient(near: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(n, 2) of the divergence between the neighbourhoods of both spaces (equation 5)."""
    closeness = 1 / (1 + _squared_distances(places))
    np.fill_diagonal(closeness, 0)
    forces = (near - closeness / closeness.sum()) * closeness
    return 4 * (forces.sum(1)[:, None] * places - forces @ places)
