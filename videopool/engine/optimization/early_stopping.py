"""Early stopping: the end of training when validation no longer improves."""

from __future__ import annotations

from videopool.ranges import ZERO_IS_OFF


class EarlyStopping:
    """Counts the validations in a row without a better score (Prechelt, "Early Stopping - But When?", 1998).

    Args:
        patience: training ends after this many; 0: never.

    Attributes:
        waited: validations since the best score; stored in checkpoints.
    """

    def __init__(self, patience: int) -> None:
        ZERO_IS_OFF.check("patience", patience)
        self.patience = patience
        self.waited = 0

    def note(self, improved: bool) -> None:
        """Count a validation; ``improved``: its score is the best so far."""
        self.waited = 0 if improved else self.waited + 1

    @property
    def due(self) -> bool:
        """Whether training should end now."""
        return 0 < self.patience <= self.waited
