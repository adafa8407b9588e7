"""What holds for every route."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tests.serving.openai.conftest import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_no_request_waits_for_a_thread(served: Served) -> None:
    """FastAPI does in threads what is not async, at every request: where many came together, threads had to start first."""
    routes = [route for route in served.app.routes if isinstance(route, APIRoute)]
    calls = [call for route in routes for call in _calls(route.dependant)]
    assert {"deadline_s", "raw_deadline_s", "api_of", "take_turn"} <= {call.__name__ for call in calls}
    assert [call for call in calls if not inspect.iscoroutinefunction(call)] == []


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """A route's handler and all it depends on."""
    if dependant.call is not None:
        yield dependant.call
    for each in dependant.dependencies:
        yield from _calls(each)
