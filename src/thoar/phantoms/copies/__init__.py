"""Copies of one labelled real CT: its own values under another contrast phase, with other contents."""
