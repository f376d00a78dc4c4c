"""Checksums of what was read or written."""

import hashlib
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
    files = files_of(path)
    if len(files) == 1:
        return sha256_of(files[0])
    return hashlib.sha256(b"".join(bytes.fromhex(sha256_of(file)) for file in files)).hexdigest()


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
