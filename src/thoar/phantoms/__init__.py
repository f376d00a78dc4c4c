"""Synthetic chest CTs with exact labels, each from a parameter record that is drawn first and then applied.

Three sources: a parametric thorax, bodies of a label map, and re-contrasted copies of a labelled real scan.
"""
