"""The command `convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightsound.commands.arguments import require_data
from sightsound.commands.terminal import say

if TYPE_CHECKING:
    from sightsound.config.parser import Parser


def convert(argv: Sequence[str]) -> None:
    """Turn a checkpoint of another project into a model directory."""
    options = _convert_parser().parse_args(list(argv))
    for file in filter(None, [options.path, options.config, options.labels]):
        require_data(file)
    output = Path(options.output)
    # `ValueError` if the folder holds anything but a model of ours, which may be replaced.
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {str(output)!r} is a file; name a folder for the model")
    if output.is_dir() and any(output.iterdir()) and not _holds_model(output):
        raise ValueError(
            f"--output {str(output)!r} holds something else than a model; name a new folder, an "
            "empty one, or that of a model to replace"
        )
    config = _original_config(options)

    from sightsound.weights import load_foreign
    from sightsound.weights.labels import labels_beside, name_classes, read_labels

    names = read_labels(options.labels) if options.labels else None
    model = load_foreign(options.kind, Path(options.path), config)
    file = options.labels or labels_beside(options.path, heads=model.heads)
    if file and names is None:
        names = read_labels(file)
    said = model.info.provenance.setdefault("inferred", [])
    said.append(name_classes(model, names, source=str(file or "")))
    model.save_pretrained(output)
    dropped = [f"dropped: {name}" for name in model.info.provenance.get("dropped", [])]
    if len(dropped) > _MOST_LINES:
        dropped[_MOST_LINES:] = [f"dropped: {len(dropped) - _MOST_LINES} more, see its config.json"]
    source, untrained = (model.info.provenance.get(key) for key in ("source", "untrained"))
    next_step = _TRAIN_IT if "head.weight" in (untrained or []) else _USE_IT
    if model.info.front_end is None:
        next_step = _FEED_IT
    say("\n".join([f"From {source}:", *said, *dropped, next_step.format(output=str(output))]))


def _holds_model(directory: Path) -> bool:
    """Whether our two files are in it; Hugging Face's folders have files of the same names."""
    try:
        config = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError):
        return False
    ours = isinstance(config, dict) and isinstance(config.get("model"), dict)
    return ours and (directory / "model.safetensors").is_file()


def _convert_parser() -> Parser:
    from sightsound.config.parser import Parser
    from sightsound.registry import WEIGHTS

    parser = Parser(
        prog="sightsound convert",
        usage="sightsound convert KIND PATH --output DIR [--config FILE] [--fusion_layer N] "
        "[--labels FILE]",
        description=f"{convert.__doc__}\n\n{_KINDS}",
        epilog=_CONVERT_EXAMPLES,
    )
    add = parser.add_argument
    add("kind", metavar="KIND", choices=sorted(WEIGHTS), help="Whose checkpoint, see above.")
    add("path", metavar="PATH", help="The checkpoint as its authors wrote it.")
    add("--output", required=True, metavar="DIR", help="Directory of the new model.")
    add("--config", metavar="FILE", help=_ORIGINAL_CONFIG)
    add("--fusion_layer", type=int, metavar="N", help=_FUSION_LAYER)
    add("--labels", metavar="FILE", help=_LABELS)
    return parser


_MOST_LINES = 20
_USE_IT = """The model is in {output}. Use it, or train it further on your own videos:
  sightsound predict clip.mp4 --model {output}
  sightsound train videos/ --init {output}"""
_TRAIN_IT = """The model is in {output}. Its classifier is untrained. Train it on your own videos:
  sightsound train videos/ --init {output}"""
_FEED_IT = """The model is in {output}. It takes features of encoders that are not in the file:
  sightsound.load_model({output!r}) in Python"""
_KINDS = """Kinds:
  ast        an Audio Spectrogram Transformer: the authors' file, or a folder of transformers
  mafnet     the released MAFnet: .npz with its variables under their own names
  scenic     an official MBT: a file checkpoint_N, a folder of them, or .npz with its names
  transformers_video  VideoMAE, TimeSformer, ViViT or V-JEPA 2: a folder of transformers
  uniformer  a UniFormer's .pth, of videos or of images
  vit        an image ViT of big_vision, vision_transformer, Scenic, timm or transformers: alone
             as a model of pictures, or as the start of the MBT in --config. That start is as in
             the official code, slips included; 'faithful: false' in the file leaves them out."""
_CONVERT_EXAMPLES = """Examples:
  sightsound convert scenic checkpoint_15900 --output mbt/
  sightsound convert scenic mbt.npz --config mbt.json --output mbt/
  sightsound convert mafnet mafnet.npz --labels ave.txt --output mafnet/
  sightsound convert vit ViT-B_16.npz --output vit/
  sightsound convert vit ViT-B_16.npz --config mbt.json --output start/"""
_ORIGINAL_CONFIG = (
    "Scenic's configuration of the MBT, JSON or YAML; a part does for kind scenic. For kind mafnet "
    "the sizes of its features, {dims: {T: 10, HA: 12, WA: 8}}."
)
_FUSION_LAYER = "Layers before fusion, which a checkpoint of kind scenic does not tell."
_LABELS = (
    "Class names: one per line, a CSV with a column display_name, labels.json, or a config.json of "
    "transformers, which is also found beside the checkpoint."
)


def _original_config(options: Any) -> dict | None:
    """The file of `--config` with `--fusion_layer` in it; `None` without either."""
    import yaml

    config = None
    if options.config:
        try:
            config = yaml.safe_load(Path(options.config).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{options.config!r} is neither JSON nor YAML: {error}") from error
    if options.fusion_layer is None:
        return config
    if options.kind != "scenic":
        raise ValueError(f"--fusion_layer goes with kind scenic, not with {options.kind}")
    from sightsound.weights.scenic_config import unwrapped

    config = unwrapped(config) or {}
    if not isinstance(config, dict) or not isinstance(config.get("model", {}), dict):
        raise ValueError(f"{options.config!r} holds no table of settings with a part 'model'")
    return config | {"model": config.get("model", {}) | {"fusion_layer": options.fusion_layer}}
