"""An image's file put into a new folder: as it is where that can be, else written anew."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from thoar.core.volume import Volume
from thoar.io.formats import WRITTEN_SUFFIXES, files_of, write_volume


def put_image(
    image: Path, volume: Volume, *, to: Path, link: bool, as_they_are: Sequence[str] = WRITTEN_SUFFIXES
) -> Path:
    """Copy an image's file, or link to it; write what is no such lone file as ``.nii.gz``.

    Args:
        image: the file, or a DICOM folder.
        volume: what was read of it.
        to: the new file's path without its ending.
        link: make a symbolic link to the file in place of a copy.
        as_they_are: endings of files that need not be written anew.

    Returns:
        The new file.
    """
    suffix = next((s for s in as_they_are if image.name.lower().endswith(s)), None)
    if suffix is None or files_of(image) != (image,):
        target = to.with_name(f"{to.name}.nii.gz")
        write_volume(target, volume)
        return target
    target = to.with_name(f"{to.name}{suffix}")
    if link:
        target.symlink_to(image.resolve())
    else:
        shutil.copyfile(image, target)
    return target
