"""`keepword eval packs`: is every mistake planted into a pack told with its file and line, and a sound pack left in peace?"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from agents.domain.errors import Mistake, PackInvalid
from agents.packs.loader import HOME, load_pack
from bench.planted import PLANTS, Plant
from bench.result import BenchResult, bar


def run(*, seed: int = 0, quick: bool = False, progress: Callable[[int, int], None] | None = None) -> BenchResult:
    """All plants; quick: those of the small pack."""
    plants = [plant for plant in PLANTS if not quick or plant.pack == "starter"]
    sound = sorted(path.parent.name for path in HOME.glob("*/pack.toml"))
    missed, elsewhere, echoes = list[str](), list[str](), 0
    with TemporaryDirectory(prefix="keepword-packs-") as name:
        for number, plant in enumerate(plants):
            root = Path(name) / f"{plant.pack}{number}"
            expected = _plant(plant, root)
            told = [(mistake.file, mistake.line) for mistake in _mistakes(root)]
            what = f"{plant.kind}: {plant.file}: {plant.new[:60]!r}"
            if not told:
                missed.append(what)
            elif expected not in told:
                elsewhere.append(f"{what} at {expected}, told at {told}")
            echoes += max(len(set(told)) - 1, 0)
            if progress is not None:
                progress(number + 1, len(plants))
    alarms = {pack: [str(mistake) for mistake in _mistakes(HOME / pack)] for pack in sound}
    found = len(plants) - len(missed) - len(elsewhere)
    return BenchResult(
        "eval packs",
        {
            "planted": bar(len(plants), None),
            "found_with_file_and_line": bar(found, len(plants), ">="),
            "false_alarms": bar(sum(map(len, alarms.values())), 0),
        },
        {
            "kinds": dict(Counter(plant.kind for plant in plants)),
            "sound_packs": sound,
            "alarms": alarms,
            "missed": missed,
            "told_elsewhere": elsewhere,
            "further_places_told": echoes,
        },
    )


def _mistakes(root: Path) -> Sequence[Mistake]:
    try:
        load_pack(root, thorough=True)
    except PackInvalid as error:
        return error.mistakes
    return ()


def _plant(plant: Plant, root: Path) -> tuple[str, int]:
    """A copy of the pack with the mistake in it; where it must be told. Raises ValueError when it does not fit the pack."""
    shutil.copytree(HOME / plant.pack, root, ignore=shutil.ignore_patterns("__pycache__"))
    path = root / plant.file
    text = path.read_text(encoding="utf-8")
    if plant.old not in text:
        raise ValueError(f"{plant.file} of {plant.pack} holds no {plant.old!r}")
    path.write_text(text.replace(plant.old, plant.new), encoding="utf-8")
    told_in = plant.told_in or plant.file
    lines = (root / told_in).read_text(encoding="utf-8").splitlines()
    return told_in, next(number for number, line in enumerate(lines, 1) if plant.at in line)
