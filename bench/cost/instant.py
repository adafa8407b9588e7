"""A model that costs nothing: it plans as the nearest exemplar says and drafts a courtesy, piece by piece, without waiting."""

from collections.abc import AsyncGenerator, Mapping

from agents.ports import ModelChunk, ModelRequest, ModelResult

COURTESY = ("I'm sorry to hear that.", "非常抱歉。")
PIECE_CHARS = 4  # about a token
WEIGHED = 8  # alternatives a token's probabilities name, as an engine under a grammar gives them


class InstantModel:
    """Implements the `Model` port. Remembers nothing, so that what grows under load is not the model."""

    async def generate(self, request: ModelRequest) -> ModelResult:
        return _result(request, _said(request))

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        said = _said(request)
        for piece in _pieces(said):
            yield ModelChunk(piece)
        yield ModelChunk("", _result(request, said))


def _said(request: ModelRequest) -> str:
    if request.structure is not None:
        return request.messages[-2].content  # the exemplar shown last is the nearest; its answer is a plan
    return COURTESY[not request.messages[0].content.isascii()]


def _result(request: ModelRequest, said: str) -> ModelResult:
    pieces = _pieces(said)
    logprobs = tuple(_weighed(piece) for piece in pieces) if request.logprobs else ()
    prompt = sum(len(message.content) for message in request.messages) // PIECE_CHARS
    return ModelResult(said, "stop", prompt, len(pieces), token_logprobs=logprobs)


def _weighed(piece: str) -> Mapping[str, float]:
    return {piece: -0.05} | {f"{number}?": -5.0 - number for number in range(WEIGHED - 1)}


def _pieces(text: str) -> list[str]:
    return [text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS)]
