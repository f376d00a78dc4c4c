"""A file of names to begin with: every name that was found, where it seems to belong."""

from collections.abc import Iterable, Sequence

import tomli_w

from thoar.datasets.dicom_import import FoundName
from thoar.datasets.structure_names import Names

_HEAD = """\
# What the structures found are called, and how many structure files have each name.
# Names that may mean an organ stand commented out where they look best. Move each of them into one list: the
# names of an organ, or `ignore`. A structure file with a name that may mean an organ and stands in no list is
# refused. The format is that of `thoar dataset import dicom --names`.
# Names may be personal: keep this file where the scans are.
"""


def proposal(found: Sequence[FoundName], names: Names) -> str:
    """Return the file's text.

    Args:
        found: the names, with what they seem to mean.
        names: which organs there are.
    """
    ignored = [name for name in found if name.meaning.kind in ("ignored", "unknown")]
    parts = [_HEAD, *_array("ignore", (_line(name) for name in ignored))]
    for organ in names.label_set.names:
        sure = [_line(n) for n in found if n.meaning.kind == "organ" and n.meaning.organs == (organ,)]
        unsure = [
            f"# {_line(n)}" for n in found if n.meaning.kind == "doubtful" and organ in n.meaning.organs
        ]
        parts += ["", "[[organs]]", f"organ = {_quoted(organ)}", *_array("names", [*sure, *unsure])]
    return "\n".join(parts) + "\n"


def _array(key: str, lines: Iterable[str]) -> list[str]:
    return [f"{key} = [", *(f"    {line}" for line in lines), "]"]


def _line(name: FoundName) -> str:
    return f"{_quoted(name.name)},  # in {name.sets}"


def _quoted(text: str) -> str:
    return tomli_w.dumps({"text": text}).removeprefix("text = ").strip()
