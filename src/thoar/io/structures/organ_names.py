"""What organs are called in RTSTRUCT (ROIName) and DICOM-SEG (SegmentLabel)."""

from collections import Counter
from collections.abc import Sequence

from thoar.core.errors import LabelError
from thoar.core.labels import Organ

LONGEST = 64
"""Characters of an LO (PS3.5, 6.2), as which both are written."""


def written_name(organ: Organ) -> str:
    """Return an organ's name in files: TG-263's where it has one, else its own."""
    return (organ.tg263 or organ.name).strip()


def written_names(organs: Sequence[Organ], keyword: str) -> list[str]:
    """Return the names of all organs of a file.

    Args:
        organs: in the file's order.
        keyword: of the attribute that holds them, for messages.

    Raises:
        LabelError: if a name is no plain ASCII, which every character set of a source holds, or too long, or
            two are alike but for case.
    """
    names = [written_name(organ) for organ in organs]
    for name in names:
        if not name.isascii() or not name.isprintable() or "\\" in name or not 0 < len(name) <= LONGEST:
            raise LabelError(
                f"{name!r} cannot be a {keyword}: use plain ASCII without a backslash, at most {LONGEST} "
                "characters (--names)"
            )
    alike = [name for name, count in Counter(name.casefold() for name in names).items() if count > 1]
    if alike:
        raise LabelError(f"several organs would have the {keyword} {alike[0]!r}; give each its own (--names)")
    return names
