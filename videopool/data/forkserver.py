"""Imported once by the process that starts the loader's workers, and by nothing else.

A signal that asks the run to stop may reach every process of it. The training process needs new workers for a last
batch perhaps; this process ends when the training process does, whose end closes the pipe between them.
"""

import signal

from videopool.data import dataset  # noqa: F401  # so that workers start with everything imported

signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
