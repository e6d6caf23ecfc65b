"""From videos to batches: data sets, loaders and their worker processes, and the copy to the device."""
