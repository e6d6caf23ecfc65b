"""Average precision by definition, in quadratic time."""

from __future__ import annotations


def slow_precision(scores: list[float], positive: list[bool]) -> float:
    """Return the mean over the positives of the fraction of positives among all that score at least as high."""
    parts = []
    for own, hit in zip(scores, positive, strict=True):
        if hit:
            above = [other for score, other in zip(scores, positive, strict=True) if score >= own]
            parts.append(sum(above) / len(above))
    return sum(parts) / len(parts)
