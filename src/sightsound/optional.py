"""Imports of packages that only some features need."""

import importlib
from types import ModuleType


def require(module: str, *, extra: str) -> ModuleType:
    """The imported `module`; where it is missing, an error that names the install command."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"this needs the package {module!r}, which is not installed: "
            f"pip install 'sightsound[{extra}]'",
            name=error.name,
        ) from error
