"""Runs pip and says in a few lines what it is doing: how far it is, every large download, every warning that matters."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

LARGE_MB: Final = 20.0
REPORT_EVERY_S: Final = 5.0
_COLLECTING = re.compile(r"Collecting (\S+)")
_DOWNLOADING = re.compile(r"\s*(?:Downloading|Using cached) (\S+) \(([\d.]+) (kB|MB|GB)\)")
_NOISE = re.compile(
    r"WARNING: Location '\S+' is ignored: it is neither a file nor a directory\.|WARNING: Running pip as the 'root' user"
)


def condense(lines: Iterator[str], total: int, now: Sequence[float] | None = None) -> Iterator[str]:
    """Pip's lines in, the lines worth reading out. `total` is how many packages are expected.

    A configured index that lacks a package is pip's business, and so is being root in a container: those two warnings are
    dropped; every other warning and error passes."""
    seen, reported_at = 0, 0.0
    clock = iter(now) if now is not None else iter(time.monotonic, None)
    for line in lines:
        if _COLLECTING.match(line):
            seen += 1
            moment = next(clock)
            if moment - reported_at >= REPORT_EVERY_S or seen == total:
                reported_at = moment
                yield f"  found {seen} of {total} packages"
        elif (large := _DOWNLOADING.match(line)) and _megabytes(large) >= LARGE_MB:
            yield f"  downloading {Path(large[1]).name} ({large[2]} {large[3]})"
        elif line.startswith("Installing collected packages"):
            yield f"  installing {line.count(',') + 1} packages; this takes a minute or two"
        elif line.startswith(("WARNING", "ERROR", "error", "DEPRECATION")) and not _NOISE.match(line):
            yield f"  {line}"


def _megabytes(match: re.Match[str]) -> float:
    return float(match[2]) * {"kB": 0.001, "MB": 1.0, "GB": 1000.0}[match[3]]


def run(command: Sequence[str], total: int, log: Path) -> tuple[int, str]:
    """Run pip, print the condensed output, keep all of it in `log`. Returns its exit status and its whole output."""
    whole: list[str] = []

    def read(stream: Iterator[str]) -> Iterator[str]:
        for line in stream:
            whole.append(line)
            yield line.rstrip("\n")

    # Open handles stay open in pip: one of them is the lock that says a set-up is at work.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", close_fds=False
    ) as process:
        assert process.stdout is not None, "it was opened as a pipe"
        for line in condense(read(iter(process.stdout)), total):
            print(line, flush=True, file=sys.stderr)
    log.write_text("".join(whole), encoding="utf-8")
    return process.returncode, "".join(whole)
