"""The recipe of the shipped models, in parts: what is asked for, the cases, their sources, the bundle."""
