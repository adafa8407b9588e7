"""The whole stack with the real engine, through OpenAI's own client."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from bench.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
MODEL = "qwen2.5-coder-0.5b"
HELLO: Any = [{"role": "user", "content": "Say hello in five words."}]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="none", timeout=120) as made:
        yield made


def test_the_raw_model_streams_tokens_and_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) > 2
    assert chunks[-1].usage is not None
    assert 0 < chunks[-1].usage.completion_tokens <= 12


def test_a_bare_prompt_goes_through_the_desk_to_the_engine(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="Once upon a", max_tokens=4)
    assert answer.choices[0].text
    stream = client.completions.create(model=MODEL, prompt="Once upon a", max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream)


def test_the_desk_is_a_model_and_goes_on_by_the_history(client: openai.OpenAI, stack: Stack) -> None:
    answer = httpx.post(f"{stack.url}/v1/dev/customer-tokens", json={"customer_id": "C-003"}).json()
    metadata = {"customer_token": answer["customer_token"]}
    messages: Any = [{"role": "user", "content": "Where is my order KW-1009?"}]
    first = client.chat.completions.create(model="desk", messages=messages, metadata=metadata)
    assert "KW-1009" in str(first.choices[0].message.content)
    messages += [{"role": "assistant", "content": first.choices[0].message.content}, {"role": "user", "content": "ok thanks"}]
    second = client.chat.completions.create(model="desk", messages=messages, metadata=metadata, stream=True)
    about = [chunk.model_extra["keepword"] for chunk in second if chunk.model_extra and "keepword" in chunk.model_extra]
    assert about[0]["session_id"] == first.model_extra["keepword"]["session_id"]  # type: ignore[index]


def test_an_unknown_parameter_is_refused_by_the_engines_replica(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=MODEL, messages=HELLO, extra_body={"flavour": "mint"})
    assert raised.value.param == "flavour"


def test_a_client_that_leaves_is_gone_from_the_engine(client: openai.OpenAI, stack: Stack) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    assert httpx.get(f"{stack.url}/v1/chat/load").json()["unfinished"] == 1
    stream.close()
    left = [httpx.get(f"{stack.url}/v1/chat/load").json()["unfinished"] for _ in range(20)]
    assert left[-1] == 0
