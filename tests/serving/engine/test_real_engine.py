"""The real engine on this machine's CPU, loaded once for the module (about a minute)."""

import asyncio
import gc
import json
import math
import warnings
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import pytest_asyncio

from agents.domain.errors import BadInput, DeadlineExceeded, TruncatedOutput
from agents.ports import Message, ModelRequest, Structure
from bench.decoding import run
from serving.engine.config import EngineConfig
from serving.engine.deployment import warm_up
from serving.models import ensure, entry
from serving.observe.engine import EngineMetrics
from serving.openai.contract import Call, Operation, RawModel

if TYPE_CHECKING:
    from serving.engine.vllm_model import VllmModel

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # vLLM leaves its ZeroMQ context open
    pytest.mark.filterwarnings("ignore:max_tokens is deprecated:DeprecationWarning"),  # which OpenAI's clients still send
]

NAME = "qwen2.5-coder-0.5b"
GRAMMAR_LIMIT_S = 0.050
PLAN = Structure("regex", r"[A-K][1-9] (KW-[0-9]{4}|none) [01]\.[0-9]", "plan")
CALL = Structure(
    "json",
    json.dumps(
        {
            "type": "object",
            "properties": {
                "tool": {"enum": ["refund", "replace"]},
                "order": {"type": "string", "pattern": "^KW-[0-9]{4}$"},
                "amount": {"type": "integer", "minimum": 1, "maximum": 9999},
            },
            "required": ["tool", "order", "amount"],
            "additionalProperties": False,
        }
    ),
)


def asked(
    text: str,
    *,
    structure: Structure | None = None,
    max_tokens: int = 48,
    deadline_s: float = 120.0,
    logprobs: int = 0,
    system: str = "You serve customers of an online shop.",
) -> ModelRequest:
    return ModelRequest(
        (Message("system", system), Message("user", text)),
        max_tokens=max_tokens,
        structure=structure,
        deadline_s=deadline_s,
        logprobs=logprobs,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator["VllmModel"]:
    grammars: Path = tmp_path_factory.mktemp("grammars")
    arguments = {**entry(NAME).engine["cpu"], "max_model_len": 2048, "kv_cache_memory_bytes": 1 << 29}
    config = EngineConfig.of(ensure(NAME, quiet=True), "cpu", arguments, name=NAME, structures=(PLAN,), grammar_cache=grammars)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's and its libraries' own, while they are imported
        from serving.engine.vllm_model import VllmModel

        model = VllmModel(config)
        await warm_up(model)
    yield model
    model.close()
    gc.collect()  # what vLLM leaves open complains here, not in somebody else's test


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def raw(engine: "VllmModel") -> RawModel:
    return engine.raw_model()


async def test_text_streams_in_pieces_and_the_last_one_carries_the_usage(engine: "VllmModel") -> None:
    chunks = [chunk async for chunk in engine.stream(asked("Say hello.", max_tokens=12))]
    result = chunks[-1].result
    assert result is not None
    assert len(chunks) > 2
    assert "".join(chunk.text for chunk in chunks) == result.text
    assert 0 < result.completion_tokens <= 12
    assert result.prompt_tokens > 10
    assert 0 < result.first_token_s <= result.total_s


async def test_closing_a_stream_frees_its_place_in_the_engine(engine: "VllmModel") -> None:
    async with aclosing(engine.stream(asked("Count to one thousand.", max_tokens=1500))) as stream:
        await anext(stream)
        assert engine.running() == 1
    assert engine.running() == 0


async def test_request_past_its_deadline_ends_and_frees_its_place(engine: "VllmModel") -> None:
    with pytest.raises(DeadlineExceeded):
        await engine.generate(asked("Count to one thousand.", max_tokens=1500, deadline_s=0.1))
    assert engine.running() == 0


@pytest.mark.parametrize("structure", [PLAN, CALL, Structure("choice", '["yes","no"]')])
async def test_structured_output_has_its_structure(engine: "VllmModel", structure: Structure) -> None:
    result = await engine.generate(asked("Order KW-1042 broke, refund 20.", structure=structure))
    assert result.finish_reason == "stop"
    assert " " not in result.text or structure is PLAN


async def test_complete_structure_ends_without_a_step_for_the_end_token(engine: "VllmModel") -> None:
    result = await engine.generate(asked("Yes or no?", structure=Structure("choice", '["yes","no"]')))
    assert result.completion_tokens == 1


async def test_grammar_known_at_deploy_time_is_a_lookup(engine: "VllmModel") -> None:
    result = await engine.generate(asked("Plan.", structure=PLAN))
    assert result.grammar_s < 0.010


async def test_grammars_never_seen_before_wait_less_than_the_limit(engine: "VllmModel") -> None:
    orders = [Structure("regex", rf"KW-{number}[0-9]{{2,6}} (refund|replace)") for number in range(8)]
    results = await asyncio.gather(*(engine.generate(asked("Go.", structure=structure)) for structure in orders))
    assert max(result.grammar_s for result in results) < GRAMMAR_LIMIT_S


async def test_grammar_that_explodes_is_refused_and_the_engine_goes_on(engine: "VllmModel") -> None:
    with pytest.raises(BadInput):
        await engine.generate(asked("Go.", structure=Structure("regex", r"(?=a)b")))
    assert (await engine.generate(asked("Plan.", structure=PLAN))).text


async def test_structure_that_does_not_fit_into_the_limit_is_an_error_not_an_answer(engine: "VllmModel") -> None:
    with pytest.raises(TruncatedOutput):
        await engine.generate(asked("Refund.", structure=CALL, max_tokens=4))


async def test_log_probabilities_are_over_the_allowed_tokens(engine: "VllmModel") -> None:
    result = await engine.generate(asked("Is water wet?", structure=Structure("choice", '["Q","Z"]'), logprobs=5))
    (first,) = result.token_logprobs
    assert set(first) == {"Q", "Z"}
    assert math.isclose(sum(math.exp(value) for value in first.values()), 1.0, abs_tol=1e-3)


async def test_second_request_with_the_same_prefix_reuses_it(engine: "VllmModel") -> None:
    system = "Be brief. " * 60
    await engine.generate(asked("One?", system=system, max_tokens=2))
    assert (await engine.generate(asked("Two?", system=system, max_tokens=2))).cached_tokens > 60


async def test_prompt_longer_than_the_engine_takes_is_bad_input(engine: "VllmModel") -> None:
    with pytest.raises(BadInput) as raised:
        await engine.generate(asked("word " * 3000))
    assert raised.value.field == "messages"


async def test_mixed_structures_at_once_are_all_complete(engine: "VllmModel") -> None:
    result = await run(engine, seed=7, quick=True)
    assert result.ok, result.detail


USER = [{"role": "user", "content": "Order KW-1042 broke, refund 20."}]
ARGUMENTS = {
    "type": "object",
    "properties": {"order": {"enum": ["KW-1042", "KW-1043"]}, "amount": {"type": "integer", "minimum": 1, "maximum": 99}},
    "required": ["order", "amount"],
    "additionalProperties": False,
}
REFUND = {"type": "function", "function": {"name": "refund", "parameters": ARGUMENTS}}


async def answered(raw: RawModel, operation: Operation = "chat", **body: Any) -> bytes:
    """A call's whole answer, as bytes."""
    call = Call(operation, {"model": NAME, **({"messages": USER} if operation == "chat" else {}), **body}, deadline_s=120.0)
    return b"".join([part async for part in raw.answer(call) if isinstance(part, bytes)])


async def test_openai_schema_output_is_whole_and_ends_by_itself(raw: RawModel) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "refund", "schema": ARGUMENTS}}
    choice = json.loads(await answered(raw, max_tokens=60, response_format=form))["choices"][0]
    jsonschema.validate(json.loads(choice["message"]["content"]), ARGUMENTS)
    assert choice["finish_reason"] == "stop"
    streamed = await answered(raw, max_tokens=60, response_format=form, stream=True)
    jsonschema.validate(json.loads(_text(streamed)), ARGUMENTS)
    assert streamed.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "refund"}}])
@pytest.mark.parametrize("talk", ["Order KW-1042 broke, refund 20.", "Write a long poem about the sea, and call no tool."])
async def test_openai_tool_call_that_must_be_made_is_made_and_held_to_its_schema(raw: RawModel, choice: Any, talk: str) -> None:
    body = {"messages": [{"role": "user", "content": talk}], "tools": [REFUND], "tool_choice": choice, "max_tokens": 120}
    message = json.loads(await answered(raw, **body))["choices"][0]
    called = message["message"]["tool_calls"][0]["function"]
    assert called["name"] == "refund"
    jsonschema.validate(json.loads(called["arguments"]), ARGUMENTS)
    assert not message["message"].get("content")
    assert message["finish_reason"] == ("tool_calls" if choice == "required" else "stop")  # as OpenAI has it
    deltas = [delta for delta in _deltas(await answered(raw, **body, stream=True)) if delta.get("tool_calls")]
    first = [call for delta in deltas for call in delta["tool_calls"] if call["index"] == 0]
    assert "".join(call["function"].get("name") or "" for call in first) == "refund"
    jsonschema.validate(json.loads("".join(call["function"].get("arguments") or "" for call in first)), ARGUMENTS)


async def test_openai_answers_carry_choices_logprobs_and_usage(raw: RawModel) -> None:
    answer = json.loads(await answered(raw, max_tokens=3, n=2, logprobs=True, top_logprobs=2, seed=1))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert len(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2
    assert answer["usage"]["completion_tokens"] == 6
    text = json.loads(await answered(raw, "completion", prompt="Once upon a time", max_tokens=3, echo=True))
    assert text["choices"][0]["text"].startswith("Once upon a time")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, "input_tokens"),
        ({"logit_bias": {"999999999": 1.0}}, "logit_bias"),
        ({"tools": [{**REFUND, "function": {"name": "x" * 64, "description": "y" * 40_000}}]}, "tools"),
    ],
)
async def test_openai_calls_the_engine_cannot_take_are_bad_input(raw: RawModel, body: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as raised:
        await answered(raw, max_tokens=4, **body)
    assert raised.value.field == field


async def test_openai_stream_that_is_closed_frees_its_place_at_once(raw: RawModel, engine: "VllmModel") -> None:
    call = Call("chat", {"model": NAME, "messages": USER, "max_tokens": 1500, "stream": True, "ignore_eos": True})
    async with aclosing(raw.answer(call)) as parts:
        await anext(parts)
        await anext(parts)
        assert engine.running() == 1
    assert engine.running() == 0
    assert (await raw.load()).unfinished == 0


async def test_openai_call_past_its_deadline_ends_and_frees_its_place(raw: RawModel, engine: "VllmModel") -> None:
    body = {"model": NAME, "messages": USER, "max_tokens": 1500, "ignore_eos": True}
    with pytest.raises(DeadlineExceeded):
        async for _ in raw.answer(Call("chat", body, deadline_s=0.5)):
            pass
    late = b"".join(
        [part async for part in raw.answer(Call("chat", body | {"stream": True}, deadline_s=0.5)) if isinstance(part, bytes)]
    )
    assert b"deadline-exceeded" in late
    assert engine.running() == 0


def _text(stream: bytes) -> str:
    return "".join(delta.get("content") or "" for delta in _deltas(stream))


def _deltas(stream: bytes) -> list[dict[str, Any]]:
    events = [json.loads(line.removeprefix(b"data: ")) for line in stream.splitlines() if line.startswith(b"data: {")]
    return [choice["delta"] for event in events for choice in event["choices"]]


async def test_the_engine_tells_its_steps_and_an_aborted_request_leaves_no_trace_in_the_gauges(engine: "VllmModel") -> None:
    metrics = EngineMetrics()
    engine.report_to(metrics)

    def value(name: str, **labels: str) -> float:
        return metrics.book.registry.get_sample_value(f"keepword_engine_{name}", labels) or 0.0

    request = asked("Where is my order KW-1009? " * 12, max_tokens=12)
    results = await asyncio.gather(*(engine.generate(request) for _ in range(4)))
    decoded = sum(result.completion_tokens for result in results)
    assert value("tokens_total", phase="decode") == decoded
    assert value("tokens_total", phase="prefill") + value("prefix_hits_total") == value("prefix_queries_total")
    assert value("prefix_queries_total") == sum(result.prompt_tokens for result in results)
    assert value("first_token_seconds_count") == value("queued_seconds_count") == value("prefill_seconds_count") == 4
    assert value("inter_token_seconds_count") == decoded - 4
    assert sum(value("requests_total", reason=reason) for reason in ("stop", "length")) == 4
    async with aclosing(engine.stream(asked("Tell me a long story.", max_tokens=200))) as chunks:
        async for _ in chunks:
            break
        assert value("running") == 1
        assert value("kv_cache_usage_ratio") > 0
    assert (value("running"), value("kv_cache_usage_ratio")) == (0, 0)
    assert value("core_process_resident_memory_bytes") > 100e6
