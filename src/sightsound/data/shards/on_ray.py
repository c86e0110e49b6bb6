"""Shards written by Ray Data: one task writes one shard, on whatever machine.

Data and output must be in folders that all machines see under the same name. A task whose machine
or worker is lost is done again elsewhere.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sightsound.config.settings import ShardSettings
from sightsound.data.shards.writer import ShardPlan, pack_clips, write_shard
from sightsound.media.decode_pool import DecodePool
from sightsound.optional import require

LOCAL = "local"


def write_on_ray(
    plans: Sequence[ShardPlan],
    folder: Path,
    settings: ShardSettings,
    *,
    address: str,
    num_workers: int,
    limit_seconds: float,
    tell: Callable[[int], None],
) -> None:
    """Write `plans` on the cluster at `address`; "local" starts one here, of `num_workers` CPUs.

    Calls `tell(number of clips)` for each finished shard.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: there is no cluster at `address`.
        OSError: a shard cannot be written.
    """
    ray = require("ray", extra="dist")
    require("ray.data", extra="dist")
    started = not ray.is_initialized()
    if started:
        _start(ray, address=address, num_workers=num_workers)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        tasks = [{"task": pickle.dumps((p, folder, settings, limit_seconds))} for p in plans]
        written = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(_write_one)
        for row in written.iter_rows():
            if row["error"]:
                raise pickle.loads(row["error"])
            tell(row["num_clips"])
    finally:
        if started:
            ray.shutdown()


def _write_one(item: dict[str, Any]) -> dict[str, Any]:
    """One task; that a file cannot be written is part of the answer, Ray would only print it."""
    plan, folder, settings, limit_seconds = pickle.loads(item["task"])
    with DecodePool(1, seconds=limit_seconds, ahead=1) as pool:
        try:
            write_shard(plan, folder, pack_clips(plan.clips, settings, pool))
        except OSError as error:
            return {"num_clips": 0, "error": pickle.dumps(error)}
    return {"num_clips": len(plan.clips), "error": b""}


def _start(ray: Any, *, address: str, num_workers: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options |= {"num_cpus": num_workers, "include_dashboard": False}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConnectionError(
            f"no Ray cluster at {address!r} ({error}); accepted: local, auto or an address such as "
            "ray://host:10001"
        ) from error
