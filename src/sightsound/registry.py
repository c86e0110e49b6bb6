"""Tables from a name to the object that implements it; an entry is imported when it is used.

Adding a fusion, backbone, objective or data set is one file and one line here, or in a package of
your own: docs/extending.md.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MODELS = {
    "ast": "sightsound.models.unimodal:ASTClassifier",
    "avt": "sightsound.models.avt:AVT",
    "late": "sightsound.models.late:LateAverage",
    "linear_probe": "sightsound.models.linear_probe:LinearProbe",
    "mafnet": "sightsound.models.mafnet:MAFnet",
    "mbt": "sightsound.models.mbt:MBT",
    "one_stream": "sightsound.models.unimodal:OneStream",
    "uniformer": "sightsound.models.unimodal:UniFormerClassifier",
}

BACKBONES = {
    "ast": "sightsound.models.backbones.ast:AST",
    "transformers_video": "sightsound.models.backbones.transformers_video:TransformersVideo",
    "uniformer": "sightsound.models.backbones.uniformer:UniFormer",
    "vit": "sightsound.models.backbones.vit:VideoViT",
}

FUSIONS = {
    "bottleneck": "sightsound.models.fusion.bottleneck:BottleneckFusion",
    "cross_attention": "sightsound.models.fusion.cross_attention:CrossAttentionFusion",
    "self_attention": "sightsound.models.fusion.self_attention:SelfAttentionFusion",
}

OBJECTIVES = {
    "avt": "sightsound.objectives.audio_visual.objective:AudioVisual",
    "classification": "sightsound.objectives.classification:Classification",
}

AUGMENTATIONS = {
    "rand_augment": "sightsound.data.augment.rand_augment:rand_augment",
    "video": "sightsound.data.augment.video:augment_video",
    "erasing": "sightsound.data.augment.erasing:erase",
    "audio": "sightsound.data.augment.audio:augment_audio",
    "mixup": "sightsound.data.augment.mixup:mixup",
    "modality_dropout": "sightsound.data.augment.modality_dropout:drop_modalities",
}

DATASETS = {
    "audioset": "sightsound.data.datasets.audioset:audioset",
    "audioset-500k": "sightsound.data.datasets.audioset:audioset_500k",
    "vggsound": "sightsound.data.datasets.vggsound:vggsound",
    "vggsounder": "sightsound.data.datasets.vggsound:vggsounder",
    "epic-kitchens": "sightsound.data.datasets.epic_kitchens:epic_kitchens",
    "epic-sounds": "sightsound.data.datasets.epic_sounds:epic_sounds",
    "kinetics": "sightsound.data.datasets.kinetics:kinetics",
    "kinetics-sounds-31": "sightsound.data.datasets.kinetics:kinetics_sounds_31",
    "kinetics-sounds-32": "sightsound.data.datasets.kinetics:kinetics_sounds_32",
    "kinetics-sounds-34": "sightsound.data.datasets.kinetics:kinetics_sounds_34",
    "moments": "sightsound.data.datasets.moments:moments",
    "llp": "sightsound.data.datasets.llp:llp",
    "ave": "sightsound.data.datasets.ave:ave",
    "ucf101": "sightsound.data.datasets.ucf101:ucf101",
    "ucf51": "sightsound.data.datasets.ucf101:ucf51",
    "activitynet": "sightsound.data.datasets.activitynet:activitynet",
    "cremad": "sightsound.data.datasets.cremad:cremad",
    "cavmae": "sightsound.data.datasets.cavmae:cavmae",
    "list": "sightsound.data.datasets.path_list:path_list",
    "huggingface": "sightsound.data.datasets.huggingface:huggingface",
    "huggingface-parquet": "sightsound.data.datasets.huggingface_parquet:huggingface_parquet",
    "webdataset": "sightsound.data.datasets.webdataset:webdataset",
    "label-studio": "sightsound.data.datasets.label_studio:label_studio",
    "fiftyone": "sightsound.data.datasets.fiftyone:fiftyone",
}

WEIGHTS = {
    "ast": "sightsound.weights.ast:load",
    "mafnet": "sightsound.weights.mafnet:load",
    "scenic": "sightsound.weights.scenic:load",
    "transformers_video": "sightsound.weights.transformers_video:load",
    "uniformer": "sightsound.weights.uniformer:load",
    "vit": "sightsound.weights.vit:load",
}

ENCODERS = {
    "mobilenet_v1": "sightsound.features.encoders.mobilenet_weights:mobilenet_v1",
    "mobilenet_v2": "sightsound.features.encoders.mobilenet_weights:mobilenet_v2",
    "yamnet": "sightsound.features.encoders.mobilenet_weights:yamnet",
    "densenet201": "sightsound.features.encoders.densenet201_weights:densenet201",
    "vggish": "sightsound.features.encoders.vggish_weights:vggish",
    "vit": "sightsound.features.load:vit",
    "hf": "sightsound.features.load:hugging_face",
}


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """A `ValueError` that names what was given, what is accepted and the nearest valid name."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind} {name!r}; known: {', '.join(known)}.{hint}")


def nearest_path(path: Path) -> str:
    """The question with the nearest name in the folder of a missing `path`, or nothing."""
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    names = [name for name in names if name != path.name]  # a link to nothing
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {str(path.parent / near[0])!r}?" if near else ""


def installed(kind: str) -> dict[str, str]:
    """{name: "module:attribute"} of the parts of this kind that other packages bring.

    Their entry points are in the group `sightsound.KIND`; see docs/extending.md.
    """
    from importlib.metadata import entry_points  # slow to import, and seldom wanted

    group = f"sightsound.{kind.replace(' ', '_')}"
    return {entry.name: entry.value for entry in entry_points(group=group)}


def resolve(table: Mapping[str, str], name: str, *, kind: str) -> Any:
    """The object behind `name` in `table`, or among the `installed` parts of this kind.

    Raises:
        ValueError: there is no such name; the message says which is the nearest.
    """
    if name not in table:  # an installed part cannot replace one of ours
        table = installed(kind) | dict(table)
    if name not in table:
        raise unknown_name(kind, name, table)
    module, attribute = table[name].split(":")
    return getattr(importlib.import_module(module), attribute)
