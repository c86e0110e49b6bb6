"""Modules by their names of version 0.1: they work until 0.3, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # `typing` would take a third of the time of `import sightsound`
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.abc import Loader
    from types import ModuleType
else:
    Loader = object

MOVED = {
    "baselines": "train.baselines",
    "compare": "evaluation.compare",
    "configuration": "config.load",
    "data.classes": "data.datasets.classes",
    "data.doctor": "doctor",
    "data.features": "features.cache",
    "data.prepare": "data.shards.prepare",
    "encoding": "features.encoding",
    "evaluate": "evaluation.evaluate",
    "explain.curves": "explain.deletion",
    "explain.figures": "figures",
    "explain.maps": "explain.explanation",
    "explain.preview": "preview.figure",
    "extract": "features.extract",
    "models.backbones.video_vit": "models.backbones.vit",
    "nn.joining": "nn.pooling_fusion",
    "options": "config.parser",
    "probing": "diagnostics",
    "profile.flops": "flops",
    "run": "build",
    "settings": "config.settings",
    "statistics": "metrics.statistics",
    "vggsounder": "evaluation.vggsounder",
    "weights.encoders": "features.load",
    "weights.mobilenet": "features.encoders.mobilenet_weights",
}


def moved_names(module: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a `module` that older code imports names from: {name: its module}."""

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        text = f"{module}.{name} is now {homes[name]}.{name}; the old name goes with version 0.3"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(homes[name]), name)

    return find


class OldNames(Loader):
    """A finder, and the loader, of modules that have moved; see `importlib.abc`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the import system learns of a module; see `importlib.abc`."""
        for old, new in MOVED.items():
            if f"{name}.".startswith(f"sightsound.{old}."):
                new_name = f"sightsound.{new}{name.removeprefix(f'sightsound.{old}')}"
                return ModuleSpec(name, self, loader_state=new_name)
        if name == "sightsound.profile":  # held nothing but `flops`
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The import system's own kind of module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the new name in place of this one."""
        spec = module.__spec__
        if spec is None or spec.loader_state is None:
            return
        text = f"{spec.name} is now {spec.loader_state}; the old name goes with version 0.3"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        sys.modules[spec.name] = importlib.import_module(spec.loader_state)
