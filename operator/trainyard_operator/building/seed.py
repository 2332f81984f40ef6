"""The seed of a run. Pure."""

import hashlib

from trainyard_operator.model import Run


def seed_of(run: Run) -> int:
    """The seed on record, otherwise the specification's seed, otherwise 31 bits of the uid."""
    if run.status.seed is not None:
        return run.status.seed
    return int(run.spec.get("seed", default_seed(run.uid)))


def default_seed(uid: str) -> int:
    """The seed of a run whose specification has none: 31 bits of its uid."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big") & 0x7FFF_FFFF
