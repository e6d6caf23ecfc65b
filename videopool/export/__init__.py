"""Trained networks for use elsewhere: weights (safetensors) and programs (torch.export)."""
