"""From videos to batches: data sets, loaders and their processes, and the way to the device."""
