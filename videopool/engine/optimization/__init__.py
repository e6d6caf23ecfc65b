"""Optimizers, groups of parameters, schedules and losses."""
