"""What the simulated model says: plausible for load, chosen in microseconds, the same for the same request and seed.

A plan is the label of the nearest exemplar in the prompt; a draft is a courteous sentence the verifier lets through; a
structure gets something it allows; anything else gets as many words as it asked tokens for.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from zlib import crc32

from agents.ports import ModelRequest
from agents.reply.drafter import COURTESY_TASK
from bench.simulator.structured import matches, sample
from bench.simulator.tokens import pieces

COURTESY: Final = (
    "Thank you for telling us about this.",
    "Thank you for contacting us.",
    "I understand that this is frustrating.",
    "I'm sorry for the trouble.",
)
COURTESY_ZH: Final = ("非常抱歉给您带来不便。", "理解您的心情。", "感谢您来咨询。")
_PLAIN: Final = """
parcel order customer label reply answer question window number table paper letter cover green small simple early morning
street corner garden river bridge station ticket music colour bottle basket kitchen coffee summer winter
"""
WORDS: Final = tuple(f" {word}" for word in _PLAIN.split())
END: Final = ""  # the token a model ends with: it takes a step and says nothing
SURE: Final = -0.05  # log-probability of the token written
OTHER: Final = -4.0  # of another one, where others were possible


@dataclass(frozen=True, slots=True)
class Said:
    """An answer in tokens. `complete`: it ended by itself, not at the request's limit."""

    tokens: tuple[str, ...]
    complete: bool

    @property
    def text(self) -> str:
        return "".join(self.tokens)


def answer(request: ModelRequest, seed: int) -> Said:
    """What the model says to `request`. Raises BadInput for a structure that is not valid."""
    mixed = (request.seed or 0, seed, request.messages[-1].content if request.messages else "")
    rng = random.Random(crc32(repr(mixed).encode()))
    if request.structure is not None:
        return _within(pieces(_structured(request, rng)), request.max_tokens)
    if request.messages and request.messages[0].content.startswith(COURTESY_TASK):
        return _within((*pieces(_courtesy(request, rng)), END), request.max_tokens)
    return _stopped(tuple(rng.choices(WORDS, k=request.max_tokens)), request.stop)


def weighed(tokens: tuple[str, ...], count: int) -> tuple[Mapping[str, float], ...]:
    """Log-probabilities for each token as the port gives them: the model is sure of itself."""
    return tuple({token: SURE, "\u2026": OTHER} if count > 1 else {token: SURE} for token in tokens)


def _structured(request: ModelRequest, rng: random.Random) -> str:
    assert request.structure is not None
    shown = next((message.content for message in reversed(request.messages) if message.role == "assistant"), None)
    if shown is not None and matches(request.structure, shown):
        return shown
    return sample(request.structure, rng)


def _courtesy(request: ModelRequest, rng: random.Random) -> str:
    return rng.choice(COURTESY_ZH if _chinese(request.messages[0].content) else COURTESY)


@lru_cache(maxsize=64)
def _chinese(text: str) -> bool:
    return any("\u3400" <= character <= "\u9fff" for character in text)


def _within(tokens: tuple[str, ...], limit: int) -> Said:
    return Said(tokens[:limit], complete=len(tokens) <= limit)


def _stopped(tokens: tuple[str, ...], stop: tuple[str, ...]) -> Said:
    """The words up to the first stop string, which is not part of the answer; at least one word comes before it."""
    if not stop:
        return Said(tokens, complete=False)
    text = "".join(tokens)
    ends = [at for phrase in stop if (at := text.find(phrase, len(tokens[0]))) >= 0]
    if not ends:
        return Said(tokens, complete=False)
    cut, kept = min(ends), []
    for token in tokens:
        if cut <= 0:
            break
        kept.append(token[:cut])
        cut -= len(token)
    return Said(tuple(kept), complete=True)
