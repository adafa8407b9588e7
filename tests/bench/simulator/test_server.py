"""The standalone server speaks OpenAI's API well enough for the official client, and lets go of who leaves."""

import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import openai
import pytest

from bench.processes import free_port

START_TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "bench.simulator.server", "--profile", "cpu", "--port", str(port)]
    with subprocess.Popen(command) as process:
        base = f"http://127.0.0.1:{port}"
        _wait(base)
        yield base
        process.terminate()


def _wait(base: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{base}/health").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError("the server did not start")


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def test_a_chat_streams_its_tokens_and_its_usage(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="simulated",
            messages=[{"role": "user", "content": "hello"}],
            max_tokens=4,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(said) == 4
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"


def test_whole_answers_have_the_same_text_as_streamed_ones(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="simulated", prompt="hello", max_tokens=4)
    streamed = client.completions.create(model="simulated", prompt="hello", max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == whole.choices[0].text
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 4


def test_a_schema_is_followed_and_a_prompt_may_be_token_ids(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    said = client.chat.completions.create(
        model="simulated",
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=64,
        response_format={"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}},
    )
    assert said.choices[0].message.content in ('{"ok":true}', '{"ok":false}')
    whole = client.completions.create(model="simulated", prompt=[7, 8, 150_000], max_tokens=1)
    assert whole.usage is not None
    plain = client.completions.create(model="simulated", prompt="a", max_tokens=1)
    assert plain.usage is not None
    assert whole.usage.prompt_tokens == plain.usage.prompt_tokens + 2


def test_what_cannot_be_done_is_answered_in_openai_words(client: openai.OpenAI, url: str) -> None:
    assert [model.id for model in client.models.list()] == ["simulated"]
    with pytest.raises(openai.BadRequestError, match="n is 2"):
        client.chat.completions.create(model="simulated", messages=[{"role": "user", "content": "hello"}], n=2)
    malformed = httpx.post(f"{url}/v1/completions", content=b"{")
    assert malformed.status_code == 400
    assert "not JSON" in malformed.json()["error"]["message"]
    assert httpx.get(f"{url}/v1/nothing").status_code == 404


def test_a_client_that_leaves_frees_its_place(url: str) -> None:
    body = {"model": "simulated", "prompt": "hello", "max_tokens": 2000, "stream": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=30) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert _running(url) == 1
    deadline = time.monotonic() + 10
    while _running(url) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _running(url) == 0


def _running(url: str) -> int:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    mine = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    return sum(int(line.split()[-1]) for line in lines if line.startswith(mine))
