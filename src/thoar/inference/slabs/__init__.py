"""The network once more, for inference alone: the same weights and results, layer by layer in slabs of z.

A map's convolution is stored before its norm, whose mean and variance are known only when all of it is there;
norm and ReLU happen when the next layer asks for rows. So every map is written once and read once or twice,
in pieces that stay in the processor's cache, and the stem, the largest map of all, is never stored:
it is computed again wherever it is asked for. ``thoar.network`` is the reference truth.
"""
