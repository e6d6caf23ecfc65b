"""Faults of videos in a data set, which must affect no other video."""
