"""How well two masks agree, and how large they are: arrays plus spacing in, numbers out.

Definitions and the rules for empty masks stand in docs/reference/metrics.md and nowhere else. numpy and
scipy (scikit-image for one table); no torch, no files, no tables, no plots.
"""
