"""PyTorch checkpoints as projects release them: containers, names, configurations, gaps.

`tensors.py` reads the files; here are the steps that all importers of `.pth` checkpoints share.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sightsound.media.front_end import FrontEnd
from sightsound.media.logmel import front_end
from sightsound.models.pretrained import Pretrained
from sightsound.weights.archive import weights_of
from sightsound.weights.tensors import COUNTER, fill, is_pickled, read_tensors, translated

HEAD = "head"  # how our names of a classifier's tensors start

Table = Mapping[str, str]  # {pattern of a project's names: ours}, which a leaf follows


@dataclass(frozen=True)
class Checkpoint:
    """A state dict by the names in the file, and the names of what stands beside it."""

    path: Path
    tensors: dict[str, Tensor]
    beside: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """The state dict in a file: PyTorch's own, without running what is pickled in it, or others.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, in no known format, or holds no tensors.
    """
    tensors, beside = read_tensors(path)
    if not is_pickled(path):  # a name with a folder is a test case's: "in/x", "out/logits"
        weights = weights_of(tensors)
        tensors = {name: tensor for name, tensor in weights.items() if "/" not in name}
    return Checkpoint(path, tensors, tuple(beside))


def recognised(
    checkpoint: Checkpoint, tables: Iterable[Table], *, wanted: str, kind: str, example: str
) -> dict[str, str]:
    """{name in the file: ours} by the first table that gives our name `wanted`.

    Raises:
        ValueError: none does; the message has the file's first names and an `example` of names.
    """
    for table in tables:
        names = {name: translated(name, table) for name in checkpoint.tensors}
        if wanted in names.values():
            return {name: ours for name, ours in names.items() if ours is not None}
    few = ", ".join(repr(name) for name in list(checkpoint.tensors)[:3]) or "none"
    raise ValueError(
        f"{str(checkpoint.path)!r} holds no {kind}: names such as {example!r} were expected; its "
        f"first names: {few}"
    )


def settings_of(config: dict | None, path: Path, *, part: str) -> dict[str, Any]:
    """The settings of one model in what was given as its configuration; empty without one.

    Accepted are the settings themselves, an index entry with them under "config", and a whole
    index, which has the entry under `part` and the file's name.

    Raises:
        ValueError: none of these.
    """
    found: Any = config or {}
    if isinstance(found, dict) and isinstance(found.get(part), dict):
        found = found[part].get(path.stem)
    if isinstance(found, dict) and isinstance(found.get("config"), dict):
        found = found["config"]
    if not isinstance(found, dict):
        raise ValueError(
            f"the configuration of {path.name} is {config!r:.80}; a table of settings is accepted, "
            f"or an index with one under {part!r} and {path.stem!r}"
        )
    return found


def count(tensors: Iterable[str], pattern: str) -> int:
    """How many different numbers stand in the group of `pattern` at the start of our names."""
    found = (re.match(pattern, name) for name in tensors)
    return len({match[1] for match in found if match})


def left_over(checkpoint: Checkpoint, names: Mapping[str, str]) -> list[str]:
    """Names in the file that are not in `names`, in words.

    Raises:
        ValueError: one belongs to a layer, so that the numbers would be wrong without it.
    """
    unknown = [name for name in checkpoint.tensors if name not in names]
    inside = [name for name in unknown if re.search(r"\.\d+\.|patch_embed", name)]
    if inside:
        raise ValueError(
            f"{str(checkpoint.path)!r} holds another kind of model: the layers of the one known "
            f"here have no {inside[0]!r}"
        )
    return [*unknown, *checkpoint.beside]


def without_classifier(
    state: dict[str, Tensor], names: Mapping[str, str], *, num_classes: int
) -> list[str]:
    """Take the classifier out of `state` if it has other classes; its names in the file."""
    if len(state.get("head.bias", ())) == num_classes:
        return []
    taken = [theirs for theirs, ours in names.items() if ours.startswith(HEAD)]
    for theirs in taken:
        del state[names[theirs]]
    return [f"{theirs} (other classes)" for theirs in taken]


def fill_model(model: nn.Module, state: Mapping[str, Tensor], *, path: Path) -> list[str]:
    """Put `state` (our names) into `model`; the names of the classifier's tensors that it lacks.

    Raises:
        ValueError: others are missing, or too many, or of another shape.
    """
    own = model.state_dict()
    untrained = [name for name in own if name.startswith(HEAD) and name not in state]
    weights = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    fill(model, weights | {name: own[name] for name in untrained}, path=path)
    counters = {n: t for n, t in state.items() if n.endswith(COUNTER) and n in own}
    model.load_state_dict(counters, strict=False)
    return untrained


def video_front_end(shape: tuple[int, int, int], inferred: list[str], **pictures: Any) -> FrontEnd:
    """AVT's, with clips of `shape` (T, H, W); `pictures` replaces other fields of its video part.

    What is assumed of the time between frames is added to `inferred`.
    """
    base = front_end("ast")
    frames, height, width = shape
    seconds = base.video.stride_seconds
    inferred.append(
        f"assumed: {frames} frames, {seconds:.3f} s apart (every fourth of 30 a second)"
    )
    video = dataclasses.replace(base.video, num_frames=frames, height=height, width=width)
    return dataclasses.replace(base, video=dataclasses.replace(video, **pictures))


def finish(
    model: Pretrained,
    numbers: FrontEnd,
    *,
    source: str,
    inferred: list[str],
    dropped: list[str],
    untrained: list[str],
) -> None:
    """Write into `model.info` what it reads and how it came about; set evaluation mode."""
    model.info.front_end = numbers.to_dict()
    model.info.provenance = {"source": source, "inferred": inferred, "dropped": dropped}
    if untrained:
        model.info.provenance["untrained"] = untrained
    model.eval()
