"""`keepword eval exactly-once`: real processes killed at every step of a write, answers lost, late and doubled, two databases.

One trial is one customer's confirmed refund, or a coupon and a cancellation in one offer: a process serves it and dies (or its
tool misbehaves), a second process recovers, and in half the trials the customer says yes once more. The shop's own database
tells how often the money moved. `bench.once_judge` says whether that is right.
"""

import asyncio
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import create_engine, text

from agents.domain.errors import EngineUnavailable
from agents.domain.events import OfferMade
from agents.domain.pack import Pack
from agents.domain.words import Act
from agents.packs.loader import load_pack, tools_module
from agents.packs.shop.shop import open_shop
from agents.ports import ModelRequest, ToolCall
from agents.recovery import TRIES
from agents.tools.backoffice import PackBackOffice
from bench.faults import FAULTS, STEPS, STEPS_OF_SEVERAL, UNDO, Fault, FaultyOffice, SteppedStore, Steps, watch_tool
from bench.once_judge import Ended, Trial, result
from bench.postgres import running_postgres
from bench.result import BenchResult
from serving.embedded import EmbeddedDesk
from serving.scripted import ScriptedModel, TableRetriever
from serving.settings import Settings
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from serving.stores.tables import metadata

BROKEN, CANCEL, YES = "my mugs came broken, KW-1042", "cancel KW-1121", "yes please"
TABLE = {
    BROKEN: ("damaged_item", Act.ASKS),
    CANCEL: ("cancel_order", Act.ASKS),
    YES: ("damaged_item", Act.ACCEPTS),
}
SESSION = "ses_trial"
MOVED = {  # how often money moved: of the one write, or of each of the two
    False: ("SELECT count(*) FROM refunds WHERE order_id = 'KW-1042'",),
    True: (
        "SELECT count(*) FROM coupons WHERE order_id = 'KW-1121'",
        "SELECT count(*) FROM refunds WHERE order_id = 'KW-1121'",
    ),
}
TELLING_STEPS = frozenset(
    {
        "second write, tool: committed, answer not read",
        "second write, outcome: committed",
        "undoing, intent: not yet begun",
        "undoing, tool: committed, answer not read",
    }
)
BREAKING: Sequence[tuple[Fault, Fault]] = (  # what the second write, and the undoing of the first, meet
    ("refused", "none"),
    ("lost", "none"),
    ("refused", "refused"),
    ("failed", "lost"),
    ("blind", "none"),
    ("refused", "failed"),
    ("refused", "blind"),
)
RECOVERED_AFTER_S = 100.0  # the second process comes when the first one's lease has run out


@dataclass
class TrialClock:
    """The real time, set ahead."""

    ahead_s: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    def monotonic(self) -> float:
        return time.monotonic()

    async def pause(self, seconds: float) -> None:
        self.ahead_s += seconds


@dataclass(frozen=True)
class Place:
    """Where trials of one database run: `url` empty is SQLite in the trial's own folder."""

    url: str
    folder: Path
    pack: Pack = field(default_factory=lambda: load_pack("shop"))

    def reset(self) -> None:
        """As if nothing had ever been said here."""
        trial = self.folder / "trial"
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(self.folder / "template", trial)
        if self.url:
            engine = create_engine(self.url)
            with engine.begin() as connection:
                connection.execute(text("TRUNCATE " + ", ".join(metadata.tables)))
            engine.dispose()

    def moved(self, trial: Trial) -> tuple[int, ...]:
        with sqlite3.connect(self.folder / "trial" / "pack-shop" / "shop.db") as shop:
            return tuple(int(shop.execute(query).fetchone()[0]) for query in MOVED[trial.several])

    async def make(self) -> None:
        """Both databases once, to copy from."""
        retriever, folder = TableRetriever(self.pack, {}), self.folder / "template"
        async with EmbeddedDesk.open(
            self.pack, model=ScriptedModel(_silent), data_dir=folder, store=self.url or None, retriever=retriever
        ):
            pass


def run(*, seed: int = 0, quick: bool = False, progress: Callable[[int, int], None] | None = None) -> BenchResult:
    """1,000 trials on each database, the two side by side; quick: every step and every fault once."""
    trials = plan(random.Random(seed), 0 if quick else 1000)
    with TemporaryDirectory(prefix="keepword-once-") as name, running_postgres(Path(name)) as plain:
        url = Settings.load(database_url=plain).store_url
        places = {"sqlite": ("", Path(name) / "a"), "postgresql": (url, Path(name) / "b")}
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            jobs = {each: pool.submit(campaign, *place, trials) for each, place in places.items()}
            ended = {each: job.result() for each, job in jobs.items()}
        if progress is not None:
            progress(2, 2)
    return result(ended)


def plan(rng: random.Random, count: int) -> list[Trial]:
    """At least one trial of every kind, filled up to `count` with kinds drawn at random; of offers of several writes only the
    steps most unlike each other where `count` is 0."""
    once = [Trial(step) for step in STEPS] + [Trial(None, fault) for fault in FAULTS]
    once += [Trial("call: about to be sent", lands_later=True), Trial(None, "lost", idempotent=False)]
    once += [_of_several(step) for step in STEPS_OF_SEVERAL if count or step in TELLING_STEPS]
    once += [Trial(None, several=True, second=second, undoing=undoing) for second, undoing in BREAKING[: None if count else 3]]
    drawn: list[Trial] = []
    while len(once) + len(drawn) < count:
        drawn.append(_drawn_of_several(rng) if rng.random() < 0.4 else _drawn(rng))
    return once + drawn


def _drawn(rng: random.Random) -> Trial:
    if rng.random() < 0.7:
        later = rng.random() < 0.1
        step = "call: about to be sent" if later else rng.choice(STEPS)
        return Trial(step, "none", later or rng.random() < 0.75, rng.random() < 0.5, later)
    return Trial(None, rng.choice(FAULTS), rng.random() < 0.75, rng.random() < 0.5)


def _drawn_of_several(rng: random.Random) -> Trial:
    sure, again = rng.random() < 0.75, rng.random() < 0.5
    if rng.random() < 0.7:
        return replace(_of_several(rng.choice(STEPS_OF_SEVERAL)), idempotent=sure, again=again)
    first, second, undoing = (rng.choice(("none", *FAULTS, "refused", "failed")) for _ in range(3))
    return Trial(None, first, sure, again, several=True, second=second, undoing=undoing)


def _of_several(step: str) -> Trial:
    """A trial killed at `step`; where that is in the undoing, the second write has to fail."""
    return Trial(step, several=True, second="refused" if step.startswith(UNDO) else "none")


def campaign(url: str, folder: Path, trials: Sequence[Trial]) -> list[Ended]:
    """Run trials one after the other; call it in a process without threads, because it forks."""
    place = Place(url, folder)
    _in_child(place.make)
    return [_one(place, trial) for trial in trials]


def _one(place: Place, trial: Trial) -> Ended:
    place.reset()
    report = place.folder / "report.json"
    report.unlink(missing_ok=True)
    code = _in_child(lambda: _serve(place, trial))
    if os.waitstatus_to_exitcode(code) not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a trial broke: {trial}")
    if os.waitstatus_to_exitcode(_in_child(lambda: _recover(place, trial, report))) != 0:
        raise RuntimeError(f"a recovery broke: {trial}")
    told = json.loads(report.read_text())
    statuses, moved = tuple(told["statuses"]), place.moved(trial)
    return Ended(trial, os.WIFSIGNALED(code), statuses, moved, told["handed_over"], told["recovery_s"])


def _in_child(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run `work` in a fork of this warm process; its wait status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    code = 1
    try:
        asyncio.run(work())
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


async def _serve(place: Place, trial: Trial) -> None:
    """The first process: an offer, a yes, and what the trial does to it."""
    steps = Steps()
    faults: list[Fault] = [trial.fault, trial.second, trial.undoing] if trial.several else [trial.fault]
    async with _desk(place, TrialClock(), steps, trial, faults) as (desk, office):
        await desk.start_session("C-023" if trial.several else "C-001", session_id=SESSION, locale="en")
        await desk.say(SESSION, CANCEL if trial.several else BROKEN)
        steps.armed = trial.step
        await desk.say(SESSION, YES)
        if office.landing:
            await asyncio.wait(office.landing)


async def _recover(place: Place, trial: Trial, report: Path) -> None:
    """The second process: recovery as at a start, then sweeps; perhaps a request of the dead process that lands only now, and
    another yes."""
    clock = TrialClock(RECOVERED_AFTER_S)
    async with _desk(place, clock, Steps(), trial, [], clock.pause) as (desk, office):
        office.blind = "blind" in (trial.fault, trial.second, trial.undoing)
        ledger, store = desk.rooms.ledger, desk.store
        before = await store.unsettled()
        began = time.perf_counter()
        await ledger.recover()
        recovery_s = time.perf_counter() - began
        for _ in range(TRIES):
            clock.ahead_s += 60.0
            await desk.rooms.recovery.sweep()
        if trial.lands_later:
            for record in before:
                call = ToolCall(record.customer_id, clock.now(), record.key)
                await office.inner.call(record.proposal.action, record.proposal.args, call)
        if trial.again:
            await desk.say(SESSION, YES)
        state, events = await desk.state(SESSION), await store.events(SESSION)
        offers = [stored.event.offer.id for stored in events if isinstance(stored.event, OfferMade)]
        told = {
            "statuses": [line.status.value for line in await store.lines(offers[0])],
            "handed_over": bool(state.handoffs),
            "recovery_s": recovery_s if before else 0.0,
        }
        await asyncio.to_thread(report.write_text, json.dumps(told))


@asynccontextmanager
async def _desk(
    place: Place,
    clock: TrialClock,
    steps: Steps,
    trial: Trial,
    faults: list[Fault],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[tuple[EmbeddedDesk, FaultyOffice], None]:
    trial_dir = place.folder / "trial"
    sql = await SqlStore.open(place.url or f"sqlite+aiosqlite:///{trial_dir}/keepword.db", clock, Signer("secret"))
    shop = await open_shop(trial_dir / "pack-shop")
    await watch_tool(shop.writer, steps)
    office = FaultyOffice(PackBackOffice(tools_module(place.pack.path), shop), steps, faults, trial.idempotent)
    try:
        async with EmbeddedDesk.open(
            place.pack,
            model=ScriptedModel(_silent),
            data_dir=trial_dir,
            store=SteppedStore(sql, steps, sql.engine),
            retriever=TableRetriever(place.pack, TABLE),
            back_office=office,
            clock=clock,
            pause=pause,
        ) as desk:
            yield desk, office
    finally:
        await shop.close()
        await sql.close()


def _silent(_request: ModelRequest) -> str:
    raise EngineUnavailable("no model in this evaluation")
