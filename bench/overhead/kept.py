"""What a run has measured, in a file: it outlives a run that is cut short, and a later one goes on from it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from agents.domain.errors import BadInput
from bench.overhead.figures import Measured, Pair


@dataclass
class Kept:
    """`about`: what must be the same for rounds to be of one run. `idle`: CPU seconds a second of a side nobody asks."""

    about: dict[str, str]
    idle: dict[str, float] = field(default_factory=dict)
    loads: list[Measured] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, about: Mapping[str, str]) -> Self:
        """Raises BadInput where there is no such file, it is not one of ours, or it is of another run."""
        hint = "Give --raw the file of a run that was cut short, or leave --resume out."
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError) as error:
            raise BadInput(f"{path} cannot be gone on from: {error}", field="raw", hint=hint) from error
        for name, value in about.items():
            if (was := kept.about.get(name)) != value:
                raise BadInput(f"{path} is of another run: its {name} is {was}, not {value}", field="raw", hint=hint)
        return kept

    @property
    def rounds(self) -> int:
        """How many are whole."""
        return max((one.round for one in self.loads), default=-1) + 1

    def write(self, path: Path) -> None:
        beside = path.with_name(f".{path.name}")
        beside.write_bytes(msgspec.json.encode(asdict(self)))
        beside.replace(path)
