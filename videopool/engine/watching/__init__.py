"""What a run shows: its log, trackers, the time of its steps, advice and profiles."""
