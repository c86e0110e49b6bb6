"""Seeds as a pure function of what is being drawn, so that resuming needs no generator state."""

import hashlib


def stable_seed(*parts: object) -> int:
    """A seed in [0, 2**63) that depends on `parts` only: the same in every process and run.

    Use it as `stable_seed(seed, epoch, clip_id, "crop")`: (seed, epoch, clip, purpose).
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
