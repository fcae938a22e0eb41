"""What a worker has loaded before its first job, and what Ctrl-C does to it until then."""

from __future__ import annotations

import gc
import importlib
import os
import signal

# What a job needs sooner or later; the last two draw its confusion matrix.
MODULES = ("bnexp.experiment.run", "matplotlib.figure", "matplotlib.backends.backend_agg")

signal.signal(signal.SIGINT, lambda number, frame: os._exit(1))  # without a word: its sweep says all
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
for name in MODULES:
    importlib.import_module(name)
gc.freeze()  # joblib collects after each job, which took longer than to start the next
