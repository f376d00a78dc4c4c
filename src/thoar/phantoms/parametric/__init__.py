"""The parametric thorax: shapes in millimetres, carved part by part into a map of structures.

Each part of the body has its module; ``thorax`` puts them together.
"""
