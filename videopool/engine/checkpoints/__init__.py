"""Write, verify and find checkpoints, and repeat a failed step."""
