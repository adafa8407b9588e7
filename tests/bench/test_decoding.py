"""The decoding evaluation finds what it is there to find."""

import json
import re

from agents.domain.errors import EmptyOutput
from agents.ports import ModelRequest, Structure
from bench.decoding import DEPLOYED, GRAMMAR_P99_S, Outcome, ask, make_requests, run, summary
from serving.engine.outputs import check_structure
from serving.scripted import ScriptedModel

WORDS = ("bench-plan", "A a KW-1042"), ("bench-risk", "risk=low next=ask")


def obedient(request: ModelRequest) -> str:
    """The shortest valid answer to the structures used below."""
    structure = request.structure
    assert structure is not None
    if structure.kind == "choice":
        return str(json.loads(structure.spec)[0])
    return dict(WORDS)[structure.name or ""]


async def test_a_model_that_obeys_passes_every_bar() -> None:
    known = tuple(structure for structure in DEPLOYED if structure.kind in {"choice", "regex"})
    requests = [request for request in make_requests(0, 24, known) if request.structure in known]
    outcomes = [await ask(ScriptedModel(obedient), request) for request in requests]
    assert summary(outcomes, 1.0).ok
    assert len(outcomes) == 12


async def test_one_empty_output_fails_the_bar() -> None:
    def empty(request: ModelRequest) -> str:
        raise EmptyOutput("nothing")

    result = await run(ScriptedModel(empty), quick=True)
    assert not result.ok
    assert result.bars["empty_or_invalid_outputs"].value == 24
    assert result.detail["problems"] == {"empty": 24}


async def test_an_output_of_another_form_counts_as_invalid() -> None:
    result = await run(ScriptedModel(lambda request: "something else"), quick=True)
    assert result.detail["problems"] == {"invalid": 24}


def test_a_slow_grammar_fails_the_bar() -> None:
    slow = Outcome(Structure("regex", "a"), None, grammar_s=GRAMMAR_P99_S * 2)
    assert not summary([slow], 1.0).bars["grammar_wait_p99_s"].ok


def test_requests_mix_deploy_time_structures_with_unseen_ones_and_every_structure_is_valid() -> None:
    requests = list(make_requests(3, 64, DEPLOYED))
    structures = [request.structure for request in requests if request.structure is not None]
    unseen = {structure.spec for structure in structures if structure.name is None}
    assert len(unseen) >= 24
    assert {structure.kind for structure in structures} == {"regex", "choice", "json"}
    for structure in structures:
        check_structure(structure)


def test_the_seed_decides_the_requests() -> None:
    assert list(make_requests(1, 10, DEPLOYED)) == list(make_requests(1, 10, DEPLOYED))
    assert list(make_requests(1, 10, DEPLOYED)) != list(make_requests(2, 10, DEPLOYED))


def test_plans_of_the_words_are_plans() -> None:
    patterns = {structure.name: structure.spec for structure in DEPLOYED}
    assert all(re.fullmatch(patterns[name], text) for name, text in WORDS)
