"""The released MAFnet's weights -> `models.mafnet.MAFnet`, by the names of its variables.

Names and widths tell which parts there are. What they do not tell, seconds and grid, does not
change the weights: it is read from the configuration or assumed. Numbers agree with the released
model to 1e-5.

The model is unmasked, as released: seconds of padding count.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sightsound.models.mafnet import MAFnet
from sightsound.types import AUDIO, VIDEO
from sightsound.weights.archive import read_archive, weights_of

Arrays = Mapping[str, np.ndarray]

WORDS = {VIDEO: "image", AUDIO: "sound"}
DENSE = {VIDEO: "time_distributed", AUDIO: "time_distributed_1"}
GRIDS = {VIDEO: ("HV", "HV"), AUDIO: ("HA", "WA")}  # names of their sizes in the configuration
PAPER_GRIDS = {VIDEO: (7, 7), AUDIO: (12, 8)}
PAPER_SECONDS = 10
SIBLINGS = ("in/", "train/", "train_stats/", "grad/", "step_")  # of test cases: not weights


def load(path: Path, config: dict | None) -> MAFnet:
    """The model in an `.npz` file whose arrays have the released program's names.

    `config` is an index entry, or an index with one, of which the sizes under "dims" are read: T
    seconds, HV of the visual map, HA and WA of the audio map. What it leaves open is assumed and
    told in `info.provenance["inferred"]`; arrays that are not used are listed in
    `info.provenance["dropped"]`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or arrays are missing or do not fit.
    """
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(
            f"{str(path)!r} is not an .npz archive; save the variables of a MAFnet checkpoint with "
            "numpy.savez under their own names"
        )
    if isinstance(config, dict) and path.name in config.get("files", {}):  # a whole index
        config = config["files"][path.name]
    model = convert(weights_of(read_archive(path)), config)
    model.info.provenance["source"] = f"mafnet: {path.name}"
    return model.eval()


def convert(arrays: Arrays, config: dict | None) -> MAFnet:
    """A MAFnet with `arrays` (bare names) as its weights; `config` as for `load`."""
    arrays = {
        key.removesuffix(":0"): value
        for key, value in arrays.items()
        if not key.startswith(SIBLINGS)
    }
    sizes = _sizes(config)
    inferred: list[str] = []
    model = MAFnet(**_arguments(arrays, sizes, inferred))
    names = their_names(model)
    missing = sorted(set(names.values()) - set(arrays))
    if missing:
        raise _no_mafnet(", ".join(repr(name) for name in missing), arrays)
    for name in names.values():
        if arrays[name].dtype.kind != "f":
            raise ValueError(
                f"the checkpoint's {name!r} has type {arrays[name].dtype}; weights are floats"
            )
    _check_sizes(arrays, sizes)
    wanted = model.state_dict()
    state = {ours: as_ours(arrays[theirs]) for ours, theirs in names.items()}
    for ours, tensor in state.items():
        if tensor.shape != wanted[ours].shape:
            raise ValueError(
                f"the checkpoint's {names[ours]!r} has shape {arrays[names[ours]].shape}, which "
                "does not go with its other arrays; is it whole?"
            )
    model.load_state_dict(state)
    model.info.provenance["inferred"] = inferred
    model.info.provenance["dropped"] = sorted(set(arrays) - set(names.values()))
    return model


def their_names(model: MAFnet) -> dict[str, str]:
    """{name in our state dict: name of the released variable}."""
    names: dict[str, str] = {}
    for stream in model.modalities:
        block = f"FILMed_block_{WORDS[stream]}"
        own = model.stream(stream).block
        if own is not None:
            names |= _layer(f"{stream}.block.inlet", f"{block}_conv1")
            names |= _layer(f"{stream}.block.mix", f"{block}_conv2")
            names |= _norm(f"{stream}.block.norm", f"{block}_BN")
            if own.film is not None:
                names |= _layer(f"{stream}.block.film.generator", f"FILM_for_{WORDS[stream]}_fc")
        names |= _layer(f"{stream}.dense", DENSE[stream])
        names |= _norm(f"{stream}.norm", f"{WORDS[stream]}_BN_1")
    names |= _layer("attention.scorer.0", "dense") | _layer("attention.scorer.2", "dense_1")
    names |= _layer("head.linear", "multimodal_fc_1")
    if model.head.norm is not None:
        names |= _norm("head.norm", "multimodal_BN_1")
    return names


def _layer(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.weight": f"{theirs}/kernel", f"{ours}.bias": f"{theirs}/bias"}


def _norm(ours: str, theirs: str) -> dict[str, str]:
    return {
        f"{ours}.weight": f"{theirs}/scale",
        f"{ours}.bias": f"{theirs}/beta",
        f"{ours}.running_mean": f"{theirs}/pop_mean",
        f"{ours}.running_variance": f"{theirs}/pop_var",
    }


def as_ours(array: np.ndarray) -> Tensor:
    """Kernels (in, out) -> (out, in), (h, w, in, out) -> (out, in, h, w); 1 x 1 ones are linear."""
    tensor = torch.from_numpy(np.array(array, dtype=np.float32))
    if tensor.ndim == 4 and tensor.shape[:2] == (1, 1):
        tensor = tensor[0, 0]
    if tensor.ndim == 4:
        tensor = tensor.permute(3, 2, 0, 1)
    return (tensor.T if tensor.ndim == 2 else tensor).contiguous()


def _arguments(arrays: Arrays, sizes: dict[str, int], inferred: list[str]) -> dict:
    """Constructor arguments for these arrays; what is assumed is added to `inferred`."""
    film = [name for name, word in WORDS.items() if f"FILM_for_{word}_fc/kernel" in arrays]
    block = [n for n, word in WORDS.items() if f"FILMed_block_{word}_conv1/kernel" in arrays]
    shapes = {}
    for name, word in WORDS.items():
        entry = f"FILMed_block_{word}_conv1" if name in block else DENSE[name]
        size = _axes(arrays, f"{entry}/kernel")[-2]
        shapes[name] = (*_grid(name, sizes, name in block, inferred), size)
    if "T" not in sizes:
        inferred.append(
            f"assumed: {PAPER_SECONDS} seconds, as in the paper; any number is accepted"
        )
    seconds = sizes.get("T", PAPER_SECONDS)
    return dict(
        heads={"label": _axes(arrays, "multimodal_fc_1/kernel")[-1]},
        video_shape=(seconds, *shapes[VIDEO]),
        audio_shape=(seconds, *shapes[AUDIO]),
        width=_axes(arrays, f"{DENSE[VIDEO]}/kernel")[-1],
        film=_which(film),
        residual=_which([name for name in block if name not in film]),
        logit_norm="multimodal_BN_1/scale" in arrays,
        masked=False,
    )


def _grid(name: str, sizes: dict[str, int], block: bool, inferred: list[str]) -> tuple[int, ...]:
    """Height and width of a stream's map; none where nothing tells and nothing needs it."""
    if set(GRIDS[name]) <= set(sizes):
        return tuple(sizes[key] for key in GRIDS[name])
    if not block:
        inferred.append(f"assumed: {name} features are vectors; maps are accepted as well")
        return ()
    grid = PAPER_GRIDS[name]
    inferred.append(
        f"assumed: {name} maps of {grid[0]} x {grid[1]}, as in the paper; any size is accepted"
    )
    return grid


def _which(names: list[str]) -> str:
    """The value of `film` and `residual` for these streams."""
    return "both" if len(names) == 2 else names[0] if names else "none"


def _axes(arrays: Arrays, key: str) -> tuple[int, ...]:
    """The shape of a kernel, two or four axes."""
    if key not in arrays:
        raise _no_mafnet(f"{key!r}", arrays)
    shape = arrays[key].shape
    if len(shape) not in (2, 4) or 0 in shape:
        raise ValueError(f"the checkpoint's {key!r} has shape {shape}; kernels have 2 or 4 axes")
    return shape


def _no_mafnet(what: str, arrays: Arrays) -> ValueError:
    some = ", ".join(sorted(arrays)[:5])
    return ValueError(f"the file is no whole MAFnet: it has no {what}; it holds {some}, ...")


def _sizes(config: dict | None) -> dict[str, int]:
    """{"T": 10, ...} of a configuration; empty without one."""
    if not config:
        return {}
    sizes = config.get("dims") if isinstance(config, dict) else None
    if not isinstance(sizes, dict) or not all(isinstance(n, int) for n in sizes.values()):
        raise ValueError(
            "the configuration of a MAFnet is an index entry with sizes under 'dims', such as "
            f"{{'dims': {{'T': 10, 'HA': 12, 'WA': 8}}}}, not {config!r:.80}"
        )
    return sizes


def _check_sizes(arrays: Arrays, sizes: dict[str, int]) -> None:
    """`ValueError` if the configuration's widths are not those of the arrays."""
    found = {
        "H": arrays[f"{DENSE[VIDEO]}/kernel"].shape[-1],
        "C": arrays["multimodal_fc_1/kernel"].shape[-1],
    }
    for name, size in found.items():
        if sizes.get(name, size) != size:
            raise ValueError(
                f"the configuration says {name} is {sizes[name]}, the arrays {size}; is it the "
                "configuration of this checkpoint?"
            )
