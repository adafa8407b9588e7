"""A child of a killed parent ends."""

import os
import select
import signal
import subprocess
import sys

CHILD = """
import threading
from serving.engine.lifeline import end_with_parent
end_with_parent(0.05)
print("watching", flush=True)
threading.Event().wait(60)
"""
PARENT = """
import subprocess, sys
with subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True) as child:
    print(child.pid, child.stdout.readline(), flush=True)
    child.wait()
"""


def test_a_process_ends_when_its_parent_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline().split()[0])
        pidfd = os.pidfd_open(child_pid)
        parent.send_signal(signal.SIGKILL)
    ended = _ended_within(pidfd, 20.0)
    os.close(pidfd)
    assert ended


def _ended_within(pidfd: int, timeout_s: float) -> bool:
    """A process's descriptor becomes readable when it ends."""
    readable, _, _ = select.select([pidfd], [], [], timeout_s)
    return bool(readable)
