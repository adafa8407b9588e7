"""The verifier: may this sentence reach the customer? Either it only shows understanding, or one point bears every word of it.

It trusts nothing a model wrote. A sentence that commits the desk to anything (a deed, a possibility, a time, an amount) must
say no more than one of the points the policy and the ledger allowed; anything else must be plain courtesy.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from agents.domain.words import Locale
from agents.reply import lexicon

MAX_SENTENCE_CHARS = 320
MIN_OVERLAP = 0.6  # of the sentence's words that must stand in the point that bears it
CLAIMS_KEPT = 256  # texts read: a turn's points are compared with each of its sentences, and said again in other turns
STEM_CHARS = 4  # "arrived" and "arriving" are the same word here
_WORD = re.compile(r"[a-z]{3,}|[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class _Claims:
    """What a text says, as far as the verifier compares it."""

    concepts: frozenset[str]
    numbers: frozenset[str]
    words: frozenset[str]
    negates: bool
    completed: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a sentence may rest on: the turn's points (true, complete sentences) and the customer's own words."""

    locale: Locale
    points: tuple[str, ...]
    customer_text: str


def objection(sentence: str, evidence: Evidence) -> str | None:
    """Why `sentence` must not be said, or None. The first reason found."""
    text = unicodedata.normalize("NFKC", sentence).strip()
    if not text or len(text) > MAX_SENTENCE_CHARS:
        return "empty or too long"
    if reason := _wrong_language(text, evidence.locale):
        return reason
    if found := lexicon.META.search(text):
        return f"talks about its task or as the customer: {found.group()!r}"
    everything = unicodedata.normalize("NFKC", "\n".join((*evidence.points, evidence.customer_text)))
    said = unicodedata.normalize("NFKC", "\n".join(evidence.points))
    for what, pattern, source in (
        ("an id", lexicon.IDENTIFIER, everything),
        ("a number", lexicon.NUMBER, everything),
        ("a written number", lexicon.WRITTEN_NUMBER, said),
        ("a time", lexicon.TIMES, said),
        ("a citation", lexicon.CITATION, said),
        ("a name", lexicon.CAPITALISED, everything),
        ("a title", lexicon.TITLED, everything),
    ):
        if missing := _missing(text, pattern, source):
            return f"{what} that stands nowhere: {missing!r}"
    if any(_bears(point, text) for point in evidence.points):
        return None
    if _commits(text, evidence.customer_text):
        return "a commitment no point bears"
    if not lexicon.OPENERS.match(text):
        return "not plain courtesy"
    if found := lexicon.REFUSES.search(text.lower()):
        return f"a refusal no point bears: {found.group()!r}"
    if lexicon.NEGATION.search(text.lower()) and not lexicon.NEGATION.search(evidence.customer_text.lower()):
        return "denies what nobody denied"
    if strange := _strange_word(text, everything):
        return f"tells of something nobody mentioned: {strange!r}"
    return None


def covers(sentences: Sequence[str], point: str) -> bool:
    """True when one of `sentences` says all that `point` says, so that it need not be said again."""
    return any(_bears(point, sentence) and _bears(sentence, point) for sentence in sentences)


def _wrong_language(text: str, locale: Locale) -> str | None:
    chinese, words = len(lexicon.CHINESE.findall(text)), len(lexicon.LATIN_WORD.findall(text))
    if locale == "zh" and (chinese < 2 or words > chinese):
        return "not in Chinese"
    if locale == "en" and (chinese or not words):
        return "not in English"
    return None


def _missing(text: str, pattern: re.Pattern[str], source: str) -> str | None:
    said = [match.group() for match in pattern.finditer(text)]
    if not said:
        return None
    known = {match.group().lower() for match in pattern.finditer(source)}
    return next((each for each in said if each.lower() not in known), None)


def _commits(text: str, customer_text: str) -> bool:
    """A binding word, or a matter of policy the customer did not bring up."""
    if lexicon.COMMITS.search(text.lower()):
        return True
    brought_up = _concepts(customer_text)
    return bool(_concepts(text) - brought_up) or bool(lexicon.NUMBER.search(text) and not lexicon.IDENTIFIER.search(text))


def _strange_word(text: str, known: str) -> str | None:
    """The first word that is neither courtesy nor said by the customer or a point (Chinese: the first character)."""
    lowered, known = text.lower(), known.lower()
    stems = {word[:STEM_CHARS] for word in _WORD.findall(known)}
    for word in _WORD.findall(lowered):
        if lexicon.CHINESE.match(word):
            if word not in lexicon.COURTESY_CHARACTERS and word not in known:
                return str(word)
        elif word not in lexicon.COURTESY_WORDS and word[:STEM_CHARS] not in stems:
            return str(word)
    return None


def _concepts(text: str) -> frozenset[str]:
    lowered = text.lower()
    return frozenset(name for name, pattern in lexicon.CONCEPTS.items() if pattern.search(lowered))


def _bears(point: str, sentence: str) -> bool:
    """True when `sentence` claims nothing that `point` does not: concepts, numbers, polarity, completion, and most words."""
    borne, said = _claims(point), _claims(sentence)
    if not (said.concepts <= borne.concepts and said.numbers <= borne.numbers):
        return False
    if said.negates != borne.negates or (said.completed and not borne.completed):
        return False
    return bool(said.words) and len(said.words & borne.words) / len(said.words) >= MIN_OVERLAP


@lru_cache(maxsize=CLAIMS_KEPT)
def _claims(text: str) -> _Claims:
    lowered = unicodedata.normalize("NFKC", text).lower()
    return _Claims(
        concepts=_concepts(lowered),
        numbers=frozenset(match.group() for match in lexicon.NUMBER.finditer(lowered)),
        words=frozenset(_WORD.findall(lowered)),
        negates=bool(lexicon.NEGATION.search(lowered)),
        completed=bool(lexicon.COMPLETED.search(lowered)),
    )
