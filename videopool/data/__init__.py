"""From video files to batches: lists, sampling in time and space, decoding, data sets and loaders."""
