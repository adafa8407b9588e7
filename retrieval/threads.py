"""The threads searches and embeddings run in: as many as there are cores but one, first come, first served.

A search is all computing. With more of them at once each one takes as much longer, and whatever else the process does waits
behind them: the event loop, the database's thread. One after another, the first are done sooner and the last no later.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

AT_ONCE: Final = max(1, len(os.sched_getaffinity(0)) - 1)
_POOL: Final = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="search")  # cores are the process's: one pool for all of it


async def in_search_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `work` returns or raises, done in one of the threads, in the caller's context. A caller that is cancelled while it
    waits gives up its place."""
    ready = partial(copy_context().run, work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_POOL, ready)
