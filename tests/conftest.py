"""How a run of the tests ends."""

import atexit
import os
import sys

import pytest

_ended: list[pytest.Session] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    _ended.append(session)


@atexit.register  # before any library registers its own, so it comes after all of theirs
def _leave_with_the_verdict() -> None:
    """The native libraries that vLLM brings now and then crash while Python takes them down: a run whose tests had all passed
    ended in a segmentation fault."""
    if _ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(_ended[-1].exitstatus))
