"""Compressed frames that only SimpleITK's decoder reads: JPEG extended with 12 bits."""

import tempfile
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from jaxtyping import Integer
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, CTImageStorage

from thoar.io.dicom.decoders import PixelLayout


def decoded(data: bytes, layout: PixelLayout, syntax: UID) -> Integer[np.ndarray, "y x"]:
    """Decode one frame by way of a temporary file that holds it and nothing else, so without rescale."""
    ds = pydicom.Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    ds.Rows, ds.Columns = layout.rows, layout.columns
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored = layout.bits_allocated, layout.bits_stored
    ds.HighBit, ds.PixelRepresentation = layout.bits_stored - 1, layout.pixel_representation
    ds.PixelData = encapsulate([data])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frame")
        ds.save_as(path, enforce_file_format=True)
        image = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
    return SimpleITK.GetArrayFromImage(image)[0]
