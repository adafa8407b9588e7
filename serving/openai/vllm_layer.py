"""vLLM's own OpenAI serving layer over the engine of this replica: the same code that answers under `vllm serve`."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve import create_error_response
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.tool_parsers.abstract_tool_parser import ToolParserManager
from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser
from vllm.v1.engine.async_llm import AsyncLLM

from agents.domain.errors import BadInput, DeadlineExceeded, EngineUnavailable, KeepwordError
from serving.openai.contract import DONE, JSON, SSE, Call, Head, Load, Part
from serving.openai.errors import in_stream
from serving.openai.guarded import GuardedEngine

HERMES: Final = "keepword_hermes"
TOOL_PARSERS: Final[Mapping[str, str]] = {"qwen2": HERMES, "qwen3": HERMES, "qwen3_moe": HERMES}
"""How a model family writes its tool calls, by `model_type`. One that is not here answers any `tool_choice` but "none" with a
400."""
MAX_GRAMMAR_CHARS: Final = 32_768  # as much as a request of ours may bring: its grammar compiles in some 50 ms


class HermesParser(Hermes2ProToolParser):
    """Without vLLM's structural tags, which xgrammar alone compiles; our grammars are llguidance's. A call that must be made is
    held to a JSON schema instead, of its arguments or of a list of calls."""

    structural_tag_model = None  # type: ignore[assignment]
    supports_required_and_named = True


class VllmServing:
    """Implements `RawModel`. Its answers are vLLM's bytes, untouched."""

    def __init__(self, engine: AsyncLLM, name: str) -> None:
        self._engine = GuardedEngine(engine)
        guarded: Any = self._engine
        ToolParserManager.register_module(HERMES, force=True, module=HermesParser)
        config = engine.model_config
        parser = TOOL_PARSERS.get(config.hf_config.model_type)
        self._calls_tools = parser is not None
        tools: dict[str, Any] = {"enable_auto_tools": parser is not None, "tool_parser": parser}
        template: dict[str, Any] = {
            "request_logger": None,
            "chat_template": None,
            "chat_template_content_format": "auto",
        }
        models = OpenAIServingModels(guarded, [BaseModelPath(name=name, model_path=config.model)])
        renderer = OnlineRenderer(config, engine.renderer, **template, **tools)
        renderer.warmup()
        usage: dict[str, Any] = {"enable_prompt_tokens_details": True}
        self._chat = OpenAIServingChat(guarded, models, "assistant", online_renderer=renderer, **template, **tools, **usage)
        self._completion = OpenAIServingCompletion(guarded, models, online_renderer=renderer, request_logger=None, **usage)

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        """Raises BadInput for what vLLM refuses, DeadlineExceeded, EngineUnavailable, EmptyOutput."""
        _check_grammars(call.body)
        self._check_choice(call.body)
        request_id, late = uuid.uuid4().hex, DeadlineExceeded(f"no complete answer within {call.deadline_s:g} s")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + call.deadline_s
        try:
            made = await self._made(call, request_id, deadline, late)
            if not isinstance(made, AsyncGenerator):
                yield Head(JSON)
                yield made.model_dump_json().encode()
                return
            yield Head(SSE)
            async for chunk in made:
                yield chunk.encode()
                if loop.time() > deadline:
                    yield in_stream(late) + DONE
                    return
        finally:
            # vLLM's generators leave this to the garbage collector when they are closed between two chunks.
            await self._engine.close(request_id)

    def _check_choice(self, body: Mapping[str, Any]) -> None:
        """Raises BadInput for a tool call that must be made by a model whose way of writing calls is not known: vLLM would hold
        it to no schema."""
        if body.get("tools") and body.get("tool_choice") not in (None, "auto", "none") and not self._calls_tools:
            raise BadInput(
                'this engine cannot force a tool call of this model; tool_choice is "none"',
                field="tool_choice",
                hint="Ask for response_format json_schema with the tool's parameters instead.",
            )

    async def load(self) -> Load:
        await self._engine.is_sleeping()  # asked of the scheduler's own process: what was sent to it before is done by then
        return Load(int(self._engine.get_num_unfinished_requests()))

    async def _made(self, call: Call, request_id: str, deadline: float, late: DeadlineExceeded) -> Any:
        """vLLM's answer: an object, or a generator of server-sent events."""
        fields: dict[str, Any] = {**call.body, "request_id": request_id, "session_id": call.session_id}
        try:
            async with asyncio.timeout_at(deadline):
                if call.operation == "chat":
                    made: Any = await self._chat.create_chat_completion(ChatCompletionRequest(**fields))
                else:
                    made = await self._completion.create_completion(CompletionRequest(**fields))
        except TimeoutError as error:
            raise late from error
        except KeepwordError:
            raise
        except Exception as error:
            raise _in_our_words(create_error_response(error)) from error
        if isinstance(made, ErrorResponse):
            if asyncio.get_running_loop().time() >= deadline:  # vLLM takes our cancelling for a client that left
                raise late
            raise _in_our_words(made)
        return made


def _check_grammars(body: Mapping[str, Any]) -> None:
    """Raises BadInput for a schema so large that compiling it would make every request wait."""
    for name in ("response_format", "tools"):
        given = body.get(name)
        if given is not None and (size := len(str(given))) > MAX_GRAMMAR_CHARS:
            raise BadInput(f"{name} has {size} characters; a request may bring {MAX_GRAMMAR_CHARS}", field=name)


def _in_our_words(response: ErrorResponse) -> KeepwordError:
    error = response.error
    if error.code < 500 or error.code == 501:
        return BadInput(error.message, field=error.param or "request")
    return EngineUnavailable(f"the engine failed: {error.message}")
