"""Memory in a process that serves: what was loaded is looked at no more by Python's collector, and what comes, less often.

What it saves shows in `keepword bench cost` with and without it.
"""

import ctypes
import gc
from contextlib import suppress
from typing import Final

THRESHOLDS: Final = (5_000, 10, 10)
"""Objects more than at the last look (700 in CPython), and looks between looks at older ones. Nearly all that a turn makes dies
with it, without the collector."""


def settle() -> None:
    """Call once when everything is loaded: packs, index and modules stay for good, and are never gone through again. What
    loading needed for a while goes back to the system."""
    gc.collect()
    with suppress(AttributeError):  # another C library than glibc keeps nothing back
        ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
