"""Any Model held to the port's contract: what it must not raise or return becomes one of the errors the agents know."""

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace

from agents.domain.errors import EngineUnavailable, KeepwordError
from agents.ports import Model, ModelChunk, ModelRequest, ModelResult
from serving.engine.outputs import check_output

GRACE_S = 1.0  # beyond a request's deadline, for a model that keeps it by itself
CERTAIN = 1e-3  # rounding above a log-probability of 0


class SteadyModel:
    """Wraps `model`. Foreign exceptions, a missed deadline and a stream without its result are EngineUnavailable; an output
    that is not what was asked for is EmptyOutput, TruncatedOutput or InvalidOutput; impossible probabilities are dropped."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def generate(self, request: ModelRequest) -> ModelResult:
        try:
            async with asyncio.timeout(request.deadline_s + GRACE_S):
                return _checked(await self._model.generate(request), request)
        except KeepwordError:
            raise
        except Exception as error:
            raise EngineUnavailable(f"the model broke: {type(error).__name__}") from error

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        ended = False
        try:
            async with aclosing(self._model.stream(request)) as chunks:
                async for chunk in chunks:
                    ended = chunk.result is not None
                    yield chunk if chunk.result is None else replace(chunk, result=_checked(chunk.result, request))
        except KeepwordError:
            raise
        except Exception as error:
            raise EngineUnavailable(f"the model broke: {type(error).__name__}") from error
        if not ended:
            raise EngineUnavailable("the model's stream ended without a result")


def _checked(result: ModelResult, request: ModelRequest) -> ModelResult:
    check_output(result.text, result.finish_reason, request.structure)
    return result if all(_possible(weighed) for weighed in result.token_logprobs) else replace(result, token_logprobs=())


def _possible(weighed: Mapping[str, float]) -> bool:
    """Whether these can be log-probabilities: some, none above 0 or undefined, their probabilities no more than 1 together."""
    values = list(weighed.values())
    if not values or any(math.isnan(value) or value > CERTAIN for value in values):
        return False
    return sum(math.exp(value) for value in values) <= 1 + 10 * CERTAIN
