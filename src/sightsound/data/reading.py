"""Which reader answers for the clips of a manifest."""

from __future__ import annotations

from collections.abc import Sequence

from sightsound.config.settings import DataSettings
from sightsound.data.rows import Manifest
from sightsound.data.shards.demand import check_rich_enough
from sightsound.data.shards.index import Index, is_index
from sightsound.media.decode_process import DecodeProcessReader
from sightsound.media.front_end import FrontEnd
from sightsound.media.reader import FileReader, Reader


def open_reader(
    manifest: Manifest,
    settings: DataSettings,
    *,
    front_end: FrontEnd | None = None,
    modalities: Sequence[str] = (),
) -> Reader:
    """The reader for what `manifest` was read from; no file of a clip is opened yet.

    Raises:
        ValueError: shards too poor for `modalities` of `front_end`.
    """
    if is_index(manifest.source):
        index = Index(manifest.source)
        if front_end is not None:
            check_rich_enough(index, front_end, settings, modalities=modalities)
        from sightsound.data.shards.reader import ShardReader

        return ShardReader(index.path)
    how = (front_end or FrontEnd()).reading
    if settings.decoder != "pyav":
        from sightsound.media.torchcodec import TorchcodecReader

        device = "cuda" if settings.decoder == "torchcodec-cuda" else "cpu"
        return TorchcodecReader(device, **how)
    reader = FileReader(approximate=settings.approximate, **how)
    if settings.time_limit_seconds:
        return DecodeProcessReader(reader, settings.time_limit_seconds)
    return reader
