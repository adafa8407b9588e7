"""Derived profiles against what others measured on the same card and model: `python -m bench.simulator.published`."""

import asyncio
import random
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.simulator.loads import Load, drive, figures, story
from bench.simulator.model import SimulatedModel
from bench.simulator.profile import PROFILES, Profile, load_profile
from bench.simulator.timing import VirtualLoop

WAVES = 3
"""Requests a caller sends: the published runs sent more, which changes nothing once the callers have drifted apart."""


@dataclass(frozen=True, slots=True)
class Published:
    """One row: a closed loop, the median time between tokens (seconds; not always told) and output tokens per second.
    `used`: the roofline's shares were read off it."""

    profile: str
    input_tokens: int
    output_tokens: int
    at_once: int
    output_tokens_per_s: float
    used: bool
    source: str
    itl_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """Simulated over published."""

    row: Published
    itl: float | None
    output_tokens_per_s: float


def rows() -> list[Published]:
    document = tomllib.loads(PROFILES.joinpath("gpus.toml").read_text(encoding="utf-8"))
    return [Published(**row) for row in document["published"]]


def ratios(wanted: list[Published] | None = None) -> Iterator[Ratio]:
    """Simulate every row's load, in virtual time."""
    for row in wanted if wanted is not None else rows():
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            seen = runner.run(drive(SimulatedModel(_roomy(row)), _load(row)))
        found = figures(seen)
        yield Ratio(
            row,
            found.itl_p50_s / row.itl_s if row.itl_s else None,
            found.tokens_per_s / row.output_tokens_per_s,
        )


def _load(row: Published) -> Load:
    rng = random.Random(row.at_once)
    asks = tuple(story(rng, row.input_tokens, row.output_tokens) for _ in range(row.at_once * WAVES))
    return Load(row.profile, asks, row.at_once)


def _roomy(row: Published) -> Profile:
    """vLLM gives an H100 four times the places of smaller cards by default."""
    return load_profile(row.profile).with_limits(max_num_seqs=1024 if row.profile.startswith("h100") else 256)


if __name__ == "__main__":
    table = Table(title="Simulated / published", title_justify="left")
    for column in ("profile", "in/out", "callers", "time between tokens", "output tokens/s", "used"):
        table.add_column(column)
    for ratio in ratios():
        row = ratio.row
        itl = "" if ratio.itl is None else f"{ratio.itl:.2f}"
        shape = f"{row.input_tokens}/{row.output_tokens}"
        used = "yes" if row.used else ""
        table.add_row(row.profile, shape, str(row.at_once), itl, f"{ratio.output_tokens_per_s:.2f}", used)
    Console(width=120).print(table)
