"""A small OpenAI server over a model that counts, to try the harness with: `python -m bench.overhead.stand_in MODEL PORT`."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from typing import Final

import uvicorn
from fastapi import FastAPI

from agents.domain.errors import EmptyOutput
from agents.ports import ModelChunk, ModelRequest, ModelResult
from serving.admission.admission import Admission
from serving.admission.gate import Gate, GateLimits
from serving.admission.keys import ApiKeys, KeyRecord
from serving.openai.access import Door
from serving.openai.contract import Call, Part
from serving.openai.port import PortModel
from serving.openai.routes import OpenAIApi, chat_app
from serving.settings import Settings

STEP_S: Final = 0.002


class CountingModel:
    """A word every step, as many as it may."""

    async def generate(self, request: ModelRequest) -> ModelResult:
        async for chunk in self.stream(request):
            if chunk.result is not None:
                return chunk.result
        raise EmptyOutput("it did not count")

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        began, words = time.perf_counter(), [f" {number}" for number in range(request.max_tokens)]
        prompt_tokens = sum(len(message.content.split()) for message in request.messages)
        for word in words:
            await asyncio.sleep(STEP_S)
            yield ModelChunk(word)
        took_s = time.perf_counter() - began
        yield ModelChunk("", ModelResult("".join(words), "length", prompt_tokens, len(words), total_s=took_s))


class NoDesk:
    """There is no desk behind it."""

    def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        raise NotImplementedError("a stand-in has no desk")


class NoKeys:
    """There is no key but the house's."""

    async def find(self, key_id: str) -> KeyRecord | None:
        return None


def app(model: str) -> FastAPI:
    from serving.clock import SystemClock

    clock, settings = SystemClock(), Settings.load(dev=True, model=model)
    admission = Admission(Gate(GateLimits(), clock.monotonic), clock)
    door = Door(settings, ApiKeys(NoKeys(), clock.monotonic), admission)
    api = OpenAIApi(PortModel(CountingModel(), model), model, NoDesk())
    whole = FastAPI()
    whole.mount("/v1/chat", chat_app(api, door))

    @whole.get("/v1/models")
    async def models() -> list[str]:
        return [card.id for card in api.cards()]

    return whole


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
