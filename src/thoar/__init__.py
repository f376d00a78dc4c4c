"""Contours of the thoracic organs at risk."""
