"""Average precision by its definition, in quadratic time."""

from __future__ import annotations


def slow_precision(scores: list[float], positive: list[bool]) -> float:
    """For each positive, the part of positives among all that score as high or higher; the mean of that."""
    parts = []
    for own, hit in zip(scores, positive, strict=True):
        if hit:
            above = [other for score, other in zip(scores, positive, strict=True) if score >= own]
            parts.append(sum(above) / len(above))
    return sum(parts) / len(parts)
