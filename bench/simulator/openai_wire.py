"""OpenAI's bodies, read into our requests and written from our results, with as little work a chunk as possible."""

import time
import uuid
from typing import Any, Final, Literal

import msgspec

from agents.domain.errors import BadInput
from agents.ports import Message, ModelRequest, ModelResult, Structure

DEFAULT_MAX_TOKENS: Final = 256
DEADLINE_S: Final = 600.0
DONE: Final = b"data: [DONE]\n\n"
_encode: Final = msgspec.json.Encoder().encode
Kind = Literal["chat", "text"]


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Part(msgspec.Struct):
    type: str
    text: str = ""


class Said(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None


class JsonSchema(msgspec.Struct):
    schema: dict[str, Any] = msgspec.field(default_factory=dict)


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: JsonSchema | None = None


class Structured(msgspec.Struct):
    """vLLM's own extension."""

    choice: list[str] | None = None
    regex: str | None = None


class Body(msgspec.Struct):
    """Of both endpoints; what is not here has no meaning for a simulation and is let pass, as a sampler's settings are."""

    model: str = ""
    messages: list[Said] = msgspec.field(default_factory=list)
    prompt: str | list[str | int] = ""
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int = 1
    response_format: ResponseFormat | None = None
    structured_outputs: Structured | None = None


_decode: Final = msgspec.json.Decoder(Body).decode


def read_body(raw: bytes) -> Body:
    """Raises BadInput naming the field."""
    try:
        body = _decode(raw)
    except msgspec.ValidationError as error:
        raise BadInput(str(error), field="body") from error
    except msgspec.DecodeError as error:
        raise BadInput(f"the body is not JSON: {error}", field="body") from error
    if body.n != 1:
        raise BadInput(f"n is {body.n}; the simulated engine gives one answer a request", field="n")
    return body


def request_of(body: Body, kind: Kind) -> ModelRequest:
    """Raises BadInput for an empty prompt or a limit below 1."""
    messages = tuple(_message(said) for said in body.messages) if kind == "chat" else (_prompt(body),)
    if not messages:
        raise BadInput("messages is empty", field="messages")
    limit = body.max_completion_tokens or body.max_tokens
    if limit is not None and limit < 1:
        raise BadInput(f"max_tokens is {limit}; it must be at least 1", field="max_tokens")
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return ModelRequest(
        messages,
        max_tokens=DEFAULT_MAX_TOKENS if limit is None else limit,
        structure=_structure(body),
        seed=body.seed,
        stop=stop,
        deadline_s=DEADLINE_S,
    )


def _message(said: Said) -> Message:
    content = said.content if isinstance(said.content, str) else " ".join(part.text for part in said.content or ())
    role: Literal["system", "user", "assistant"] = "user"
    if said.role in ("system", "developer"):
        role = "system"
    elif said.role == "assistant":
        role = "assistant"
    return Message(role, content)


def _prompt(body: Body) -> Message:
    prompt = body.prompt
    if not prompt:
        raise BadInput("prompt is empty", field="prompt")
    if isinstance(prompt, str):
        return Message("user", prompt)
    texts = [part for part in prompt if isinstance(part, str)]
    if texts and len(prompt) > 1:
        raise BadInput("the simulated engine takes one prompt a request", field="prompt")
    return Message("user", texts[0] if texts else "".join(f" {_letters(int(token))}" for token in prompt))


def _letters(number: int) -> str:
    """A word for a token id that counts as one token, a different one for each id."""
    word = ""
    while True:
        number, digit = divmod(number, 26)
        word += chr(ord("a") + digit)
        if not number:
            return word


def _structure(body: Body) -> Structure | None:
    given, ours = body.response_format, body.structured_outputs
    if ours is not None and ours.choice:
        return Structure("choice", msgspec.json.encode(ours.choice).decode())
    if ours is not None and ours.regex:
        return Structure("regex", ours.regex)
    if given is None or given.type == "text":
        return None
    if given.type == "json_object":
        return Structure("json", '{"type":"object"}')
    if given.json_schema is None:
        raise BadInput("response_format.json_schema is missing", field="response_format")
    return Structure("json", msgspec.json.encode(given.json_schema.schema).decode())


class Writer:
    """The bytes of one answer. A chunk costs one small JSON string between two halves made once."""

    def __init__(self, kind: Kind, model: str) -> None:
        self._kind = kind
        self._head = {
            "id": f"{'chatcmpl' if kind == 'chat' else 'cmpl'}-{uuid.uuid4().hex}",
            "object": "chat.completion" if kind == "chat" else "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._before, self._after = self._halves()

    def _halves(self) -> tuple[bytes, bytes]:
        marked = _encode(self._chunk([self._piece("\0", None)]))
        before, _mark, after = marked.partition(_encode("\0"))
        return b"data: " + before, after + b"\n\n"

    def opening(self) -> bytes:
        """Chat streams begin with the role."""
        if self._kind == "text":
            return b""
        first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        return b"data: " + _encode(self._chunk([first])) + b"\n\n"

    def piece(self, text: str) -> bytes:
        return self._before + _encode(text) + self._after

    def closing(self, result: ModelResult, *, include_usage: bool) -> bytes:
        last = b"data: " + _encode(self._chunk([self._piece("", result.finish_reason)])) + b"\n\n"
        usage = b"data: " + _encode({**self._chunk([]), "usage": usage_of(result)}) + b"\n\n" if include_usage else b""
        return last + usage + DONE

    def whole(self, result: ModelResult) -> bytes:
        said: dict[str, Any] = {"index": 0, "finish_reason": result.finish_reason, "logprobs": None}
        if self._kind == "chat":
            said["message"] = {"role": "assistant", "content": result.text}
        else:
            said["text"] = result.text
        return _encode({**self._head, "choices": [said], "usage": usage_of(result)})

    def _piece(self, text: str, finish_reason: str | None) -> dict[str, Any]:
        said: dict[str, Any] = {"delta": {"content": text}} if self._kind == "chat" else {"text": text}
        return {"index": 0, **said, "finish_reason": finish_reason}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        name = "chat.completion.chunk" if self._kind == "chat" else "text_completion"
        return {**self._head, "object": name, "choices": choices}


def usage_of(result: ModelResult) -> dict[str, Any]:
    return {
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.completion_tokens,
        "total_tokens": result.prompt_tokens + result.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": result.cached_tokens},
    }


def error_body(message: str, kind: str, param: str | None = None) -> bytes:
    return _encode({"error": {"message": message, "type": kind, "param": param, "code": None}})


def models_body(model: str, max_model_len: int) -> bytes:
    one = {"id": model, "object": "model", "created": 0, "owned_by": "keepword-simulator", "max_model_len": max_model_len}
    return _encode({"object": "list", "data": [one]})
