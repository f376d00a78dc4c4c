"""Illness and devices: records, how often they are drawn, and how they change a map of structures.

One module per subject. Each finds its places from the structures that are there, whatever made the map, and
does nothing where the structures it needs are absent.
"""
