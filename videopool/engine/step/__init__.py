"""A training step: its clips, gradient, statistics and random numbers, and changes to the network for training."""
