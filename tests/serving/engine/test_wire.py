"""What crosses to the desk: few items, the first at once, nothing lost."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from agents.domain.errors import TruncatedOutput
from agents.ports import ModelChunk, ModelResult
from serving.engine.wire import JOINED_MOST, joined

RESULT = ModelResult("", "stop", 1, 1)


async def stream(pieces: Sequence[str], *, fails: bool = False) -> AsyncGenerator[ModelChunk, None]:
    for piece in pieces:
        yield ModelChunk(piece)
    if fails:
        raise TruncatedOutput("cut")
    yield ModelChunk("", RESULT)


async def items(pieces: Sequence[str]) -> list[ModelChunk]:
    return [chunk async for chunk in joined(stream(pieces))]


@pytest.mark.parametrize(
    ("pieces", "together"),
    [
        (["I", " am", " sorry", ".", " It", " costs", " 3", ".", "5", "."], ["I", " am sorry. It", " costs 3.5."]),
        (["非", "常", "抱歉", "。", "请", "稍候"], ["非", "常抱歉。", "请稍候"]),
        ([], [""]),
    ],
)
async def test_a_sentence_crosses_as_one_item_and_its_first_piece_before_it(pieces: list[str], together: list[str]) -> None:
    told = await items(pieces)
    assert [chunk.text for chunk in told] == together
    assert [chunk.result for chunk in told] == [None] * (len(told) - 1) + [RESULT]


async def test_what_has_no_end_is_sent_all_the_same() -> None:
    told = await items(["x"] * (2 * JOINED_MOST + 1))
    assert [len(chunk.text) for chunk in told] == [1, JOINED_MOST, JOINED_MOST, 0]


async def test_what_was_held_comes_before_the_failure() -> None:
    chunks = joined(stream(["One", " two", " three"], fails=True))
    assert [(await anext(chunks)).text for _ in range(2)] == ["One", " two three"]
    with pytest.raises(TruncatedOutput):
        await anext(chunks)


async def test_closing_it_closes_the_model_s_stream() -> None:
    closed = []

    async def endless() -> AsyncGenerator[ModelChunk, None]:
        try:
            while True:
                yield ModelChunk("word ")
        finally:
            closed.append(True)

    told = joined(endless())
    assert (await anext(told)).text == "word "
    await told.aclose()
    assert closed == [True]
