"""Where a write can break: a process that dies at a named step, and tools whose answers are lost, late or doubled."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Unpack

import aiosqlite
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from agents.domain.errors import ToolFailed, ToolFailure, ToolRefused, ToolUnknown
from agents.domain.events import ActionTaken, Event, StoredEvent, TurnDone
from agents.domain.words import ActionRecord, Proposal, ToolSpec
from agents.passing_store import PassingStore
from agents.ports import AppendPlace, BackOffice, IntentHow, Store, ToolCall

STEPS = (
    "intent: not yet begun",
    "intent: lock held",
    "intent: written, not committed",
    "intent: committed",
    "call: about to be sent",
    "tool: transaction open",
    "tool: before the money moves",
    "tool: money moved, no receipt yet",
    "tool: receipt written, not committed",
    "tool: committed, answer not read",
    "outcome: about to be written",
    "outcome: written, not committed",
    "outcome: committed",
    "events: action not yet recorded",
    "events: action recorded",
    "reply: not yet ended",
)
"""Every step of a confirmed write, in order."""

WRITE_STEPS = (
    "intent: not yet begun",
    "intent: written, not committed",
    "intent: committed",
    "call: about to be sent",
    "tool: transaction open",
    "tool: before the money moves",
    "tool: money moved, no receipt yet",
    "tool: receipt written, not committed",
    "tool: committed, answer not read",
    "outcome: about to be written",
    "outcome: written, not committed",
    "outcome: committed",
)
SECOND, UNDO = "second write, ", "undoing, "
STEPS_OF_SEVERAL = (
    *STEPS[: STEPS.index("events: action not yet recorded")],
    *(SECOND + step for step in WRITE_STEPS),
    *(UNDO + step for step in WRITE_STEPS),
    *STEPS[STEPS.index("events: action not yet recorded") :],
)
"""Every step of an offer of two writes whose second may have to be undone: the first write, the second, the undoing of the
first, the end of the turn."""

Fault = Literal["none", "lost", "never sent", "late", "very late", "doubled", "blind", "refused", "failed"]
FAULTS: tuple[Fault, ...] = ("lost", "never sent", "late", "very late", "doubled", "blind")
LATE_S = {"late": 0.4, "very late": 1.2}  # after its answer was given up: between the ledger's looks, and after the last


@dataclass
class Steps:
    """Kills this process when the step in `armed` is reached."""

    armed: str | None = None
    phase: str = ""  # which write of an offer of several: what stands before the names of its steps

    def reach(self, step: str) -> None:
        if self.phase + step == self.armed:
            os.kill(os.getpid(), signal.SIGKILL)


class SteppedStore(PassingStore):
    """A Store whose steps can kill. `engine` is watched for what happens inside a transaction."""

    def __init__(self, inner: Store, steps: Steps, engine: AsyncEngine) -> None:
        super().__init__(inner)
        self._steps, self._beginning = steps, False
        event.listen(engine.sync_engine, "after_cursor_execute", self._executed)

    def _executed(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("BEGIN IMMEDIATE") or "pg_advisory" in statement:
            self._steps.reach("intent: lock held")
        elif statement.startswith("INSERT INTO actions"):
            self._steps.reach("intent: written, not committed")
        elif statement.startswith("UPDATE actions"):
            self._steps.reach(f"{'intent' if self._beginning else 'outcome'}: written, not committed")

    async def intend(self, record: ActionRecord, **how: Unpack[IntentHow]) -> ActionRecord:
        self._steps.reach("intent: not yet begun")
        stored = await super().intend(record, **how)
        self._steps.reach("intent: committed")
        return stored

    async def begin(self, record: ActionRecord) -> bool:
        self._steps.phase = UNDO if record.undoes else SECOND
        self._steps.reach("intent: not yet begun")
        self._beginning = True
        begun = await super().begin(record)
        self._beginning = False
        self._steps.reach("intent: committed")
        return begun

    async def settle(self, record: ActionRecord, then: Sequence[ActionRecord] = ()) -> None:
        self._steps.reach("outcome: about to be written")
        await super().settle(record, then)
        self._steps.reach("outcome: committed")

    async def append(self, session_id: str, events: Sequence[Event], **place: Unpack[AppendPlace]) -> tuple[StoredEvent, ...]:
        self._steps.phase = ""
        acted = any(isinstance(each, ActionTaken) for each in events)
        if acted:
            self._steps.reach("events: action not yet recorded")
        if any(isinstance(each, TurnDone) for each in events):
            self._steps.reach("reply: not yet ended")
        stored = await super().append(session_id, events, **place)
        if acted:
            self._steps.reach("events: action recorded")
        return stored


@dataclass
class FaultyOffice:
    """A BackOffice in front of the pack's own. `faults` are given to the next writes in turn; `idempotent` False makes its
    writes forget their keys and their receipts: each call moves money anew, and none can be asked for."""

    inner: BackOffice
    steps: Steps = field(default_factory=Steps)
    faults: list[Fault] = field(default_factory=list)
    idempotent: bool = True
    calls: int = 0
    blind: bool = False  # it does not say what became of a key either
    landing: set[asyncio.Task[Any]] = field(default_factory=set)

    def specs(self) -> Sequence[ToolSpec]:
        return [replace(s, idempotent=self.idempotent) if s.kind == "write" else s for s in self.inner.specs()]

    async def call(self, tool: str, args: Mapping[str, Any], call: ToolCall) -> Mapping[str, Any]:
        if not any(spec.name == tool and spec.kind == "write" for spec in self.inner.specs()):
            return await self.inner.call(tool, args, call)
        self.calls += 1
        if not self.idempotent:
            call = replace(call, key=f"{call.key}-{self.calls}-{os.getpid()}")
        fault = self.faults.pop(0) if self.faults else "none"
        self.steps.reach("call: about to be sent")
        if fault == "refused":
            raise ToolRefused("not any more")
        if fault == "failed":
            raise ToolFailed("the system is busy")
        if fault == "never sent":
            raise ToolUnknown("the connection broke before anything was sent")
        if fault in LATE_S:
            task = asyncio.create_task(self._later(LATE_S[fault], tool, args, call))
            self.landing.add(task)
            raise ToolUnknown("no answer in time")
        if fault == "doubled":  # the network delivers the request twice; the second answer is the one that arrives
            first = await self.inner.call(tool, args, call)
            receipt = await self.inner.call(tool, args, call) if self.idempotent else first
        else:
            receipt = await self.inner.call(tool, args, call)
        self.steps.reach("tool: committed, answer not read")
        self.blind = self.blind or fault == "blind"
        if fault in ("lost", "blind"):
            raise ToolUnknown("the answer was lost")
        return receipt

    async def outcome(self, proposal: Proposal, call: ToolCall) -> Mapping[str, Any] | None:
        if not self.idempotent:
            raise ToolUnknown("this system knows no keys")
        if self.blind:
            raise ToolUnknown("the system does not answer")
        return await self.inner.outcome(proposal, call)

    async def _later(self, after_s: float, tool: str, args: Mapping[str, Any], call: ToolCall) -> None:
        await asyncio.sleep(after_s)
        with suppress(ToolFailure):
            await self.inner.call(tool, args, call)


MOVES = ("INSERT INTO REFUNDS", "INSERT INTO COUPONS", "DELETE FROM COUPONS")


async def watch_tool(writer: aiosqlite.Connection, steps: Steps) -> None:
    """Kill inside the shop's own transaction: SQLite says each statement before it runs."""

    def about_to_run(statement: str) -> None:
        head = statement.lstrip().upper()
        if head.startswith("SELECT CALL, RECEIPT"):
            steps.reach("tool: transaction open")
        elif head.startswith(MOVES):
            steps.reach("tool: before the money moves")
        elif head.startswith("INSERT INTO RECEIPTS"):
            steps.reach("tool: money moved, no receipt yet")
        elif head.startswith("COMMIT"):
            steps.reach("tool: receipt written, not committed")

    await writer.set_trace_callback(about_to_run)
