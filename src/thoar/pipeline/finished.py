"""Results that are there already: whether they are those that would be made now."""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

from thoar.core.errors import UsageError
from thoar.core.versions import version_of
from thoar.io.digest import digest_of
from thoar.pipeline.folder import RUN_RECORD, is_unchanged
from thoar.pipeline.record import RunRecord
from thoar.pipeline.request import Request

_WITHOUT_EFFECT = ("model", "device", "max_ram_bytes", "max_vram_bytes", "overwrite")
"""Fields of a request that change no result, or are compared by what they led to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What results are made of.

    Attributes:
        input_sha256: of the scan.
        model_sha256: of the model's manifest.
        request_sha256: see :func:`request_digest`.
    """

    input_sha256: str
    model_sha256: str
    request_sha256: str


def request_digest(request: Request, organs: tuple[str, ...]) -> str:
    """Return the SHA-256 of all in a request that has an effect on results.

    Args:
        request: of an RTSTRUCT to append to, the content counts.
        organs: names of those that are drawn.
    """
    wanted = {f.name: getattr(request, f.name) for f in fields(request) if f.name not in _WITHOUT_EFFECT}
    content = msgspec.json.encode({**wanted, "organs": organs}, enc_hook=_content, order="deterministic")
    return hashlib.sha256(content).hexdigest()


def _content(value: object) -> str:
    if isinstance(value, Path):
        return digest_of(value)
    raise NotImplementedError


def kept_results(out: Path, origin: Origin, *, overwrite: bool) -> RunRecord | None:
    """Return the record of results that are those that would be made now; None where they may be replaced.

    Args:
        out: holds a run record.
        origin: of what would be made.
        overwrite: other results may be replaced.

    Raises:
        UsageError: if they are others and may not: they may be somebody's work.
    """
    record = _read_record(out / RUN_RECORD)
    why = _difference(record, out, origin)
    if why is None or overwrite:
        return record if why is None else None
    raise UsageError(
        f"{out}: holds results that were left as they are: {why}; replace them with --overwrite, or choose "
        "another folder"
    )


def _read_record(path: Path) -> RunRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _difference(record: RunRecord | None, out: Path, origin: Origin) -> str | None:
    """Say why results are not those that would be made now; None where they are."""
    if record is None:
        return f"their {RUN_RECORD} is damaged, or not from this version of thoar"
    for same, why in (
        (record.versions.get("thoar") == version_of("thoar"), "they are from another version of thoar"),
        (record.input.sha256 == origin.input_sha256, "they were made of another input"),
        (record.model.manifest_sha256 == origin.model_sha256, "they were made with another model"),
        (record.request_sha256 == origin.request_sha256, "other organs, formats or options were asked for"),
    ):
        if not same:
            return why
    changed = [name for name, digest in record.outputs.items() if not is_unchanged(out / name, digest)]
    return f"{changed[0]} was changed or taken away since" if changed else None
