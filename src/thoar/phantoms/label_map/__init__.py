"""Bodies from a label map of many structures: what the map names, and all that it leaves out."""
