"""Unique identifiers of what we write: UUIDs as PS3.5 B.2 derives them, which need no registered root."""

import hashlib
import json
from uuid import UUID, uuid4

_ROOT = "2.25."


def new_uid(seed: str | None, *parts: str) -> str:
    """Return a new UID of at most 44 characters.

    Args:
        seed: None for a UID never seen before (122 random bits); otherwise the UID is a function of the seed
            and the parts, by their SHA-256.
        parts: what the UID is of; each list of parts has its own.

    >>> new_uid("a", "series") == new_uid("a", "series") != new_uid("a", "instance")
    True
    """
    if seed is None:
        return f"{_ROOT}{uuid4().int}"
    digest = hashlib.sha256(json.dumps([seed, *parts]).encode()).digest()
    return f"{_ROOT}{UUID(bytes=digest[:16], version=5).int}"
