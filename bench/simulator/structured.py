"""Valid answers to any structure, by a walk through its grammar (llguidance, which the real engine follows too)."""

import json
import random
from functools import lru_cache
from typing import Any, Final

from agents.domain.errors import BadInput, EmptyOutput, TruncatedOutput
from agents.ports import Structure
from serving.engine.outputs import check_structure, matcher

MAX_CHARS: Final = 4096
_PLAIN: Final = frozenset(range(0x20, 0x7F))
_CLOSING: Final = frozenset(b'"}]')
CLOSES: Final = 0.3  # of the steps where a string or a list could end, it does


@lru_cache(maxsize=1024)
def choices(structure: Structure) -> tuple[str, ...]:
    """The strings of a `choice`."""
    return tuple(json.loads(structure.spec))


def sample(structure: Structure, rng: random.Random) -> str:
    """An answer the structure allows. Raises BadInput for one that is not valid, TruncatedOutput when none ends soon enough."""
    check_structure(structure)
    if structure.kind == "choice":
        return rng.choice(choices(structure))
    return _walk(structure, rng)


def matches(structure: Structure, text: str) -> bool:
    return matcher(structure).wrong(text) is None


@lru_cache(maxsize=256)
def _grammar(structure: Structure) -> str:
    from llguidance import LLMatcher

    if structure.kind == "regex":
        return str(LLMatcher.grammar_from_regex(structure.spec))
    return str(LLMatcher.grammar_from_json_schema(structure.spec, defaults={"whitespace_flexible": False}))


def _walk(structure: Structure, rng: random.Random) -> str:
    """Byte by byte: printable ones where there are any, and the end as soon as it may come."""
    from llguidance import LLMatcher

    tokenizer = _tokenizer()
    walk = LLMatcher(tokenizer, _grammar(structure))
    written = bytearray()
    while len(written) < MAX_CHARS:
        if walk.is_error():
            raise BadInput(f"the structure cannot be followed: {walk.get_error()}", field="structure")
        if walk.is_accepting() and written.strip():
            return written.decode()
        bias = walk.compute_logit_bias()
        allowed = [byte for byte in range(256) if bias[byte]]
        if not allowed:
            raise EmptyOutput(f"the {structure.kind} allows nothing but white space")
        plain = [byte for byte in allowed if byte in _PLAIN] or allowed
        closing = [byte for byte in plain if byte in _CLOSING]
        token = rng.choice(closing) if closing and rng.random() < CLOSES else rng.choice(plain)
        walk.consume_token(token)
        written.append(token)
    raise TruncatedOutput(f"no answer to the {structure.kind} within {MAX_CHARS} characters")


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")
