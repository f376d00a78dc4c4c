"""Every series that must be refused by name, in the order of the catalogue of faults."""

from proofs.dicom.cases import Refused
from proofs.dicom.refused_files import ABSENT
from proofs.dicom.refused_frames import FRAMES
from proofs.dicom.refused_hostile import HOSTILE
from proofs.dicom.refused_pixels import REFUSED_PIXELS
from proofs.dicom.refused_series import REFUSED_SERIES

REFUSED: tuple[Refused, ...] = (*REFUSED_SERIES, *ABSENT, *FRAMES, *REFUSED_PIXELS, *HOSTILE)
