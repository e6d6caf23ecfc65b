"""Errors that the user can fix. This module imports nothing, so that they are reported without waiting for torch."""


class InputError(ValueError):
    """Something that the user gave is wrong.

    The message is one or two sentences: the value, what is wrong with it, and what to do. The command line prints them
    and exits with code 2.

    Args:
        message: the sentences, which name arguments of Python, not keys of a configuration or options of a command.
        setting: the argument at fault, e.g. ``"root"``. The command line adds the key or option that sets it.
    """

    def __init__(self, message: str, *, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting
