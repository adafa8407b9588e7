"""The handle: what the replica says arrives as it was said, and Ray's own errors in our words. Ray runs for real."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import pytest
import ray
from ray import serve
from ray.exceptions import ActorDiedError, GetTimeoutError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from agents.domain.errors import (
    BadInput,
    DeadlineExceeded,
    EmptyOutput,
    EngineUnavailable,
    KeepwordError,
    Overloaded,
    TruncatedOutput,
)
from agents.ports import Message, ModelChunk, ModelRequest, ModelResult
from serving.engine.deployment import model_app
from serving.engine.handle import EngineHandle, translated
from serving.engine.wire import Failure, from_wire, to_wire
from serving.scripted import ScriptedModel

REQUEST = ModelRequest((Message("user", "hello"),), max_tokens=8, deadline_s=20.0)


def asked(text: str, *, deadline_s: float = 20.0, session_id: str | None = None) -> ModelRequest:
    return ModelRequest((Message("user", text),), max_tokens=64, deadline_s=deadline_s, session_id=session_id)


class Obedient:
    """Does what the message says. `marks` is a folder where it writes down that a stream was closed."""

    def __init__(self, marks: Path) -> None:
        self._marks = marks

    async def generate(self, request: ModelRequest) -> ModelResult:
        return await ScriptedModel(_obey).generate(request)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        if request.messages[0].content == "never end":
            try:
                yield ModelChunk("first")
                await asyncio.Event().wait()
            finally:
                (self._marks / "closed").touch()
        async for chunk in ScriptedModel(_obey).stream(request):
            yield chunk


def _obey(request: ModelRequest) -> str:
    text = request.messages[0].content
    if text == "fail":
        raise TruncatedOutput("cut", hint="Raise it.")
    if text == "bad":
        raise BadInput("no", field="messages")
    if text == "crash":
        raise ZeroDivisionError
    return f"you said {text}"


def opened(marks: Path) -> Callable[[], Obedient]:
    return lambda: Obedient(marks)


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def engine(marks: Path) -> Iterator[EngineHandle]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        handle = serve.run(model_app(opened(marks)), name="engine-test", route_prefix=None)
        yield EngineHandle(handle)
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


async def test_result_crosses_the_boundary_unchanged(engine: EngineHandle) -> None:
    result = await engine.generate(asked("hi", session_id="s1"))
    assert (result.text, result.finish_reason, result.completion_tokens) == ("you said hi", "stop", 3)


async def test_a_stream_crosses_its_first_piece_at_once_and_the_rest_of_a_sentence_together(engine: EngineHandle) -> None:
    chunks = [chunk async for chunk in engine.stream(asked("hi"))]
    assert [chunk.text for chunk in chunks] == ["you", " said hi"]
    assert chunks[-1].result is not None


async def test_failure_crosses_as_the_error_it_was(engine: EngineHandle) -> None:
    with pytest.raises(TruncatedOutput) as raised:
        await engine.generate(asked("fail"))
    assert raised.value.hint == "Raise it."
    with pytest.raises(BadInput) as refused:
        async for _ in engine.stream(asked("bad")):
            pass
    assert refused.value.field == "messages"


async def test_bug_in_the_replica_is_an_unavailable_engine(engine: EngineHandle) -> None:
    with pytest.raises(EngineUnavailable):
        await engine.generate(asked("crash"))


async def test_closing_the_stream_closes_it_in_the_replica(engine: EngineHandle, marks: Path) -> None:
    (marks / "closed").unlink(missing_ok=True)
    stream = engine.stream(asked("never end"))
    assert (await anext(stream)).text == "first"
    await stream.aclose()
    async with asyncio.timeout(20):
        while not (marks / "closed").exists():
            await engine.generate(asked("hi"))


async def test_stream_that_never_ends_meets_its_deadline(engine: EngineHandle) -> None:
    with pytest.raises(DeadlineExceeded):
        async for _ in engine.stream(asked("never end", deadline_s=-1.9)):
            pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ActorDiedError(), EngineUnavailable),
        (GetTimeoutError(), DeadlineExceeded),
        (TimeoutError(), DeadlineExceeded),
        (BackPressureError(num_queued_requests=9, max_queued_requests=9), Overloaded),
        (DeploymentUnavailableError(DeploymentID(name="engine")), EngineUnavailable),
    ],
)
def test_every_error_of_rays_has_a_word_of_ours(error: BaseException, kind: type[KeepwordError]) -> None:
    assert isinstance(translated(error, REQUEST.deadline_s), kind)


@pytest.mark.parametrize("error", [EmptyOutput("e", hint="h"), DeadlineExceeded("d"), BadInput("b", field="f")])
def test_errors_survive_the_wire(error: KeepwordError) -> None:
    back = from_wire(to_wire(error))
    assert (type(back), back.message, back.hint) == (type(error), error.message, error.hint)


def test_failure_of_an_unknown_kind_says_what_it_was() -> None:
    assert "new-kind" in from_wire(Failure("new-kind", "m")).message
