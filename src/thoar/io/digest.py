"""Checksums of what was read or written."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from thoar.core.errors import InputError
from thoar.io.formats import files_of


def digest_of(path: Path) -> str:
    """Return the SHA-256 of all that a path stands for.

    Returns:
        A lone file's own; else that of the digests of all :func:`files_of` the path.

    Raises:
        InputError: if a file cannot be read.
    """
    return sha256_of_all([sha256_of(file) for file in files_of(path)])


def sha256_of_all(digests: Sequence[str]) -> str:
    """Return a lone digest itself, and of several the SHA-256 of them in order, all in hexadecimal."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of one file's bytes, in hexadecimal.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
