"""Imported by the fork server of `bnexp.sweeps.pool` and by nothing else: its forks have then loaded torch.

The server is started with SIGINT blocked. From here on a Ctrl-C ends it without a word: its sweep says all
there is to say. Workers ignore it (`bnexp.sweeps.worker.begin`).
"""

from __future__ import annotations

import gc
import os
import signal

from bnexp.sweeps.worker import load

launcher = os.getppid()
signal.signal(signal.SIGINT, lambda number, frame: os._exit(1))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
load()
gc.freeze()  # a collection in a fork would touch, and so copy, all memory that it shares
if os.getppid() != launcher:  # it has died, and whoever asked for a fork with it
    os._exit(1)
