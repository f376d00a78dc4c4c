"""Training of the networks: cases, augmentation, losses, the two stages, checkpoints, run folders."""
