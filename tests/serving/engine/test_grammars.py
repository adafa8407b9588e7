"""Deploy-time grammars: compiled once, found on disk, and never trusted when damaged."""

import json
from pathlib import Path

import outlines_core  # type: ignore[import-untyped]
import pytest

from agents.ports import Structure
from serving.engine.grammars import GrammarCache, expressible, pattern_of, reference, tokenizer_digest

EOS = 0
TOKENS = {"a": 1, "b": 2, "1": 3, "2": 4, "{": 5, "}": 6, '"': 7, ":": 8, "n": 9, " ": 10}
PLAN = Structure("regex", "[ab][12]{1,2}", "plan")


def vocabulary() -> outlines_core.Vocabulary:
    return outlines_core.Vocabulary(EOS, {token.encode(): [number] for token, number in TOKENS.items()})


def cache(folder: Path | None, digest: str = "one") -> GrammarCache:
    return GrammarCache(folder, digest, vocabulary)


def allowed(index: outlines_core.Index) -> set[int]:
    return set(index.get_allowed_tokens(index.get_initial_state()))


def test_second_start_loads_what_the_first_compiled(tmp_path: Path) -> None:
    first, second = cache(tmp_path), cache(tmp_path)
    compiled, loaded = first.index(PLAN), second.index(PLAN)
    assert (first.compiled, first.loaded, second.compiled, second.loaded) == (1, 0, 0, 1)
    assert allowed(compiled) == allowed(loaded) == {TOKENS["a"], TOKENS["b"]}


def test_loading_does_not_need_the_vocabulary(tmp_path: Path) -> None:
    cache(tmp_path).index(PLAN)

    def needed() -> outlines_core.Vocabulary:
        raise AssertionError("the vocabulary was built")

    GrammarCache(tmp_path, "one", needed).index(PLAN)


def test_another_tokenizer_or_structure_is_compiled_anew(tmp_path: Path) -> None:
    cache(tmp_path).index(PLAN)
    other = cache(tmp_path, digest="two")
    other.index(PLAN)
    same = cache(tmp_path)
    same.index(Structure("regex", "[ab]", "shorter"))
    assert (other.compiled, same.compiled) == (1, 1)


@pytest.mark.parametrize("damage", [b"", b"x" * 10, b"x" * 400])
def test_damaged_file_is_compiled_again(tmp_path: Path, damage: bytes) -> None:
    cache(tmp_path).index(PLAN)
    (written,) = tmp_path.iterdir()
    written.write_bytes(damage)
    again = cache(tmp_path)
    again.index(PLAN)
    assert again.compiled == 1
    assert cache(tmp_path).index(PLAN) is not None


def test_works_without_a_folder() -> None:
    assert allowed(cache(None).index(PLAN)) == {TOKENS["a"], TOKENS["b"]}


def test_json_has_no_white_space() -> None:
    pattern = pattern_of(Structure("json", '{"type":"object","properties":{"n":{"enum":["a"]}},"required":["n"]}'))
    index = outlines_core.Index(pattern, vocabulary())
    state = index.get_next_state(index.get_initial_state(), TOKENS["{"])
    assert set(index.get_allowed_tokens(state)) == {TOKENS['"']}


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        (
            {"type": "object", "properties": {"tool": {"enum": ["a"]}}, "required": ["tool"], "additionalProperties": False},
            True,
        ),
        ({"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2}, True),
        ({"type": "integer", "minimum": 1, "maximum": 9}, False),
        ({"type": "object", "properties": {"n": {"type": "number"}}, "additionalProperties": False}, False),
        ({"type": "object", "properties": {}}, False),
        ({"type": "array", "items": {"enum": ["a"]}}, False),
        ({"anyOf": [{"enum": ["a"]}]}, False),
        ({"type": "array", "items": {"enum": ["a"]}, "maxItems": 2, "uniqueItems": True}, False),
    ],
)
def test_only_schemas_whose_automaton_keeps_every_keyword_are_compiled_ahead(schema: dict[str, object], kept: bool) -> None:
    assert expressible(Structure("json", json.dumps(schema))) is kept


def test_references_tell_structures_apart() -> None:
    one, other = Structure("regex", "[ab]"), Structure("choice", '["[ab]"]')
    assert reference(one) == reference(Structure("regex", "[ab]", "named"))
    assert reference(one) != reference(other)


def test_choices_are_taken_literally() -> None:
    index = outlines_core.Index(pattern_of(Structure("choice", '["a","b1"]')), vocabulary())
    assert allowed(index) == {TOKENS["a"], TOKENS["b"]}


def test_digest_tells_tokenizers_apart() -> None:
    assert tokenizer_digest(TOKENS, EOS) == tokenizer_digest(dict(reversed(TOKENS.items())), EOS)
    assert tokenizer_digest(TOKENS, EOS) != tokenizer_digest({**TOKENS, "c": 11}, EOS)
    assert tokenizer_digest(TOKENS, EOS) != tokenizer_digest(TOKENS, 1)
