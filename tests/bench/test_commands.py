"""How a bench command ends."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil

BENCH = """
import sys, time
from pathlib import Path
import typer
from bench.commands import blocking, saving
from bench.processes import free_port, server

app = typer.Typer(callback=saving)

def run(*, progress):
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with server(command, ready=f"http://127.0.0.1:{port}", log=Path(sys.argv[2])) as pid:
        print(pid, flush=True)
        time.sleep(60)

@app.command()
def measure(log: str) -> None:
    blocking("steps", run, as_json=True)

@app.command()
def other() -> None: ...

app()
"""


def test_a_bench_that_is_told_to_end_leaves_no_server_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BENCH, "measure", str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as bench:
        assert bench.stdout is not None
        server = int(bench.stdout.readline())
        assert psutil.pid_exists(server)
        bench.send_signal(signal.SIGTERM)
        assert bench.wait(30) != 0
    assert not psutil.pid_exists(server)
