"""The draft's deadline."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from agents.domain.pack import Pack
from agents.packs.loader import load_pack
from agents.ports import ModelChunk, ModelRequest, ModelResult
from agents.reply.drafter import DraftReport, ReplyAgent, ReplyStyle, Said
from agents.reply.verifier import Evidence

DEADLINE_S = 0.05
EVIDENCE = Evidence("en", ("Your order was delivered.",), "my mugs came broken")


class StallingModel:
    """Says one sentence and then nothing for ever."""

    async def generate(self, request: ModelRequest) -> ModelResult:
        raise AssertionError("a draft is streamed")

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        yield ModelChunk("I'm sorry to hear that. ")
        await asyncio.Event().wait()


@pytest.fixture(scope="module")
def pack() -> Pack:
    return load_pack("shop")


async def told(pack: Pack, *, storing: asyncio.Event | None = None) -> list[Said]:
    found = []
    async for said in ReplyAgent(pack, StallingModel(), ReplyStyle(max_sentences=2)).reply(
        EVIDENCE, DraftReport([], 0, []), session_id="ses_1", deadline_s=DEADLINE_S
    ):
        found.append(said)
        if storing is not None:
            await storing.wait()
    return found


async def test_a_model_that_stalls_is_cut_and_the_points_follow(pack: Pack) -> None:
    assert [said.source for said in await told(pack)] == ["model", "pack"]


async def test_a_deadline_that_comes_while_a_sentence_is_stored_cuts_nobody(pack: Pack) -> None:
    stored = asyncio.Event()
    asyncio.get_running_loop().call_later(4 * DEADLINE_S, stored.set)
    assert [said.source for said in await told(pack, storing=stored)] == ["model", "pack"]
