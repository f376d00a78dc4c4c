"""Synthetic chest CTs with exact labels, each from a parameter record that is drawn first and then applied.

Two sources: a parametric thorax, and deformed, re-contrasted copies of one labelled real scan.
"""
