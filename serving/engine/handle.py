"""The `Model` port over a Ray Serve handle: the engine's other end. Ray's errors become ours here and nowhere else."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ray.exceptions import GetTimeoutError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from agents.domain.errors import DeadlineExceeded, EngineUnavailable, KeepwordError, Overloaded
from agents.ports import ModelChunk, ModelRequest, ModelResult
from serving.engine.wire import Answer, Failure, Piece, from_wire

GRACE_S: Final = 2.0  # beyond the request's own deadline, which the engine keeps and words better
RETRY_AFTER_S: Final = 2.0


class EngineHandle:
    """Raises what the engine raised; DeadlineExceeded when it does not answer in time, EngineUnavailable when it cannot be
    reached or died, Overloaded when its queue is full.

    Calls go by gRPC (`_by_reference=False`), not as actor calls through Ray's object store: a turn then takes two thirds of the
    CPU (`bench serve-settings`). Inside the context of an HTTP request Serve would hand over an answer's bytes as they came:
    call from a task with a context of its own, as turns do.
    """

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def generate(self, request: ModelRequest) -> ModelResult:
        response = self._method("generate", request, stream=False).remote(request)
        try:
            with translating(request.deadline_s):
                async with asyncio.timeout(request.deadline_s + GRACE_S):
                    answer: Answer = await response
        finally:
            response.cancel()  # a no-op once it has answered
        if isinstance(answer, Failure):
            raise from_wire(answer)
        return answer

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        """Closing it cancels the call, and with it the request inside the engine."""
        pieces = self._method("stream", request, stream=True).remote(request)
        deadline = asyncio.get_running_loop().time() + request.deadline_s + GRACE_S
        try:
            while True:
                with translating(request.deadline_s):
                    async with asyncio.timeout_at(deadline):
                        piece: Piece = await anext(pieces)
                if isinstance(piece, Failure):
                    raise from_wire(piece)
                yield piece
        except StopAsyncIteration:
            return
        finally:
            pieces.cancel()

    def _method(self, name: str, request: ModelRequest, *, stream: bool) -> Any:
        options: dict[str, Any] = {} if request.session_id is None else {"session_id": request.session_id}
        return self._handle.options(method_name=name, stream=stream, _by_reference=False, **options)


@contextmanager
def translating(deadline_s: float) -> Iterator[None]:
    """Ray's errors as ours, and gRPC's, and what broke in the replica: our own failures come as values. A call somebody else
    cancelled is an engine lost; only our own task's cancellation goes on."""
    try:
        yield
    except (KeepwordError, StopAsyncIteration):
        raise
    except Exception as error:
        raise translated(error, deadline_s) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise EngineUnavailable("the call to the engine was cancelled") from error


def translated(error: BaseException, deadline_s: float) -> KeepwordError:
    """Our word for an error of Ray's or of waiting."""
    if isinstance(error, BackPressureError):
        return Overloaded("the engine's queue is full", retry_after_s=RETRY_AFTER_S)
    if isinstance(error, TimeoutError | GetTimeoutError):
        return DeadlineExceeded(f"the engine did not answer within {deadline_s:g} s")
    return EngineUnavailable(f"the engine cannot be reached: {type(error).__name__}")
