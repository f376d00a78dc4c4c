"""The network of the paper, one file per box of its figure 1: tensors in, tensors out.

Only ``nn.Module``s and their composition. No device choice, no files, no loss, no millimetres.
"""
