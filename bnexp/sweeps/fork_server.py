"""Imported by the process that workers are forked from, and by no other; see `bnexp.sweeps.warm`.

It ends with the launcher that started it, and its forks with it, also those that were never given a job: the
pipes by which fork servers and pools see the end are held open by the forks themselves.
"""

from __future__ import annotations

import importlib
import os
import threading
import time

from bnexp.sweeps.worker import LOOK_S, end_with_parent


def _follow(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(LOOK_S)
    os._exit(1)


threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
os.register_at_fork(after_in_child=end_with_parent)
importlib.import_module("bnexp.sweeps.loaded")
