"""Organs on a DICOM series: RTSTRUCT and DICOM-SEG, written, read back and checked; contours and masks."""
