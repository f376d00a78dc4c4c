"""Data sets: the manifest beside their files, SegTHOR's layout, and a real public sample."""
