"""The scripted model keeps the contract of the `Model` port."""

import pytest

from agents.domain.errors import EmptyOutput, EngineUnavailable, InvalidOutput, TruncatedOutput
from agents.ports import Message, ModelRequest, Structure
from serving.scripted import ScriptedModel


def asked(text: str = "hello", *, max_tokens: int = 32, structure: Structure | None = None) -> ModelRequest:
    return ModelRequest((Message("user", text),), max_tokens=max_tokens, structure=structure)


async def test_gives_its_texts_in_order_and_records_the_requests() -> None:
    model = ScriptedModel(["one", "two"])
    said = [(await model.generate(asked(text))).text for text in ("a", "b")]
    assert said == ["one", "two"]
    assert [request.messages[0].content for request in model.requests] == ["a", "b"]


async def test_a_function_answers_from_the_request() -> None:
    model = ScriptedModel(lambda request: request.messages[-1].content.upper())
    assert (await model.generate(asked("quiet"))).text == "QUIET"


async def test_streams_word_by_word_and_the_pieces_make_the_text() -> None:
    chunks = [chunk async for chunk in ScriptedModel(["a  small parcel"]).stream(asked())]
    assert len(chunks) > 3
    assert "".join(chunk.text for chunk in chunks) == "a  small parcel"
    assert chunks[-1].result is not None
    assert chunks[-1].result.text == "a  small parcel"


async def test_text_that_does_not_match_the_structure_is_invalid() -> None:
    with pytest.raises(InvalidOutput):
        await ScriptedModel(["maybe"]).generate(asked(structure=Structure("choice", '["yes","no"]')))


async def test_text_longer_than_the_limit_is_truncated() -> None:
    with pytest.raises(TruncatedOutput):
        await ScriptedModel(["a b c"]).generate(asked(max_tokens=2, structure=Structure("regex", "a b c")))
    assert (await ScriptedModel(["a b c"]).generate(asked(max_tokens=2))).finish_reason == "length"


async def test_running_out_of_texts_is_an_empty_output() -> None:
    model = ScriptedModel(["only"])
    await model.generate(asked())
    with pytest.raises(EmptyOutput):
        await model.generate(asked())


async def test_an_error_of_the_script_reaches_the_caller() -> None:
    def dead(request: ModelRequest) -> str:
        raise EngineUnavailable("gone")

    with pytest.raises(EngineUnavailable):
        await ScriptedModel(dead).generate(asked())
