"""Training, evaluation and what they stand on: schedule, checkpoints, processes, logs. ``build`` reads the config."""
