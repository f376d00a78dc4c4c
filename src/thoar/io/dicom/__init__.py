"""DICOM image series: files found and parsed within bounds, slices placed, pixels turned into HU.

``series`` assembles one series of any kind, or refuses it by name; ``process`` does so in a process of its
own. What contours and masks are written as lies in ``io/structures``.
"""
