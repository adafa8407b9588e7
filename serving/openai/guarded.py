"""The engine as vLLM's serving layer sees it, with what Keepword promises of structured outputs.

An empty structured output is never an answer: it is decoded again with another seed, and if that does not help the request
fails. And a structure our scheduler ended because it was complete ended by itself (`stop`), not at a limit.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final

from vllm import SamplingParams
from vllm.outputs import RequestOutput
from vllm.v1.engine.async_llm import AsyncLLM

from agents.domain.errors import EmptyOutput

ATTEMPTS: Final = 3
RETRY_TEMPERATURE: Final = 0.7


class GuardedEngine:
    """Everything of the engine's but `generate` is the engine's own."""

    def __init__(self, engine: AsyncLLM) -> None:
        self._engine = engine
        self._open: dict[str, list[AsyncGenerator[RequestOutput, None]]] = defaultdict(list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str, **more: Any
    ) -> AsyncGenerator[RequestOutput, None]:
        """Outputs as the engine gives them. Raises EmptyOutput when a structure stays empty."""
        if sampling_params.structured_outputs is None:
            outputs = self._engine.generate(prompt, sampling_params, request_id, **more)
        else:
            outputs = self._structured(prompt, sampling_params, request_id, more)
        self._open[_own_id(request_id)].append(outputs)
        return outputs

    async def close(self, own_id: str) -> None:
        """Free the places of a request now. `own_id` is the id we gave it, without what vLLM puts before and behind it."""
        for outputs in self._open.pop(own_id, ()):
            with suppress(RuntimeError):  # one that runs in a task of vLLM's is ended by that task's own cancellation
                await outputs.aclose()

    async def _structured(
        self, prompt: Any, params: SamplingParams, request_id: str, more: dict[str, Any]
    ) -> AsyncGenerator[RequestOutput, None]:
        for attempt in range(ATTEMPTS):
            held: list[RequestOutput] = []
            counts: dict[int, int] = {}
            filled: set[int] = set()
            shown = False
            outputs = self._engine.generate(prompt, _again(params, attempt), f"{request_id}-{attempt}", **more)
            async with aclosing(outputs):
                async for output in outputs:
                    _settle(output, counts, params.max_tokens)
                    filled |= {piece.index for piece in output.outputs if piece.text.strip()}
                    held.append(output)
                    if filled and not output.finished:
                        shown = True
                        for each in held:
                            yield each
                        held.clear()
            if len(filled) == params.n:
                for each in held:
                    yield each
                return
            if shown:
                break  # what was shown cannot be taken back
        raise EmptyOutput("the engine gave no output for the requested structure")


def _own_id(request_id: str) -> str:
    """`chatcmpl-<id>`, or `cmpl-<id>-<number of the prompt>`."""
    return request_id.split("-")[1]


def _settle(output: RequestOutput, counts: dict[int, int], max_tokens: int | None) -> None:
    for piece in output.outputs:
        counts[piece.index] = counts.get(piece.index, 0) + len(piece.token_ids)
        if piece.finish_reason == "length" and max_tokens is not None and counts[piece.index] < max_tokens:
            piece.finish_reason = "stop"  # the scheduler shortened the limit of a complete structure
    output.kv_transfer_params = None  # there our scheduler reports to us


def _again(params: SamplingParams, attempt: int) -> SamplingParams:
    if attempt == 0:
        return params
    again = params.clone()
    again.temperature = max(params.temperature, RETRY_TEMPERATURE)
    again.seed = (params.seed or 0) + attempt
    return again
