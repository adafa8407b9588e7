"""CPU and memory of processes, from outside."""

import subprocess
import sys
import time

import pytest

from bench.load.watch import Watch, spent
from bench.processes import free_port

# a listener whose child works for half a second of CPU, tells, and ends
PARENT = """
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
child = subprocess.Popen([sys.executable, "-c", sys.argv[2]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("worked", flush=True)
sys.stdin.readline()
child.communicate(b"")
print("gone", flush=True)
sys.stdin.readline()
"""
CHILD = "import sys, time\nwhile time.process_time() < 0.5: pass\nprint('worked', flush=True)\nsys.stdin.readline()"


def test_what_children_spent_counts_also_after_they_ended() -> None:
    port = free_port()
    command = [sys.executable, "-c", PARENT, str(port), CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "worked\n"
        watch = Watch.of(f"http://127.0.0.1:{port}", time.monotonic)
        before = watch.use()
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "gone\n"
        after = watch.use()
        process.stdin.close()
    assert sum(before.cpu_s.values()) >= 0.4
    assert before.rss() > after.rss() > 0
    assert sum(after.cpu_s.values()) >= sum(before.cpu_s.values())
    assert set(spent(before, after)) == {"other"}


def test_an_address_nobody_listens_on_has_no_processes() -> None:
    with pytest.raises(LookupError, match="listens"):
        Watch.of(f"http://127.0.0.1:{free_port()}", time.monotonic)
