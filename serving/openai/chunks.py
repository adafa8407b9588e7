"""OpenAI's answer objects as bytes, for the answers we write ourselves."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agents.ports import ModelResult

_encode = msgspec.json.Encoder().encode


class Chunks:
    """Writes the pieces of one answer: they share id, time and model."""

    def __init__(self, answer_id: str, created: int, model: str) -> None:
        self._shared = {"id": answer_id, "created": created, "model": model}
        self._begun: set[int] = set()

    def answer(self, choices: Sequence[Mapping[str, Any]], usage: Mapping[str, Any], **more: Any) -> bytes:
        """A whole answer."""
        return _encode({**self._shared, "object": "chat.completion", "choices": choices, "usage": usage, **more})

    def text(self, index: int, text: str) -> bytes:
        return self.delta(index, {"content": text})

    def delta(self, index: int, delta: Mapping[str, Any]) -> bytes:
        """A piece of a choice; the first of each names the role."""
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", **delta}
        return self._chunk([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])

    def end(self, index: int, reason: str, **more: Any) -> bytes:
        return self._chunk([{"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}], **more)

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        """The chunk that `stream_options.include_usage` asks for."""
        return self._chunk([], usage=usage)

    def _chunk(self, choices: Sequence[Mapping[str, Any]], **more: Any) -> bytes:
        body = {**self._shared, "object": "chat.completion.chunk", "choices": choices, **more}
        return b"data: " + _encode(body) + b"\n\n"


def usage_of(results: Sequence[ModelResult]) -> dict[str, Any]:
    """Usage over all choices: the prompt counts once."""
    prompt = results[0].prompt_tokens if results else 0
    completion = sum(result.completion_tokens for result in results)
    cached = results[0].cached_tokens if results else 0
    return token_usage(prompt, completion, cached)


def token_usage(prompt: int, completion: int, cached: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
