"""Which reader answers for the clips of a manifest."""

from __future__ import annotations

from sightsound.data.manifest import Manifest
from sightsound.media.reader import FileReader, Reader
from sightsound.settings import DataSettings


def open_reader(manifest: Manifest, settings: DataSettings) -> Reader:
    """The reader for what `manifest` was read from; nothing is opened yet."""
    return FileReader(approximate=settings.approximate)
