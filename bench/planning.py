"""`keepword eval planning`: does the planning agent name the right scenario, and does it invent nothing?

The messages in `bench/data/planning.*.jsonl` were written apart from the exemplars. Each is planned in a fresh session by the
whole planning agent; the same run also reports retrieval alone and the bare model (no exemplars, no retrieval).
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.domain.errors import ModelFailure
from agents.domain.pack import Pack
from agents.domain.session import SessionState
from agents.planning.grounding import normalise
from agents.planning.planner import Planned, Planner
from agents.planning.prompt import plan_request
from agents.ports import Model, Retriever
from bench.result import BenchResult, bar, quantile

MESSAGES = Path(__file__).parent / "data"
QUICK_SIZE = 40
AT_ONCE = 8
MIN_ACCURACY = 0.92


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled message. `slots` are the ids it names, normalised; `tags` say what is hard about it."""

    text: str
    locale: str
    scenario: str
    slots: dict[str, str]
    tags: tuple[str, ...]


def read_cases(folder: Path = MESSAGES) -> list[Case]:
    """Every case of `planning.*.jsonl` in `folder`, by file name."""
    lines = [line for path in sorted(folder.glob("planning.*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [json.loads(line) for line in lines if line.strip()]
    return [Case(row["text"], row["locale"], row["scenario"], row.get("slots", {}), tuple(row.get("tags", ()))) for row in rows]


@dataclass(frozen=True, slots=True)
class Outcome:
    case: Case
    planned: Planned
    bare: str | None  # the bare model's scenario, None when it was not asked or gave nothing
    elapsed_s: float


async def run(
    pack: Pack,
    model: Model,
    retriever: Retriever,
    *,
    seed: int = 0,
    quick: bool = False,
    bare: bool = True,
    folder: Path = MESSAGES,
    progress: Callable[[int, int], None] | None = None,
) -> BenchResult:
    """Plan every message (a seeded sample of 40 when `quick`) and count."""
    cases = read_cases(folder)
    if quick:
        cases = random.Random(seed).sample(cases, min(QUICK_SIZE, len(cases)))
    planner, gate = Planner(pack, model, retriever), asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(case: Case) -> Outcome:
        nonlocal done
        async with gate:
            state = SessionState(session_id="eval", pack=pack.name, locale=case.locale)
            began = asyncio.get_running_loop().time()
            planned = await planner.plan(state, case.text, locale=case.locale, deadline_s=120.0)
            elapsed = asyncio.get_running_loop().time() - began
            alone = await _bare(pack, model, state, case) if bare else None
        done += 1
        if progress is not None:
            progress(done, len(cases))
        return Outcome(case, planned, alone, elapsed)

    return _count(pack, await asyncio.gather(*(one(case) for case in cases)), bare=bare)


async def _bare(pack: Pack, model: Model, state: SessionState, case: Case) -> str | None:
    try:
        result = await model.generate(plan_request(pack, state, case.text, (), deadline_s=120.0))
    except ModelFailure:
        return None
    return next((s.id for s in pack.scenarios.values() if s.id == result.text.partition(" ")[0]), None)


def _count(pack: Pack, outcomes: Sequence[Outcome], *, bare: bool) -> BenchResult:
    def accuracy(chosen: Sequence[Outcome], said: Callable[[Outcome], str | None]) -> float:
        return round(sum(said(o) == o.case.scenario for o in chosen) / max(len(chosen), 1), 4)

    def whole(o: Outcome) -> str:
        return o.planned.plan.scenario

    def alone(o: Outcome) -> str:
        return max(o.planned.retrieved.scenarios, key=o.planned.retrieved.scenarios.__getitem__)

    invented = [o for o in outcomes if _invented(pack, o)]
    missed = [o for o in outcomes if o.case.slots.items() - o.planned.plan.slots.items() and whole(o) == o.case.scenario]
    by_locale = {code: [o for o in outcomes if o.case.locale == code] for code in pack.locales}
    by_tag: dict[str, list[Outcome]] = defaultdict(list)
    by_scenario: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_scenario[outcome.case.scenario].append(outcome)
        for tag in outcome.case.tags:
            by_tag[tag].append(outcome)
    fallback = sum(o.planned.plan.source == "retrieval" for o in outcomes)
    detail = {
        "messages": len(outcomes),
        "accuracy": {
            "agent": accuracy(outcomes, whole),
            "retrieval_alone": accuracy(outcomes, alone),
            **({"bare_model": accuracy(outcomes, lambda o: o.bare)} if bare else {}),
        },
        "by_locale": {code: accuracy(chosen, whole) for code, chosen in by_locale.items()},
        "by_tag": {tag: accuracy(chosen, whole) for tag, chosen in sorted(by_tag.items())},
        "by_scenario": {name: accuracy(chosen, whole) for name, chosen in sorted(by_scenario.items())},
        "ids_missed": len(missed),
        "planned_without_model": fallback,
        "plan_s": {"p50": round(quantile([o.elapsed_s for o in outcomes], 0.5), 3), "at_once": AT_ONCE},
        "wrong": [
            {"text": o.case.text, "said": whole(o), "is": o.case.scenario} for o in outcomes if whole(o) != o.case.scenario
        ],
    }
    bars = {
        "scenario_accuracy": bar(accuracy(outcomes, whole), MIN_ACCURACY, ">="),
        "invented_ids_or_amounts": bar(len(invented), 0),
    }
    return BenchResult("eval planning", bars, detail)


def _invented(pack: Pack, outcome: Outcome) -> bool:
    """True when a slot's digits stand nowhere in the message: checked on the raw text, not by the planner's own patterns."""
    digits = "".join(char for char in normalise(outcome.case.text) if char.isdigit())
    values = outcome.planned.plan.slots.values()
    return any("".join(char for char in value if char.isdigit()) not in digits for value in values)
