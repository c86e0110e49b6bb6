"""Which reader answers for the clips of a manifest."""

from __future__ import annotations

from sightsound.data.rows import Manifest
from sightsound.data.shards.index import Index, is_index
from sightsound.media.child import ChildReader
from sightsound.media.reader import FileReader, Reader
from sightsound.settings import DataSettings


def open_reader(
    manifest: Manifest, settings: DataSettings, *, rate_hz: int | None = None
) -> Reader:
    """The reader for what `manifest` was read from; no file of a clip is opened yet.

    Raises:
        ValueError: `rate_hz`, that of the sound that will be asked for, is not that of shards.
    """
    if is_index(manifest.source):
        return _shard_reader(Index(manifest.source), rate_hz=rate_hz)
    if settings.decoder != "pyav":
        from sightsound.media.torchcodec import TorchcodecReader

        return TorchcodecReader("cuda" if settings.decoder == "torchcodec-cuda" else "cpu")
    reader = FileReader(approximate=settings.approximate)
    if settings.time_limit_seconds:
        return ChildReader(reader, settings.time_limit_seconds)
    return reader


def _shard_reader(index: Index, *, rate_hz: int | None) -> Reader:
    from sightsound.data.shards.reader import ShardReader

    stored = index.about["settings"]["rate_hz"]
    if rate_hz not in (None, stored):
        raise ValueError(
            f"the shards in {str(index.path.parent)!r} hold sound at {stored} Hz, the front end "
            f"wants {rate_hz} Hz; make shards with 'sightsound prepare ... --rate_hz {rate_hz}'"
        )
    return ShardReader(index.path)
