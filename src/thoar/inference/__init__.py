"""Model bundles and the ``Predictor``: a volume in, every organ's own mask on the volume's grid out."""
