"""Prepare a data set: scan, split, describe, transcode, verify and export it."""
