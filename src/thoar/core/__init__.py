"""The vocabulary every room speaks: grids, volumes, labels, boxes, errors, chance, configuration.

Depends on numpy, msgspec, jaxtyping and the standard library only.
"""
