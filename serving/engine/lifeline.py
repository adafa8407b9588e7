"""Ends this process when the one that started it is gone.

vLLM's engine process outlives a parent that was killed, with its weights and KV cache in memory: after a few crashes the
machine would be full of engines nobody can reach.
"""

import os
import signal
import threading
from typing import Final

CHECK_EVERY_S: Final = 1.0


def end_with_parent(check_every_s: float = CHECK_EVERY_S) -> threading.Thread:
    """Start the watch: a daemon thread that ends this process (SIGTERM, then at once) when its parent has changed."""
    parent = os.getppid()

    def watch() -> None:
        gone = threading.Event()
        while os.getppid() == parent:
            gone.wait(check_every_s)
        os.kill(os.getpid(), signal.SIGTERM)
        gone.wait(5 * check_every_s)
        os._exit(1)

    thread = threading.Thread(target=watch, name="lifeline", daemon=True)
    thread.start()
    return thread
