"""From folders of predictions and references to one results file: pairing, scoring, statistics.

No rendering, no torch: tables are numbers here, ``cli`` and ``reports`` make text of them.
"""
