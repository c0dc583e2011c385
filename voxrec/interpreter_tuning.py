"""Settings of the Python interpreter that reduce the latency of calls while other threads work on audio."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Python's default of 5 ms is as long as the whole set-up of a call. A thread that works on audio delays the reactor by
# at most this time.
_THREAD_SWITCH_INTERVAL: Final = 0.0005  # seconds
# Collections of the middle generation between two full collections. Python's default of 10 caused one full collection
# per second under load, each of which visits all cached Profiles and blocks the reactor.
_FULL_COLLECTION_THRESHOLD: Final = 50


def set_thread_switch_interval() -> None:
    """Let the reactor's thread run again soon while another thread holds the interpreter lock."""
    sys.setswitchinterval(_THREAD_SWITCH_INTERVAL)


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Do not collect garbage meanwhile: an import creates tens of thousands of objects, and no garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def freeze_startup_objects() -> None:
    """Exclude all existing objects from garbage collection, and make full collections rarer.

    Call it once the daemon has started: modules, classes and services live as long as the process, and a full
    collection that visits them blocks the reactor for about 50 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _FULL_COLLECTION_THRESHOLD)
