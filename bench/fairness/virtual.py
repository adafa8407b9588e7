"""A crowd in virtual time: the real admission and brown-out over the simulated engine, without HTTP, database and CPU. Hours
of traffic in a minute, the same on every machine: what is left is the algorithm."""

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from agents.domain.brownout import Brownout
from agents.domain.errors import ModelFailure, Overloaded
from agents.ports import Message, ModelRequest
from bench.fairness.load import PATIENCE_S, TENANTS, Round, Turn, arrivals
from bench.simulator.model import SimulatedModel
from bench.simulator.profile import load_profile
from serving.admission.admission import Permit
from serving.admission.tickets import Ticket
from serving.settings import Settings
from serving.wiring import Door, open_door

WORDS = ("the", "order", "parcel", "late", "please", "where", "is", "my", "label", "door", "mug", "lamp", "red", "blue", "cat")
SURE_SHARE = 0.7  # of messages, that retrieval could plan alone


class LoopClock:
    """The loop's own time as a `Clock`."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def words(count: int, rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=count))


PLAN_PREFIX, DRAFT_PREFIX = words(600, random.Random(1)), words(150, random.Random(2))
"""As long as the demo pack's: what is shared between turns is in the engine's prefix cache."""


class VirtualCrowd:
    """Implements `load.Crowd` on a `VirtualLoop`. A turn is a plan of 6 tokens, then a draft of 8 to 20, as far as its level of
    brown-out lets it."""

    def __init__(self, profile: str, settings: Settings) -> None:
        self._model = SimulatedModel(load_profile(profile))
        self._door: Door = open_door(settings, LoopClock())
        self._rng = random.Random(3)

    async def come(self, rates: Mapping[str, float], seconds: float, rng: random.Random, *, deadline_s: float) -> Round:
        loop = asyncio.get_running_loop()
        began, tasks = loop.time(), []
        for at, tenant in arrivals(rates, seconds, rng):
            await asyncio.sleep(max(0.0, began + at - loop.time()))
            tasks.append(asyncio.create_task(self._turn(tenant, deadline_s)))
        return Round(await asyncio.gather(*tasks), seconds)

    async def saturate(self, at_once: int, seconds: float) -> float:
        loop, answered = asyncio.get_running_loop(), 0
        half, end = loop.time() + seconds / 2, loop.time() + seconds

        async def one(tenant: str) -> None:
            nonlocal answered
            while loop.time() < end:
                turn = await self._turn(tenant, PATIENCE_S)
                answered += turn.status == 200 and half <= loop.time() < end
                if turn.status != 200:
                    await asyncio.sleep(turn.retry_after_s)

        await asyncio.gather(*(one(TENANTS[number % len(TENANTS)]) for number in range(at_once)))
        return answered / (seconds / 2)

    async def _turn(self, tenant: str, deadline_s: float) -> Turn:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            permit = await self._door.admission.enter(Ticket(tenant, deadline_s=deadline_s))
        except Overloaded as refused:
            return Turn(tenant, 429, loop.time() - began, retry_after_s=refused.retry_after_s)
        level = self._door.brown_out.level(tenant)
        try:
            await self._work(permit, level)
        except ModelFailure:
            return Turn(tenant, 503, loop.time() - began, int(level))
        finally:
            permit.leave(level=level)
        return Turn(tenant, 200, loop.time() - began, int(level))

    async def _work(self, permit: Permit, level: Brownout) -> None:
        rng = self._rng
        plans = level < Brownout.WORDING or (level is Brownout.WORDING and rng.random() > SURE_SHARE)
        if plans:
            await self._generate(permit, PLAN_PREFIX, rng.randint(80, 220), 6)
        else:
            permit.spend(prompt=0, completion=0)
        if level < Brownout.ONE_CALL:
            await self._generate(
                permit, DRAFT_PREFIX, rng.randint(20, 60), rng.randint(8, 20 if level is Brownout.NORMAL else 14)
            )

    async def _generate(self, permit: Permit, prefix: str, own: int, tokens: int) -> None:
        messages = (Message("system", prefix), Message("user", words(own, self._rng)))
        result = await self._model.generate(ModelRequest(messages, max_tokens=tokens, deadline_s=20.0))
        permit.spend(prompt=result.prompt_tokens, completion=result.completion_tokens, cached=result.cached_tokens)
