"""`keepword audit …`: is the log whole, what does it say, does it replay, and erasing a person from it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from agents.domain.errors import BadInput
from agents.domain.events import Taped
from agents.packs.loader import load_pack, tools_module
from agents.reply.drafter import ReplyStyle
from agents.tools.registry import collect
from serving.clock import SystemClock
from serving.http.tokens import kept_secret
from serving.http.wire import event_out
from serving.replay import Difference, differences
from serving.settings import Settings
from serving.stores.signing import Signer, Verifier
from serving.stores.sql import SqlStore

app = typer.Typer(no_args_is_help=True)
R = TypeVar("R")
SessionArgument = Annotated[str | None, typer.Argument(help="A session's id; without one, every session.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def audit() -> None:
    """The append-only log: verify, show, replay, erase."""


@app.command("verify")
def verify(
    session: SessionArgument = None,
    key: Annotated[str | None, typer.Option(help="The public key (`audit key`); default: the one of the own secret.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that nothing was changed, dropped, swapped, forged or cut off. Exit status 1 when something was."""

    async def run(store: SqlStore, signer: Signer) -> tuple[int, list[Any]]:
        verifier = Verifier(key) if key is not None else signer.verifier
        ids = (session,) if session is not None else await store.session_ids()
        return len(ids), [damage for each in ids for damage in await store.audit(each, verifier)]

    count, damages = _with_store(run)
    if as_json:
        rows = [{"session_id": each.session_id, "seq": each.seq, "what": each.what} for each in damages]
        print(json.dumps({"ok": not damages, "sessions": count, "damages": rows}, ensure_ascii=False))
    else:
        for each in damages:
            _console().print(str(each))
        _console().print(f"{count} sessions, {len(damages)} damages" if damages else f"{count} sessions, all whole")
    raise typer.Exit(1 if damages else 0)


@app.command("show")
def show(
    session: Annotated[str, typer.Argument(help="A session's id.")],
    tape: Annotated[bool, typer.Option(help="With what each turn was told.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Every event of a session: number, time, hash, and what it says."""

    async def run(store: SqlStore, _: Signer) -> Any:
        return await store.events(session)

    stored = [each for each in _with_store(run) if tape or not isinstance(each.event, Taped)]
    rows = [{"seq": each.seq, "hash": each.hash, **event_out(each).model_dump(mode="json", exclude={"id"})} for each in stored]
    if as_json:
        print(json.dumps({"session_id": session, "events": rows}, ensure_ascii=False))
        return
    for row in rows:
        data = json.dumps(row["data"], ensure_ascii=False)
        _console().print(f"{row['seq']:4} {row['at']} {row['hash'][:12]} {row['event']}\n     {data}")


@app.command("replay")
def replay(
    session: SessionArgument = None,
    pack: Annotated[str | None, typer.Option(help="The pack the sessions ran under; default: the configured one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Play recorded turns again and compare every event, byte by byte. Exit status 1 when one differs."""
    settings = Settings.load(**({"pack": pack} if pack else {}))
    loaded = load_pack(settings.pack, overrides=settings.overrides)
    specs = [bound.spec for bound in collect(tools_module(loaded.path))]
    style = ReplyStyle(settings.reply_sentences, settings.reply_tokens)

    async def run(store: SqlStore, _: Signer) -> tuple[int, list[Difference]]:
        turns = 0
        found: list[Difference] = []
        for each in (session,) if session is not None else await store.session_ids():
            async for _turn, differing in differences(loaded, specs, each, await store.events(each), style):
                turns, found = turns + 1, found + differing
        return turns, found

    turns, found = _with_store(run)
    if as_json:
        rows = [{"session_id": each.session_id, "seq": each.seq, "was": each.was, "now": each.now} for each in found]
        print(json.dumps({"ok": not found, "turns": turns, "differences": rows}, ensure_ascii=False))
    else:
        for each in found:
            _console().print(f"{each.session_id} event {each.seq}\n  was {each.was or '-'}\n  now {each.now or '-'}")
        _console().print(f"{turns} turns replayed, {len(found)} differences")
    raise typer.Exit(1 if found else 0)


@app.command("erase")
def erase(
    customer: Annotated[str, typer.Argument(help="The customer whose personal data is to go.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; there is no way back.")] = False,
) -> None:
    """Remove a customer's personal data from every log and ledger line. The chains still verify; caps still count."""
    if not yes:
        raise BadInput("nothing was erased", field="yes", hint="Give --yes to do it; there is no way back.")

    async def run(store: SqlStore, _: Signer) -> int:
        return await store.erase(customer)

    _console().print(f"erased from {_with_store(run)} sessions")


@app.command("key")
def key() -> None:
    """The public key that verifies this stack's logs. Keep it where the database's owner cannot change it."""

    async def run(_: SqlStore, signer: Signer) -> str:
        return signer.verifier.public_key

    print(_with_store(run))


def _with_store(work: Callable[[SqlStore, Signer], Awaitable[R]]) -> R:
    async def run() -> R:
        async with open_store(Settings.load()) as (store, signer):
            return await work(store, signer)

    return asyncio.run(run())


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncGenerator[tuple[SqlStore, Signer], None]:
    """The configured store and its signer, without a desk."""
    signer = Signer(settings.secret or kept_secret(settings.data_dir / "secret"))
    store = await SqlStore.open(settings.store_url, SystemClock(), signer)
    try:
        yield store, signer
    finally:
        await store.close()


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False, markup=False)
