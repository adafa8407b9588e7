"""Does the engine answer? A circuit breaker (Nygard, "Release It!", 2007) over the model that turns use."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from agents.domain.brownout import Brownout
from agents.domain.errors import DeadlineExceeded, EngineUnavailable
from agents.ports import Model, ModelChunk, ModelRequest, ModelResult

FAILURES = 5  # in a row, until the engine counts as down
PAUSE_S = 5.0  # then nobody asks it for this long; after it, one failure more is enough for another pause


class Breaker:
    """`level` is what the engine's silence asks of turns: while it pauses no LLM call, after that only those that need one."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._failures, self._failed_s = monotonic, 0, 0.0

    def answered(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures, self._failed_s = self._failures + 1, self._monotonic()

    def level(self) -> Brownout:
        if self._failures < FAILURES:
            return Brownout.NORMAL
        paused = self._monotonic() - self._failed_s < PAUSE_S
        return Brownout.HANDOFF if paused else Brownout.WORDING


class WatchedModel:
    """A Model whose failures to answer the breaker counts. An answer that is empty or malformed is an answer."""

    def __init__(self, inner: Model, breaker: Breaker) -> None:
        self._inner, self._breaker = inner, breaker

    async def generate(self, request: ModelRequest) -> ModelResult:
        try:
            result = await self._inner.generate(request)
        except (EngineUnavailable, DeadlineExceeded):
            self._breaker.failed()
            raise
        self._breaker.answered()
        return result

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        try:
            async with aclosing(self._inner.stream(request)) as chunks:
                async for chunk in chunks:
                    self._breaker.answered()
                    yield chunk
        except (EngineUnavailable, DeadlineExceeded):
            self._breaker.failed()
            raise
