"""A scan's slices with outlines, as an RGB array and as a PNG: numpy and Pillow, no plots."""
