"""Which version of thoar, and of what it stands on, is at work."""

UNKNOWN = "unknown"


def version_of(package: str) -> str:
    """Return an installed package's version; ``unknown`` where it is not installed or was never packaged.

    thoar itself may run from its sources alone (``PYTHONPATH=src python -m thoar``), which say no version.

    >>> version_of("no such package")
    'unknown'
    """
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 (a fifth of `thoar --help`)

    try:
        return version(package)
    except PackageNotFoundError:
        return UNKNOWN
