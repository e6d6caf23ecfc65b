"""Child processes: the fork server that starts them, a pool of workers that can be killed, locks, cores and threads."""
