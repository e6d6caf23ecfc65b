"""Imported once by the process that starts the loader's workers, and by nothing else.

A signal that asks the run to stop may reach every process of it. The training process needs new workers for a last
batch perhaps; this process ends when the training process does, whose end closes the pipe between them. A worker is
born with what this process ignores, so that a signal cannot end it before it has looked after itself.
"""

import signal

from videopool.data import dataset  # noqa: F401  # so that workers start with everything imported

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
