"""The calls that real turns make on their ports, written down once, to be made again on ports that only give the same answers:
what then costs time is whatever stands between."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.domain.events import TurnStarted
from agents.domain.words import Act
from agents.packs.loader import load_pack, tools_module
from agents.ports import ModelRequest
from agents.tools.backoffice import PackBackOffice
from serving.clock import SystemClock
from serving.embedded import EmbeddedDesk
from serving.scripted import ScriptedModel, TableRetriever
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore

VISIT = {
    "hello": ("small_talk", Act.GREETS),
    "my mugs came broken, KW-1042": ("damaged_item", Act.ASKS),
    "no, more": ("damaged_item", Act.REJECTS),
    "yes please": ("damaged_item", Act.ACCEPTS),
    "a human please": ("human_request", Act.ASKS),
}


@dataclass(frozen=True, slots=True)
class Made:
    """One call and its answer; of a stream all its pieces."""

    port: str
    method: str
    args: tuple[Any, ...]
    named: dict[str, Any]
    answer: Any
    streams: bool = False


class Noting:
    """Passes calls on to `inner` and notes those that were answered."""

    def __init__(self, port: str, inner: Any, made: list[Made]) -> None:
        self._port, self._inner, self._made = port, inner, made

    def __getattr__(self, method: str) -> Callable[..., Any]:
        passed_on: Callable[..., Any] = getattr(self._inner, method)
        if method == "specs":
            return passed_on

        async def noted(*args: Any, **named: Any) -> Any:
            answer = await passed_on(*args, **named)
            self._made.append(Made(self._port, method, args, named, answer))
            return answer

        async def noted_stream(*args: Any, **named: Any) -> AsyncGenerator[Any, None]:
            pieces = []
            async with aclosing(passed_on(*args, **named)) as stream:
                async for piece in stream:
                    pieces.append(piece)
                    yield piece
            self._made.append(Made(self._port, method, args, named, pieces, streams=True))

        return noted_stream if method == "stream" else noted


class Saying:
    """Any port: answers every call as it was answered, at once. `made` says which one is next."""

    made: Made

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return self._stream if method == "stream" else self._answer

    async def _answer(self, *args: Any, **named: Any) -> Any:
        return self.made.answer

    async def _stream(self, *args: Any, **named: Any) -> AsyncGenerator[Any, None]:
        for piece in self.made.answer:
            yield piece


async def recorded(folder: Path) -> tuple[list[Made], int]:
    """The calls of one visit to the demo shop, and how many turns it has."""
    pack, made = load_pack("shop"), list[Made]()
    sql = await SqlStore.open(f"sqlite+aiosqlite:///{folder}/keepword.db", SystemClock(), Signer("bench"))
    module = tools_module(pack.path)
    office = PackBackOffice(module, await module.open_back_office(folder / "shop"))
    try:
        async with EmbeddedDesk.open(
            pack,
            model=Noting("model", ScriptedModel(_say), made),
            data_dir=folder,
            retriever=TableRetriever(pack, VISIT),
            store=Noting("store", sql, made),
            back_office=Noting("office", office, made),
        ) as desk:
            await desk.start_session("C-001", session_id="ses_1", locale="en")
            for text in VISIT:
                await desk.say("ses_1", text)
    finally:
        await office.close()
        await sql.close()
    openings = (each.answer for each in made if each.method == "open_turn")
    return made, sum(isinstance(stored.event, TurnStarted) for opening in openings for stored in opening.stored)


def _say(request: ModelRequest) -> str:
    return "damaged_item asks" if request.structure is not None else "I'm sorry to hear that your mugs are broken."


async def make_again(calls: Sequence[Made], saying: Saying, ports: dict[str, Any]) -> None:
    for saying.made in calls:
        method = getattr(ports[saying.made.port], saying.made.method)
        if saying.made.streams:
            async for _ in method(*saying.made.args, **saying.made.named):
                pass
        else:
            await method(*saying.made.args, **saying.made.named)
