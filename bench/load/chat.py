"""Requests to an OpenAI-compatible server: streamed chat completions of n tokens in and out, to measure any server alike."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import aiohttp

from bench.load.outcome import OK, Outcome
from bench.load.plan import LoadPlan, Prompt
from bench.load.sse import blocks, field
from bench.load.target import SeatRefused, kind_of, refusal

# words that are one token after a space in the vocabularies of Qwen, Llama and GPT
ONE_TOKEN_EACH = (
    "time year people way day man thing woman life child world school state family student group country problem hand part "
    "place case week company system program question work government number night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head house service friend father power hour"
)
CHAT_TEMPLATE_TOKENS = 9  # roles and their marks around one user message, in ChatML


def words(count: int, rng: Random) -> str:
    """Text of about `count` tokens."""
    return " ".join(rng.choices(ONE_TOKEN_EACH.split(), k=max(1, count)))


class ChatCustomer:
    """One client that sends one request after the other; it never leaves."""

    left = False

    def __init__(self, http: aiohttp.ClientSession, url: str, prompt: Prompt, texts: Iterator[str]) -> None:
        self._http, self._url, self._prompt, self._texts = http, f"{url}/v1/chat/completions", prompt, texts

    async def say(self, outcome: Outcome) -> None:
        body = {
            "model": self._prompt.model,
            "messages": [{"role": "user", "content": next(self._texts)}],
            "max_tokens": self._prompt.output_tokens,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"ignore_eos": True} if self._prompt.ignore_eos else {}),
        }
        try:
            async with self._http.post(self._url, json=body) as response:
                if response.status != 200:
                    await response.read()
                    refusal(response, outcome)
                else:
                    outcome.accepted = True
                    await self._listen(response, outcome)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            outcome.kind = kind_of(error)

    async def _listen(self, response: aiohttp.ClientResponse, outcome: Outcome) -> None:
        outcome.kind = "cut"
        now = self._http.loop.time
        async for block in blocks(response.content):
            data = field(block, b"data")
            at = now()
            if data == b"[DONE]":
                outcome.kind = OK
                outcome.done_s = outcome.done_s or at
                continue
            if not data:
                continue
            chunk = json.loads(data)
            if "error" in chunk:
                outcome.kind, outcome.done_s = f"failed_{chunk['error'].get('type', 'unnamed')}", at
                continue
            if any(choice.get("delta", {}).get("content") for choice in chunk.get("choices", ())):
                outcome.first_byte_s = outcome.first_byte_s or at
                outcome.first_sentence_s = outcome.first_byte_s
                outcome.chunks_s.append(at)
                outcome.done_s = at
            usage = chunk.get("usage") or {}
            outcome.usage = (
                {name: int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")} if usage else outcome.usage
            )


class ChatTarget:
    """Clients of one OpenAI-compatible server. Without a model's name, the first that `/v1/models` lists is asked."""

    def __init__(self, http: aiohttp.ClientSession, plan: LoadPlan, rng: Random, number: int = 0) -> None:
        self._http, self._url, self._prompt = http, plan.url, plan.prompt
        self._texts = read(plan.prompt.file, number, plan.processes) if plan.prompt.file else made(plan, rng)

    async def seat(self) -> ChatCustomer:
        if not self._prompt.model:
            async with self._http.get(f"{self._url}/v1/models") as response:
                if response.status != 200:
                    raise SeatRefused(f"http_{response.status}")
                self._prompt = replace(self._prompt, model=json.loads(await response.read())["data"][0]["id"])
        return ChatCustomer(self._http, self._url, self._prompt, self._texts)


def made(plan: LoadPlan, rng: Random) -> Iterator[str]:
    """Texts of about `input_tokens` tokens, which begin with the plan's shared prefix, without end."""
    prompt = plan.prompt
    prefix = words(prompt.prefix_tokens, Random(plan.seed)) + " " if prompt.prefix_tokens else ""
    while True:
        yield prefix + words(prompt.input_tokens - prompt.prefix_tokens - CHAT_TEMPLATE_TOKENS, rng)


def read(file: str, number: int, processes: int) -> Iterator[str]:
    """Worker `number`'s texts of a JSON list, again from the start when all were sent."""
    return itertools.cycle(json.loads(Path(file).read_text(encoding="utf-8"))[number::processes])
