"""Any `Model` of ours behind OpenAI's chat endpoint: what the port can express, and a refusal that names what it cannot.

The real engine has vLLM's own serving layer (`vllm_layer.py`); this is for models that are not: scripted, simulated, yours.
"""

import json
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from agents.domain.errors import BadInput, KeepwordError
from agents.ports import Message, Model, ModelRequest, ModelResult, Structure
from serving.openai import errors
from serving.openai.chunks import Chunks, usage_of
from serving.openai.contract import DONE, JSON, SSE, Call, Head, Load, Part

DEFAULT_MAX_TOKENS: Final = 512
TAKEN: Final = frozenset(
    (
        *("model", "messages", "max_tokens", "max_completion_tokens", "n", "seed", "stop", "stream", "stream_options"),
        *("temperature", "response_format", "tools", "tool_choice", "parallel_tool_calls"),
    )
)
NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "top_p": (1, 1.0),
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "ignore_eos": (False,),
    "min_tokens": (0,),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A call in the port's words. `tool`: the function to call, when one is forced; `any_of`: the output names it itself."""

    request: ModelRequest
    choices: int
    tool: str | None = None
    any_of: bool = False

    @property
    def calls_tool(self) -> bool:
        return self.tool is not None or self.any_of


class PortModel:
    """Implements `RawModel` over a `Model`."""

    def __init__(self, model: Model, name: str) -> None:
        self._model, self._name = model, name
        self._open = 0

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        asked = in_our_words(call)
        chunks = Chunks(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), self._name)
        parts = self._streamed(asked, call, chunks) if call.streams else self._whole(asked, chunks)
        self._open += 1
        try:
            async with aclosing(parts):
                async for part in parts:
                    yield part
        finally:
            self._open -= 1

    async def load(self) -> Load:
        return Load(self._open)

    async def _whole(self, asked: Asked, chunks: Chunks) -> AsyncGenerator[Part, None]:
        results = [await self._model.generate(_nth(asked.request, number)) for number in range(asked.choices)]
        choices = [
            {"index": index, "message": _message(asked, result), "logprobs": None, "finish_reason": _reason(asked, result)}
            for index, result in enumerate(results)
        ]
        yield Head(JSON)
        yield chunks.answer(choices, usage_of(results))

    async def _streamed(self, asked: Asked, call: Call, chunks: Chunks) -> AsyncGenerator[Part, None]:
        results: list[ModelResult] = []
        begun = False
        try:
            for number in range(asked.choices):
                async with aclosing(self._model.stream(_nth(asked.request, number))) as stream:
                    async for chunk in stream:
                        if not begun:
                            begun = True
                            yield Head(SSE)
                        if chunk.text and not asked.calls_tool:
                            yield chunks.text(number, chunk.text)
                        if chunk.result is not None:
                            results.append(chunk.result)
                            message = _message(asked, chunk.result)
                            if asked.calls_tool:
                                yield chunks.delta(number, {"tool_calls": [{"index": 0, **message["tool_calls"][0]}]})
                            yield chunks.end(number, _reason(asked, chunk.result))
        except KeepwordError as error:
            if not begun:
                raise
            yield errors.in_stream(error) + DONE
            return
        wants_usage = (call.body.get("stream_options") or {}).get("include_usage")
        yield (chunks.usage(usage_of(results)) if wants_usage else b"") + DONE


def in_our_words(call: Call) -> Asked:
    """The port's request. Raises BadInput naming the parameter the port has no word for."""
    body = call.body
    if call.operation != "chat":
        raise BadInput("this model has a chat template only", field="prompt", hint="Use /v1/chat/completions.")
    for name, value in body.items():
        if name not in TAKEN and value not in NEUTRAL.get(name, ()):
            raise BadInput(f"this model cannot follow {name}", field=name, hint="Leave it out.")
    stop = body.get("stop") or ()
    structure, tool, any_of = _structure(body)
    request = ModelRequest(
        tuple(_said(message, index) for index, message in enumerate(body["messages"])),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_MAX_TOKENS,
        structure=structure,
        temperature=body.get("temperature", 1.0),
        seed=body.get("seed"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        deadline_s=call.deadline_s,
        session_id=call.session_id,
    )
    return Asked(request, body.get("n") or 1, tool, any_of)


def _said(message: Mapping[str, Any], index: int) -> Message:
    if message["role"] == "tool" or message.get("tool_calls"):
        raise BadInput("this model takes no results of tools", field=f"messages[{index}]")
    return Message(message["role"], text_of(message["content"]))


def text_of(content: str | Sequence[Mapping[str, str]]) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def _structure(body: Mapping[str, Any]) -> tuple[Structure | None, str | None, bool]:
    """(structure, the forced tool's name, whether the output names its tool)."""
    choice, tools = body.get("tool_choice"), body.get("tools") or ()
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {"type": "object"} for tool in tools}
    form = body.get("response_format") or {"type": "text"}
    if isinstance(choice, Mapping):
        name = choice["function"]["name"]
        return _json(schemas[name]), name, False
    if choice == "required":
        return _json({"anyOf": [_call_schema(name, schema) for name, schema in schemas.items()]}), None, True
    if tools and choice != "none":
        raise BadInput(
            "this model cannot decide by itself whether to call a tool",
            field="tool_choice",
            hint='Set it to "none", "required" or one function.',
        )
    if form["type"] == "json_schema":
        return _json(form["json_schema"]["schema"]), None, False
    return (_json({"type": "object"}) if form["type"] == "json_object" else None), None, False


def _call_schema(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = {"name": {"const": name}, "arguments": schema}
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _json(schema: Mapping[str, Any]) -> Structure:
    return Structure("json", json.dumps(schema, ensure_ascii=False, separators=(",", ":")))


def _nth(request: ModelRequest, number: int) -> ModelRequest:
    """Another choice samples with another seed."""
    return request if number == 0 or request.seed is None else replace(request, seed=request.seed + number)


def _message(asked: Asked, result: ModelResult) -> dict[str, Any]:
    if not asked.calls_tool:
        return {"role": "assistant", "content": result.text, "refusal": None}
    name, arguments = asked.tool, result.text
    if asked.any_of:
        called = json.loads(result.text)
        name, arguments = called["name"], json.dumps(called["arguments"], ensure_ascii=False)
    call = {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}


def _reason(asked: Asked, result: ModelResult) -> str:
    return "tool_calls" if asked.any_of and result.finish_reason == "stop" else result.finish_reason
