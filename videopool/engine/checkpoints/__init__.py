"""Checkpoints: written, verified, found again, and the repetition of a failed step."""
