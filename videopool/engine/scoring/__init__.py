"""Evaluation: scores of clips and videos, metrics, and the files of results."""
