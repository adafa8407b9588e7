"""The precision a model runs in on this machine's CPU.

INT8 is what the catalogue wants: a quarter of float32's bytes to read for every token. It pays only where the CPU multiplies
bytes into wide sums by one instruction (AVX-512, AVX-VNNI). On an x86 CPU without either, oneDNN sums up every weight of a
layer anew in each call, and a model kept in float32 is the faster one (`python -m bench.engine_tune precision` measures it).
"""

from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from serving.models.catalog import Entry

Precision = Literal["int8", "float32"]

FAST_INT8: Final = frozenset({"avx512f", "avx_vnni"})
CPUINFO: Final = Path("/proc/cpuinfo")


def suited(cpuinfo: Path = CPUINFO) -> Precision:
    """The faster precision here. INT8 where the CPU is not x86, or nothing is known of it."""
    told = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    flags = next((line.partition(":")[2].split() for line in told.splitlines() if line.startswith("flags")), None)
    return "int8" if flags is None or FAST_INT8.intersection(flags) else "float32"


def in_precision(entry: Entry, precision: Precision) -> Entry:
    """The entry for a CPU that computes in `precision`; the same where nothing would be quantized for one."""
    if precision == "int8" or entry.recipe != "int8-w8a8" or "cpu" not in entry.engine:
        return entry
    return replace(entry, recipe="none", engine={**entry.engine, "cpu": {**entry.engine["cpu"], "dtype": "float32"}})
