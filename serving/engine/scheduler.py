"""vLLM's schedulers with Keepword's grammars. Passed as `scheduler_cls`, the engine's own hook for this.

Two things are added. The structured-output manager gets its backend before the first request (so deploy-time grammars are
compiled before the engine is ready, and a grammar is there before its request is scheduled). And a request whose grammar
is complete ends at once, instead of spending one more step on the only token that could follow: the end.
"""

from pathlib import Path
from typing import Any, Final

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

from agents.ports import Structure
from serving.engine.backend import AheadGrammar, ComposedBackend, RequestGrammar
from serving.engine.lifeline import end_with_parent

GRAMMAR_WAIT: Final = "grammar_s"
CONFIG: Final = "keepword"


class _WithGrammars(Scheduler):
    """Reads `additional_config["keepword"]`: `structures` as (kind, spec, name) triples, `grammar_cache` a folder or None."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        end_with_parent()
        given: Any = self.vllm_config.additional_config
        ours = given[CONFIG]
        folder = ours["grammar_cache"]
        structured_output_manager: StructuredOutputManager = self.structured_output_manager
        structured_output_manager.backend = ComposedBackend(
            self.vllm_config,
            tokenizer=structured_output_manager.tokenizer,
            vocab_size=self.vllm_config.model_config.get_vocab_size(),
            structures=[Structure(kind, spec, name) for kind, spec, name in ours["structures"]],
            cache_folder=Path(folder) if folder is not None else None,
        )
        # A grammar takes milliseconds here. Made in the thread that receives requests, it is there before its request can be
        # scheduled; made in the background, losing that race by a microsecond costs the request a whole step.
        structured_output_manager._use_async_grammar_compilation = False

    def update_from_output(self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput) -> Any:
        waits: dict[str, float] = {}
        for request_id, row in model_runner_output.req_id_to_index.items():
            request = self.requests.get(request_id)
            grammar = _grammar(request) if request is not None else None
            if request is None or grammar is None:
                continue
            waits[request_id] = grammar.waited_s
            tokens = model_runner_output.sampled_token_ids[row] if model_runner_output.sampled_token_ids else []
            if len(tokens) and grammar.completes(tokens):
                request.max_tokens = min(request.max_tokens, request.num_output_tokens + len(tokens))
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        for of_client in outputs.values():
            for output in of_client.outputs:
                if output.finish_reason is not None and output.request_id in waits:
                    # The one free-form field that travels from here to the request's own output.
                    output.kv_transfer_params = {
                        **(output.kv_transfer_params or {}),
                        GRAMMAR_WAIT: waits[output.request_id],
                    }
        return outputs


def _grammar(request: Request) -> AheadGrammar | RequestGrammar | None:
    structured = request.structured_output_request
    grammar = structured.grammar if structured is not None else None
    return grammar if isinstance(grammar, AheadGrammar | RequestGrammar) else None


class GrammarScheduler(_WithGrammars):
    """Where a step's outputs are known before the next step is planned (CPU)."""


class AsyncGrammarScheduler(_WithGrammars, AsyncScheduler):
    """Where the next step is planned while one runs (GPU)."""
