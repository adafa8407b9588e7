"""The `Model` port over vLLM's engine in this process (its core runs in a child process)."""

import asyncio
import json
import math
import os
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.inputs.engine import tokens_input
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
from vllm.v1.structured_output.backend_guidance import validate_guidance_grammar

from agents.domain.errors import (
    BadInput,
    DeadlineExceeded,
    EmptyOutput,
    EngineUnavailable,
    InvalidOutput,
    ModelFailure,
    TruncatedOutput,
)
from agents.ports import ModelChunk, ModelRequest, ModelResult, Structure
from serving.engine.config import EngineConfig
from serving.engine.grammars import expressible, reference
from serving.engine.outputs import check_output, check_structure
from serving.engine.scheduler import CONFIG, GRAMMAR_WAIT
from serving.engine.stats import Steps, core_pid, step_logger
from serving.observe.engine import EngineMetrics
from serving.openai.contract import RawModel

ATTEMPTS: Final = 3
RETRY_TEMPERATURE: Final = 0.7
MAX_REQUEST_GRAMMAR_CHARS: Final = 32_768  # llguidance compiles this much in some 50 ms
_SCHEDULERS: Final = {"cpu": "GrammarScheduler", "gpu": "AsyncGrammarScheduler"}


@dataclass(slots=True)
class _Progress:
    """What has come of one attempt so far."""

    text: str = ""
    token_count: int = 0
    first_token_s: float = 0.0
    logprobs: list[Mapping[str, float]] = field(default_factory=list)


class VllmModel:
    """Starts the engine when constructed (tens of seconds; must run inside an event loop's thread) and serves requests.

    Raises BadInput for a request the engine cannot take (too long, a structure that is not valid), DeadlineExceeded,
    EngineUnavailable, and EmptyOutput, TruncatedOutput or InvalidOutput when retries did not help either.
    """

    def __init__(self, config: EngineConfig) -> None:
        os.environ.update(config.environment(os.environ))
        self._name, self._max_model_len = config.name, config.max_model_len
        self._references: Mapping[tuple[str, str], str] = {
            (one.kind, one.spec): reference(one) for one in config.structures if expressible(one)
        }
        self._steps = Steps()
        self._engine = AsyncLLM.from_engine_args(engine_args(config), stat_loggers=[step_logger(self._steps)])
        self._tokenizer: Any = self._engine.renderer.get_tokenizer()

    async def generate(self, request: ModelRequest) -> ModelResult:
        last: ModelResult | None = None
        async with aclosing(self.stream(request)) as chunks:
            async for chunk in chunks:
                last = chunk.result or last
        if last is None:
            raise EmptyOutput("the engine ended without a result")
        return last

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        """Pieces as they are decoded; a structured output is checked whole and comes as one piece, so that one that must be
        decoded again was never shown."""
        deadline = asyncio.get_running_loop().time() + request.deadline_s
        prompt = self._prompt(request)
        if request.structure is not None:
            self._check_structure(request.structure)
        for attempt in range(ATTEMPTS):
            shown = False
            try:
                async with aclosing(self._attempt(prompt, request, attempt, deadline)) as chunks:
                    async for chunk in chunks:
                        shown = shown or bool(chunk.text)
                        yield chunk
                return
            except (EmptyOutput, TruncatedOutput, InvalidOutput):
                if shown or attempt == ATTEMPTS - 1:
                    raise

    async def _attempt(
        self, prompt: list[int], request: ModelRequest, attempt: int, deadline: float
    ) -> AsyncGenerator[ModelChunk, None]:
        started = time.perf_counter()
        known = None if request.structure is None else self._reference(request.structure)
        params = sampling_params(request, attempt, room=self._max_model_len - len(prompt), known_as=known)
        admission_s = _admit(params)
        so_far = _Progress()
        final: RequestOutput | None = None
        async with aclosing(self._outputs(prompt, params, request, deadline)) as outputs:
            async for output in outputs:
                final = output
                piece = _advance(so_far, output, started, request.logprobs)
                if piece and request.structure is None:
                    yield ModelChunk(piece)
        if final is None or not final.finished:
            raise EmptyOutput("the engine ended the request without an output")
        finish_reason = final.outputs[0].finish_reason or "error"
        if finish_reason in {"abort", "error"}:
            raise _ended(finish_reason, request.structure)
        # The scheduler ends a complete structure by shortening its limit: to the caller that is an ordinary stop.
        if request.structure is not None and so_far.token_count < (params.max_tokens or 0):
            finish_reason = "stop"
        check_output(so_far.text, finish_reason, request.structure)
        result = ModelResult(
            text=so_far.text,
            finish_reason="stop" if request.structure is not None else finish_reason,
            prompt_tokens=len(prompt),
            completion_tokens=so_far.token_count,
            cached_tokens=final.num_cached_tokens or 0,
            first_token_s=so_far.first_token_s,
            total_s=time.perf_counter() - started,
            grammar_s=admission_s + float((final.kv_transfer_params or {}).get(GRAMMAR_WAIT, 0.0)),
            token_logprobs=tuple(so_far.logprobs),
        )
        yield ModelChunk(so_far.text if request.structure is not None else "", result)

    async def _outputs(
        self, prompt: list[int], params: SamplingParams, request: ModelRequest, deadline: float
    ) -> AsyncGenerator[RequestOutput, None]:
        """The engine's outputs, with its errors in our words. Leaving early aborts the request inside the engine."""
        outputs = self._engine.generate(
            tokens_input(prompt), params, request_id=uuid.uuid4().hex, session_id=request.session_id
        )
        try:
            async with aclosing(outputs):
                while True:
                    try:
                        async with asyncio.timeout_at(deadline):
                            output = await anext(outputs)
                    except StopAsyncIteration:
                        return
                    yield output
        except TimeoutError as error:
            raise DeadlineExceeded(f"no complete output within {request.deadline_s:g} s") from error
        except VLLMClientError as error:
            raise BadInput(str(error), field="request") from error
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineUnavailable(f"the engine failed: {error or type(error).__name__}") from error

    def _reference(self, structure: Structure) -> str | None:
        return self._references.get((structure.kind, structure.spec))

    def _check_structure(self, structure: Structure) -> None:
        """Raises BadInput for a structure that is not valid, or so large that compiling it would make the request wait."""
        check_structure(structure)
        if self._reference(structure) is None and len(structure.spec) > MAX_REQUEST_GRAMMAR_CHARS:
            raise BadInput(
                f"the structure has {len(structure.spec)} characters; a request may bring {MAX_REQUEST_GRAMMAR_CHARS}",
                field="structure",
                hint="Shorten it, or name it at deploy time.",
            )

    def _prompt(self, request: ModelRequest) -> list[int]:
        """The prompt's token ids under the model's chat template. Raises BadInput when no room for an answer is left."""
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        encoded = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        ids = [int(token) for token in encoded]
        if len(ids) >= self._max_model_len:
            raise BadInput(
                f"the prompt has {len(ids)} tokens and the engine takes {self._max_model_len} with the answer",
                field="messages",
            )
        return ids

    def raw_model(self) -> RawModel:
        """vLLM's own OpenAI serving layer over this engine."""
        from serving.openai.vllm_layer import VllmServing  # seconds of imports that most uses of this class do without

        return VllmServing(self._engine, self._name)

    async def check_health(self) -> None:
        """Raises EngineUnavailable when the engine's process is gone."""
        try:
            await self._engine.check_health()
        except EngineDeadError as error:
            raise EngineUnavailable("the engine's process is gone") from error

    def running(self) -> int:
        """Requests accepted and not finished."""
        return int(self._engine.get_num_unfinished_requests())

    def report_to(self, metrics: EngineMetrics) -> None:
        """Tell every step from now on."""
        metrics.watch_idle(lambda: self.running() == 0)
        metrics.watch_core(core_pid)
        self._steps.tell = metrics.step

    def close(self) -> None:
        """Stop the engine's processes. The model cannot be used afterwards."""
        self._engine.shutdown()
        del self._engine  # else it shuts down once more while the interpreter is being taken apart, and complains


def engine_args(config: EngineConfig) -> AsyncEngineArgs:
    """vLLM's arguments: the configuration's own, and what makes this engine Keepword's."""
    ours = {
        "structures": [[s.kind, s.spec, s.name] for s in config.structures if expressible(s)],
        "grammar_cache": str(config.grammar_cache) if config.grammar_cache is not None else None,
    }
    arguments: dict[str, Any] = {
        "scheduler_cls": f"serving.engine.scheduler.{_SCHEDULERS[config.profile]}",
        "additional_config": {CONFIG: ours},
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        "disable_log_stats": True,
        **config.engine_arguments(),
    }
    return AsyncEngineArgs(**arguments)


def sampling_params(request: ModelRequest, attempt: int, room: int, known_as: str | None = None) -> SamplingParams:
    """vLLM's parameters for one attempt. A later attempt samples with another seed: greedy would repeat the mistake.
    The grammar's mask is on the logits before log-probabilities are taken, so they are over allowed tokens."""
    again = attempt > 0
    return SamplingParams(
        temperature=max(request.temperature, RETRY_TEMPERATURE) if again else request.temperature,
        seed=(request.seed or 0) + attempt if again else request.seed,
        max_tokens=min(request.max_tokens, room),
        stop=list(request.stop) or None,
        logprobs=request.logprobs or None,
        structured_outputs=None if request.structure is None else structured(request.structure, known_as),
        output_kind=RequestOutputKind.DELTA,
    )


def _admit(params: SamplingParams) -> float:
    """Seconds spent on refusing grammars llguidance cannot follow. Raises BadInput. vLLM repeats this check when it takes the
    request in, unseen from here: so the time is counted twice."""
    if params.structured_outputs is None:
        return 0.0
    started = time.perf_counter()
    try:
        validate_guidance_grammar(params)
    except VLLMClientError as error:
        raise BadInput(str(error), field="structure") from error
    return 2 * (time.perf_counter() - started)


def structured(structure: Structure, known_as: str | None) -> StructuredOutputsParams:
    """vLLM's words for a structure; `known_as` is its reference when the engine knows it."""
    if known_as is not None:
        return StructuredOutputsParams(regex=known_as)
    if structure.kind == "regex":
        return StructuredOutputsParams(regex=structure.spec)
    if structure.kind == "choice":
        return StructuredOutputsParams(choice=json.loads(structure.spec))
    return StructuredOutputsParams(json=structure.spec)


def _advance(so_far: _Progress, output: RequestOutput, started: float, logprobs: int) -> str:
    """Take one output into account; its new text."""
    piece = output.outputs[0]
    if piece.token_ids and not so_far.token_count:
        so_far.first_token_s = time.perf_counter() - started
    so_far.token_count += len(piece.token_ids)
    so_far.text += piece.text
    if logprobs and piece.logprobs:
        so_far.logprobs.extend(_readable(of_token, logprobs) for of_token in piece.logprobs)
    return piece.text


def _readable(of_token: Mapping[int, Any], count: int) -> Mapping[str, float]:
    """Token text -> log-probability of the `count` likeliest allowed tokens (a masked token has minus infinity)."""
    allowed = sorted((entry for entry in of_token.values() if math.isfinite(entry.logprob)), key=lambda entry: -entry.logprob)
    named: dict[str, float] = {}
    for entry in allowed[:count]:
        named.setdefault(entry.decoded_token or "", entry.logprob)
    return named


def _ended(finish_reason: str, structure: Structure | None) -> ModelFailure:
    if structure is not None and finish_reason == "error":
        return InvalidOutput("the engine could not follow the requested structure")
    return EngineUnavailable(f"the engine ended the request ({finish_reason})")
