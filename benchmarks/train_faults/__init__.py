"""Faults in a training, whose run must end as if there had been none."""
