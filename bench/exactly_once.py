"""`keepword eval exactly-once`: real processes killed at every step of a write, answers lost, late and doubled, two databases.

One trial is one customer's confirmed refund: a process serves it and dies (or its tool misbehaves), a second process recovers,
and in half the trials the customer says yes once more. The shop's own database tells how often the money moved.
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
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import create_engine, text

from agents.domain.errors import EngineUnavailable
from agents.domain.pack import Pack
from agents.domain.words import Act, ActionStatus
from agents.packs.loader import load_pack, tools_module
from agents.packs.shop.shop import open_shop
from agents.ports import ModelRequest, ToolCall
from agents.recovery import TRIES
from agents.tools.backoffice import PackBackOffice
from bench.faults import FAULTS, STEPS, Fault, FaultyOffice, SteppedStore, Steps, watch_tool
from bench.postgres import running_postgres
from bench.result import BenchResult, bar, quantile
from serving.embedded import EmbeddedDesk
from serving.scripted import ScriptedModel, TableRetriever
from serving.settings import Settings
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from serving.stores.tables import metadata

BROKEN, YES = "my mugs came broken, KW-1042", "yes please"
TABLE = {BROKEN: ("damaged_item", Act.ASKS), YES: ("damaged_item", Act.ACCEPTS)}
SESSION, CUSTOMER = "ses_trial", "C-001"
MONEY = "SELECT count(*) FROM refunds WHERE order_id = 'KW-1042'"
RECOVERED_AFTER_S = 100.0  # the second process comes when the first one's lease has run out


@dataclass(frozen=True, slots=True)
class Trial:
    """`step` None: the process lives. `lands_later`: the killed process's request reaches the tool after the recovery."""

    step: str | None
    fault: Fault = "none"
    idempotent: bool = True
    again: bool = False
    lands_later: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """What a trial came to. `status` is the ledger's ("" without a line), `moved` how often money did."""

    trial: Trial
    killed: bool
    status: str
    moved: int
    handed_over: bool
    recovery_s: float

    def wrong(self) -> str | None:
        """Why this is not exactly once; None when it is."""
        decided = int(self.status == ActionStatus.DONE.value)
        if self.status in (ActionStatus.UNKNOWN.value, ActionStatus.INTENDED.value):
            if self.moved > 1:
                return "moved twice"
            return None if self.handed_over else "left unknown"
        if self.moved != decided:
            return f"ledger says {self.status or 'nothing'}, money moved {self.moved} times"
        return "a yes was given again and not carried out" if self.trial.again and not decided else None


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

    def moved(self) -> int:
        with sqlite3.connect(self.folder / "trial" / "pack-shop" / "shop.db") as shop:
            return int(shop.execute(MONEY).fetchone()[0])

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
    return _result(ended)


def plan(rng: random.Random, count: int) -> list[Trial]:
    """At least one trial of every kind, filled up to `count` with kinds drawn at random."""
    once = [Trial(step) for step in STEPS] + [Trial(None, fault) for fault in FAULTS]
    once += [Trial("call: about to be sent", lands_later=True), Trial(None, "lost", idempotent=False)]
    drawn: list[Trial] = []
    while len(once) + len(drawn) < count:
        if rng.random() < 0.7:
            later = rng.random() < 0.1
            step = "call: about to be sent" if later else rng.choice(STEPS)
            drawn.append(Trial(step, "none", later or rng.random() < 0.75, rng.random() < 0.5, later))
        else:
            drawn.append(Trial(None, rng.choice(FAULTS), rng.random() < 0.75, rng.random() < 0.5))
    return once + drawn


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
    return Ended(trial, os.WIFSIGNALED(code), told["status"], place.moved(), told["handed_over"], told["recovery_s"])


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
    faults: list[Fault] = [trial.fault]
    async with _desk(place, TrialClock(), steps, trial, faults) as (desk, office):
        await desk.start_session(CUSTOMER, session_id=SESSION, locale="en")
        await desk.say(SESSION, BROKEN)
        steps.armed = trial.step
        await desk.say(SESSION, YES)
        if office.landing:
            await asyncio.wait(office.landing)


async def _recover(place: Place, trial: Trial, report: Path) -> None:
    """The second process: recovery as at a start, then sweeps; perhaps a request of the dead process that lands only now, and
    another yes."""
    clock = TrialClock(RECOVERED_AFTER_S)
    async with _desk(place, clock, Steps(), trial, [], clock.pause) as (desk, office):
        office.blind = trial.fault == "blind"
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
        lines = await store.actions(CUSTOMER, since=clock.now() - timedelta(days=1))
        state = await desk.state(SESSION)
        told = {
            "status": lines[0].status.value if lines else "",
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


def _result(ended: Mapping[str, Sequence[Ended]]) -> BenchResult:
    everything = [(database, each) for database, trials in ended.items() for each in trials]
    wrong = [(database, each, why) for database, each in everything if (why := each.wrong()) is not None]
    recovered = [each.recovery_s for _, each in everything if each.recovery_s]
    not_killed = sum(each.trial.step is not None and not each.killed for _, each in everything)
    bars = {
        "not_exactly_once": bar(sum(why != "left unknown" for _, _, why in wrong), 0),
        "left_unknown": bar(sum(why == "left unknown" for _, _, why in wrong), 0),
        "kills_that_missed": bar(not_killed, 0),
        "trials_a_database": bar(min(len(trials) for trials in ended.values()), None),
        "recovery_p99_s": bar(quantile(recovered, 0.99), None),
    }
    return BenchResult(
        "eval exactly-once",
        bars,
        {
            "steps": list(STEPS),
            "faults": [*FAULTS, "lands after the recovery", "a tool without keys"],
            "databases": {database: dict(_tally(trials)) for database, trials in ended.items()},
            "recovery_s": {"p50": round(quantile(recovered, 0.5), 4), "max": round(max(recovered, default=0.0), 4)},
            "wrong": [{"database": database, "why": why, **asdict(each)} for database, each, why in wrong[:10]],
        },
    )


def _tally(trials: Sequence[Ended]) -> Counter[str]:
    """How trials ended: killed or not, the ledger's word, times the money moved."""
    return Counter(
        f"{'killed' if each.killed else 'lived'}, {each.status or 'no line'}, moved {each.moved}"
        + (", handed over" if each.handed_over else "")
        for each in trials
    )
