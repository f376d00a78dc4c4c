"""The one tree of errors that thoar raises on purpose.

    ThoarError
    ├── UsageError                  the command was asked for something it cannot mean
    ├── InputError                  a file or volume given to us is not fit for use
    │   ├── GeometryError           its grid in patient space is broken or does not match
    │   ├── IncompleteSeriesError   slices are missing, doubled or contradictory
    │   ├── UnsupportedFormatError  we do not read (or write) this kind of file
    │   └── LabelError              label values or structures are not what was declared
    ├── ConfigError                 a configuration has an unknown key or an impossible value
    ├── ModelError                  a bundle is missing, damaged or does not fit
    ├── ResourceError               not enough memory or disk
    ├── PeerError                   another program or process failed us
    └── PartialFailureError         some cases of many failed; the others are done

A message says what was found, in which file, and what to do about it.
"""

import errno
from pathlib import Path
from types import MappingProxyType

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


class ThoarError(Exception):
    """Root of every error thoar raises on purpose."""


class UsageError(ThoarError):
    """The command was asked for something it cannot mean."""


class InputError(ThoarError):
    """A file or volume given to us is not fit for use."""


class GeometryError(InputError):
    """A grid in patient space is broken, or two grids that must match do not."""


class IncompleteSeriesError(InputError):
    """A series lacks slices, doubles them, or its slices contradict one another."""


class UnsupportedFormatError(InputError):
    """A kind of file that we do not read or write."""


class LabelError(InputError):
    """Label values or structures are not what was declared."""


class ConfigError(ThoarError):
    """A configuration has an unknown key or an impossible value."""


class ModelError(ThoarError):
    """A model bundle is missing, damaged, or does not fit its use."""


class ResourceError(ThoarError):
    """Not enough memory or disk for what was asked."""


class PeerError(ThoarError):
    """Another program or process that we depend on failed."""


class PartialFailureError(ThoarError):
    """Some cases of many failed; the others are done."""


EXIT_BUG = 1
EXIT_SIGNALLED = 128
"""A command that a signal ended leaves with this plus the signal's number: 130 or 143."""
EXIT_UNFINISHED = 9
"""A time limit ended the command before its work was done; the same command, resumed, goes on."""
EXIT_CODES = MappingProxyType(
    {
        UsageError: 2,
        InputError: 3,
        ConfigError: 4,
        ModelError: 5,
        ResourceError: 6,
        PeerError: 7,
        PartialFailureError: 8,
    }
)
"""Exit code of the command line per class of error; subclasses share their parent's."""


def exit_code_of(error: BaseException) -> int:
    """Return the command line's exit code for an error.

    >>> exit_code_of(GeometryError("slices overlap"))
    3
    >>> exit_code_of(ZeroDivisionError())
    1
    """
    for parent in type(error).__mro__:
        if parent in EXIT_CODES:
            return EXIT_CODES[parent]
    return EXIT_BUG


def foreseen(error: BaseException, path: Path | None = None) -> ThoarError | None:
    """Return an operating system's refusal as the typed error it amounts to; None for any other error.

    Args:
        error: what was raised.
        path: what to name; the error's own file by default.

    >>> foreseen(PermissionError(errno.EACCES, "Permission denied", "a.nii"))
    InputError('a.nii: Permission denied; check the path and who may read or write there')
    """
    if not isinstance(error, OSError) or error.errno not in (*DISK_FULL, *_FORBIDDEN):
        return None
    text = f"{path or error.filename or 'a file'}: {error.strerror}"
    if error.errno in DISK_FULL:
        return ResourceError(f"{text}; make room, or write elsewhere")
    return InputError(f"{text}; check the path and who may read or write there")
