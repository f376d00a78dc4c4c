"""Files parsed within bounds."""

from pathlib import Path

import pydicom
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from thoar.core.errors import UnsupportedFormatError
from thoar.io.dicom.attributes import Slice, naming_faults
from thoar.io.dicom.files import has_preamble


def read_slice(path: Path) -> Slice:
    """Read a file's attributes, without its pixels.

    Raises:
        InputError: if it is damaged.
        UnsupportedFormatError: if the whole file is deflated, which cannot be read within a bound.
    """
    with naming_faults(path):
        if has_preamble(path):
            syntax = read_file_meta_info(path).get("TransferSyntaxUID")
            if syntax == DeflatedExplicitVRLittleEndian:
                raise UnsupportedFormatError(f"{path}: is in {syntax.name}; store it uncompressed")
        return Slice(path=path, header=pydicom.dcmread(path, stop_before_pixels=True, force=True))
