"""Finds the python3.11 of this machine that runs Python code fastest.

A desk's time goes into the interpreter, and builds of one version differ: Debian's is built with profiles and linked whole,
one that pyenv compiled with its defaults is neither.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

NAME: Final = "python3.11"
ROUNDS: Final = 3
MARGIN: Final = 1.1  # times as fast as the one that runs this, or that one stays

PROBE: Final = """
import ensurepip, json, ssl, sqlite3, sys, sysconfig, time, venv
from pathlib import Path

class Point:
    def __init__(self, x):
        self.x = x
    def plus(self, y):
        return self.x + y

def work():
    began, kept = time.process_time(), {}
    for number in range(20_000):
        point = Point(number)
        kept[number % 997] = point.plus(number)
        text = f"{number}:{point.x}"
        parts = [part for part in (text, number, point)]
    return time.process_time() - began

fit = sys.version_info[:2] == (3, 11) and Path(sysconfig.get_path("include"), "Python.h").exists()
print(json.dumps({"executable": sys.executable, "seconds": min(work() for _ in range(5)) if fit else None}))
"""
"""Fit is what can make an environment and has the headers that the engine compiles its kernels against."""


def fastest(path: str) -> Path:
    """The executable to build an environment with: the one that runs this, unless another on `path` is clearly faster."""
    own = Path(sys.executable).resolve()
    seconds = measured([own, *on_path(path)])
    best = min(seconds, key=seconds.__getitem__, default=own)
    return best if own not in seconds or seconds[own] >= MARGIN * seconds[best] else own


def measured(candidates: Iterable[Path]) -> dict[Path, float]:
    """CPU seconds of the same work in each that is fit, by the executable behind it. In turns, so that a machine that
    changes its pace does so for all."""
    seconds: dict[Path, float] = {}
    rest = list(dict.fromkeys(candidates))
    for _ in range(ROUNDS):
        for candidate in rest:
            if (told := probe(candidate)) is not None:
                executable, took_s = told
                seconds[executable] = min(took_s, seconds.get(executable, took_s))
    return seconds


def on_path(path: str) -> Iterator[Path]:
    for folder in path.split(os.pathsep):
        if folder and os.access(file := Path(folder, NAME), os.X_OK):
            yield file.resolve()


def probe(candidate: Path) -> tuple[Path, float] | None:
    """The executable behind `candidate`, and what the work took there; None where it is not fit."""
    try:
        done = subprocess.run([candidate, "-c", PROBE], capture_output=True, timeout=60, check=True)
        told = json.loads(done.stdout)
        return (Path(told["executable"]).resolve(), float(told["seconds"])) if told["seconds"] is not None else None
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
