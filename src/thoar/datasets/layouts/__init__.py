"""How others lay out labelled scans: each layout read into a data set, and two of them written."""
