"""The precision a model runs in on this machine's CPU.

What the catalogue wants, INT8 or bfloat16, has a quarter or half of float32's bytes to read for every token. It pays only where
the CPU multiplies such numbers by instructions of its own (AVX-512, AVX-VNNI). On an x86 CPU without either, oneDNN sums up
every INT8 weight of a layer anew in each call and reads prompts in bfloat16 slowly: a model kept in float32 is the faster one
(`python -m bench.engine_tune catalogued` measures it).
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final, Literal

from serving.models.catalog import Entry

Precision = Literal["catalogued", "float32"]

NARROW: Final = frozenset({"avx512f", "avx_vnni"})
CPUINFO: Final = Path("/proc/cpuinfo")


@cache
def suited(cpuinfo: Path = CPUINFO) -> Precision:
    """The faster precision here. The catalogue's where the CPU is not x86, or nothing is known of it."""
    told = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    flags = next((line.partition(":")[2].split() for line in told.splitlines() if line.startswith("flags")), None)
    return "catalogued" if flags is None or NARROW.intersection(flags) else "float32"


def in_precision(entry: Entry, precision: Precision) -> Entry:
    """The entry for a CPU that computes in `precision`; the same where the model is none for CPUs."""
    if precision == "catalogued" or "cpu" not in entry.engine:
        return entry
    recipe = "none" if entry.recipe == "int8-w8a8" else entry.recipe
    return replace(entry, recipe=recipe, engine={**entry.engine, "cpu": {**entry.engine["cpu"], "dtype": "float32"}})
