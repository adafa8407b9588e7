"""Grammars inside vLLM's engine process: Outlines for what was compiled ahead, llguidance for what a request brings.

vLLM takes one structured-output backend an engine. This one composes two of its own: a structure known at deploy time is a
lookup (microseconds), any other is compiled by llguidance, whose compile time stays in milliseconds because it derives
the automaton lazily. Neither makes a request wait for an automaton over the whole vocabulary.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import outlines_core  # type: ignore[import-untyped]
from vllm.config import VllmConfig
from vllm.v1.structured_output.backend_guidance import GuidanceBackend, GuidanceGrammar
from vllm.v1.structured_output.backend_outlines import OutlinesGrammar
from vllm.v1.structured_output.backend_types import StructuredOutputBackend, StructuredOutputGrammar, StructuredOutputOptions
from vllm.v1.structured_output.utils import get_outlines_vocabulary

from agents.ports import Structure
from serving.engine.grammars import GrammarCache, reference, tokenizer_digest


class Compiled:
    """A deploy-time grammar: its automaton, and the states after which only the end token may follow."""

    def __init__(self, index: Any, eos_token_id: int) -> None:
        self.index = index
        self.complete = frozenset(
            state for state in index.get_final_states() if set(index.get_allowed_tokens(state)) <= {eos_token_id}
        )


class AheadGrammar(OutlinesGrammar):
    """One request's walk through a deploy-time grammar."""

    compiled: Compiled
    waited_s: float = 0.0

    def completes(self, tokens: Sequence[int]) -> bool:
        """True when after `tokens` (as sampled, not yet accepted) nothing but the end could follow."""
        state = self.guide.get_state()
        for token in tokens:
            state = self.compiled.index.get_next_state(state, token)
            if state is None:
                return False
        return state in self.compiled.complete


class RequestGrammar(GuidanceGrammar):
    """One request's walk through a grammar that came with it."""

    waited_s: float = 0.0

    def completes(self, tokens: Sequence[int]) -> bool:
        """True when after `tokens` (as sampled, not yet accepted) nothing but the end could follow."""
        if self.ll_matcher.is_stopped():
            return True
        taken = self.ll_matcher.try_consume_tokens(list(tokens))
        complete = taken == len(tokens) and self.ll_matcher.is_stopped() and not self.ll_matcher.is_error()
        self.ll_matcher.rollback(taken)
        return complete


class ComposedBackend(StructuredOutputBackend):
    """vLLM's backend interface over both. Built before the engine is ready; building it compiles or loads `structures`."""

    def __init__(
        self,
        vllm_config: VllmConfig,
        tokenizer: Any,
        vocab_size: int,
        structures: Sequence[Structure],
        cache_folder: Path | None,
    ) -> None:
        super().__init__(vllm_config=vllm_config, tokenizer=tokenizer, vocab_size=vocab_size)
        self._guidance = GuidanceBackend(vllm_config, tokenizer=tokenizer, vocab_size=vocab_size)
        speculative = vllm_config.speculative_config
        self._max_rollback: int = speculative.num_speculative_tokens if speculative is not None else 0
        digest = tokenizer_digest(tokenizer.get_vocab(), tokenizer.eos_token_id)
        cache = GrammarCache(cache_folder, digest, lambda: get_outlines_vocabulary(tokenizer).inner)
        self._ahead: Mapping[str, Compiled] = {
            reference(structure): Compiled(cache.index(structure), tokenizer.eos_token_id) for structure in structures
        }

    def compile_grammar(
        self, request_type: StructuredOutputOptions, grammar_spec: str, stop_token_ids: set[int] | None = None
    ) -> StructuredOutputGrammar:
        started = time.perf_counter()
        compiled = self._ahead.get(grammar_spec)
        grammar: AheadGrammar | RequestGrammar
        if compiled is not None:
            guide = outlines_core.Guide(compiled.index, max_rollback=self._max_rollback)
            grammar = AheadGrammar(self.vocab_size, self.tokenizer.eos_token_id, guide)
            grammar.compiled = compiled
        else:
            made = self._guidance.compile_grammar(request_type, grammar_spec, stop_token_ids)
            assert isinstance(made, GuidanceGrammar)
            if made.ll_matcher.is_error():
                raise ValueError(made.ll_matcher.get_error())
            grammar = RequestGrammar(made.ll_matcher, made.ll_tokenizer, made.vocab_size)
        grammar.waited_s = time.perf_counter() - started
        return grammar

    def allocate_token_bitmask(self, max_num_seqs: int) -> Any:
        return self._guidance.allocate_token_bitmask(max_num_seqs)

    def destroy(self) -> None:
        """Nothing is held outside this process's memory."""
