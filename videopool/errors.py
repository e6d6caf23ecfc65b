"""What the user can mend. Apart from ``types``, so that a wrong key is answered without waiting for torch."""


class InputError(ValueError):
    """Something the user gave and can mend: one sentence with the value, what was expected, and the mend.

    The tools print the sentence and leave with exit code 2.
    """
