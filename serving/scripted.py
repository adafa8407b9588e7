"""A model and a retriever that say what they were told to say: for tests, evaluations, and `serve --model scripted`."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from agents.domain.errors import EmptyOutput
from agents.domain.pack import Pack
from agents.domain.words import Act, Exemplar
from agents.ports import ModelChunk, ModelRequest, ModelResult, Retrieved, ScoredClause, ScoredExemplar
from serving.engine.outputs import check_output, check_structure

Script = Callable[[ModelRequest], str] | Sequence[str]


class ScriptedModel:
    """Implements the `Model` port. `script` is a function of the request, or texts given out in order.

    Streams word by word. Raises what the real engine would raise: InvalidOutput when a text does not match the requested
    structure, TruncatedOutput when it does not fit into `max_tokens` words, EmptyOutput when a sequence has run out.
    An exception raised by the function passes through. `requests` records everything asked, in order.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._given = 0
        self.requests: list[ModelRequest] = []

    async def generate(self, request: ModelRequest) -> ModelResult:
        async for chunk in self.stream(request):
            if chunk.result is not None:
                return chunk.result
        raise EmptyOutput("the script gave no result")

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        started = time.perf_counter()
        self.requests.append(request)
        if request.structure is not None:
            check_structure(request.structure)
        words = _words(self._next(request))
        finish_reason = "stop" if len(words) <= request.max_tokens else "length"
        words = words[: request.max_tokens]
        text = "".join(words)
        check_output(text, finish_reason, request.structure)
        first_token_s = time.perf_counter() - started
        for word in words:
            yield ModelChunk(word)
        result = ModelResult(
            text=text,
            finish_reason=finish_reason,
            prompt_tokens=sum(len(_words(message.content)) for message in request.messages),
            completion_tokens=len(words),
            first_token_s=first_token_s,
            total_s=time.perf_counter() - started,
        )
        yield ModelChunk("", result)

    def _next(self, request: ModelRequest) -> str:
        if callable(self._script):
            return self._script(request)
        if self._given >= len(self._script):
            raise EmptyOutput(f"the script has only {len(self._script)} texts")
        self._given += 1
        return self._script[self._given - 1]


def _words(text: str) -> list[str]:
    """`text` cut before each space, so that joining the pieces gives it back."""
    pieces = text.split(" ")
    return [piece if index == 0 else f" {piece}" for index, piece in enumerate(pieces) if piece or index]


class TableRetriever:
    """A Retriever that looks messages up: text -> (scenario, act). Unknown texts are small talk. Sure of itself unless
    `certainty` says otherwise for a text."""

    def __init__(self, pack: Pack, table: Mapping[str, tuple[str, Act]], certainty: Mapping[str, float] | None = None) -> None:
        self._pack, self._table, self._certainty = pack, table, dict(certainty or {})

    def retrieve(self, text: str, locale: str, *, exemplars: int = 8, clauses: int = 6) -> Retrieved:
        scenario, act = self._table.get(text, ("small_talk", Act.GREETS))
        sure = self._certainty.get(text, 0.97)
        return Retrieved(
            exemplars=(ScoredExemplar(Exemplar("an example", locale, scenario, act), 1.0),),
            clauses=tuple(ScoredClause(clause.id, 1.0) for clause in self._pack.clauses[:clauses]),
            scenarios=_shares(self._pack.scenarios, scenario, 0.97),
            acts=_shares(tuple(Act), act, sure),
        )


def _shares(labels: Mapping[str, object] | tuple[Act, ...], chosen: str, sure: float) -> dict[str, float]:
    rest = (1.0 - sure) / (len(labels) - 1)
    return {str(label): sure if str(label) == chosen else rest for label in labels}
