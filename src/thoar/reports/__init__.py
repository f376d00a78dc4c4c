"""Result, run and finding files as pages that a browser shows without a network.

Each page is one HTML file in our own plain markup (``page``) with plots as inline SVG (``plots``). A report
computes no metric, and says what is missing instead of failing.
"""
