"""Preparing a data set: scanning it into a manifest, splitting, describing, transcoding and verifying it."""
