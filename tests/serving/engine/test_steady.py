"""A model held to its contract, whatever it does."""

import math
from collections.abc import AsyncGenerator

import pytest

from agents.domain.errors import EmptyOutput, EngineUnavailable, InvalidOutput
from agents.ports import Message, ModelChunk, ModelRequest, ModelResult, Structure
from serving.engine.steady import SteadyModel

YES_OR_NO = ModelRequest((Message("user", "well?"),), 5, Structure("choice", '["yes", "no"]'), deadline_s=5.0)


class Says:
    """A Model that gives one result, or raises one error; its stream may forget the result."""

    def __init__(self, said: ModelResult | Exception, *, forgets: bool = False) -> None:
        self._said, self._forgets = said, forgets

    async def generate(self, request: ModelRequest) -> ModelResult:
        if isinstance(self._said, Exception):
            raise self._said
        return self._said

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        result = await self.generate(request)
        yield ModelChunk(result.text)
        if not self._forgets:
            yield ModelChunk("", result)


def result(text: str, *weighed: dict[str, float]) -> ModelResult:
    return ModelResult(text, "stop", 1, 1, token_logprobs=weighed)


@pytest.mark.parametrize("error", [RuntimeError("?"), KeyError("?"), TimeoutError(), ConnectionError()])
async def test_what_no_contract_names_is_an_engine_that_is_down(error: Exception) -> None:
    with pytest.raises(EngineUnavailable):
        await SteadyModel(Says(error)).generate(YES_OR_NO)
    with pytest.raises(EngineUnavailable):
        _ = [chunk async for chunk in SteadyModel(Says(error)).stream(YES_OR_NO)]


async def test_an_output_that_was_not_asked_for_is_no_answer() -> None:
    with pytest.raises(InvalidOutput):
        await SteadyModel(Says(result("perhaps"))).generate(YES_OR_NO)
    with pytest.raises(EmptyOutput):
        await SteadyModel(Says(result(" "))).generate(YES_OR_NO)


async def test_a_stream_without_its_result_is_an_engine_that_broke() -> None:
    with pytest.raises(EngineUnavailable):
        _ = [chunk async for chunk in SteadyModel(Says(result("yes"), forgets=True)).stream(YES_OR_NO)]


@pytest.mark.parametrize("weighed", [{"yes": math.nan}, {"yes": 3.0}, {"yes": math.inf}, {"yes": 0.0, "no": 0.0}, {}])
async def test_impossible_probabilities_count_for_nothing(weighed: dict[str, float]) -> None:
    assert (await SteadyModel(Says(result("yes", weighed))).generate(YES_OR_NO)).token_logprobs == ()


async def test_possible_probabilities_stay() -> None:
    weighed = {"yes": math.log(0.7), "no": math.log(0.3), "never": -math.inf}
    assert (await SteadyModel(Says(result("yes", weighed))).generate(YES_OR_NO)).token_logprobs == (weighed,)
