"""Files into core types and back: one module per format, and `formats` that picks one.

Axis flips, slice sorting and every oddity of a format end here. What leaves is a `Volume` whose array
is (z, y, x) on a `Geometry` in LPS millimetres, with finite voxels; what cannot be trusted is refused
by an `InputError` that names the file. No resampling, no thresholds.
"""
