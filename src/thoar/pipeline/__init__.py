"""One case end to end: read, predict, write, verify, and the run record.

The only meaning of "segment this case" in the project; every door calls it.
"""
