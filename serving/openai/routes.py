"""The OpenAI routes: bodies are checked here, everything else is passed on."""

from dataclasses import dataclass, field
from time import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from serving.admission.tickets import Caller
from serving.http.body import BodyGuard
from serving.openai import errors
from serving.openai.access import ChatCaller, Door, RawDeadline
from serving.openai.contract import SSE, Call, Operation, RawModel
from serving.openai.desk import DESK, DeskAnswers
from serving.openai.embeddings import Embeddings
from serving.openai.errors import ModelNotFound, responses
from serving.openai.passing import Passed
from serving.openai.schemas import (
    Answer,
    ChatRequest,
    CompletionRequest,
    EmbeddingList,
    EmbeddingRequest,
    LoadOut,
    ModelCard,
    ModelList,
)

NOT_FOR_THE_MODEL = ("user", "prompt_cache_key", "metadata")
STREAMED: dict[int | str, dict[str, Any]] = {200: {"model": Answer, "content": {SSE: {}}}}
TAGS = ["openai"]


@dataclass
class OpenAIApi:
    """What the routes serve: a raw model and its name, the desk, and an embedder where there is one."""

    raw: RawModel
    raw_name: str
    desk: DeskAnswers
    embeddings: Embeddings | None = None
    created: int = field(default_factory=lambda: int(time()))

    def cards(self) -> list[ModelCard]:
        names = [self.raw_name, DESK, *([self.embeddings.name] if self.embeddings is not None else [])]
        return [ModelCard(id=name, created=self.created, owned_by="keepword") for name in names]

    def unknown(self, name: str) -> ModelNotFound:
        known = ", ".join(card.id for card in self.cards())
        return ModelNotFound(f"no model {name!r} here", hint=f"There are: {known}.")


async def api_of(request: Request) -> OpenAIApi:
    api: OpenAIApi = request.app.state.openai
    return api


Api = Annotated[OpenAIApi, Depends(api_of)]


async def create_chat_completion(body: ChatRequest, api: Api, caller: ChatCaller, deadline_s: RawDeadline) -> Response:
    """A chat completion by the raw model, or a turn of the model `desk`. Streams with `stream: true`."""
    if body.model == DESK:
        said = body.model_dump(exclude_none=True, by_alias=True)
        return Passed(api.desk.answer(Call("chat", said, deadline_s=deadline_s, caller=caller)))
    return Passed(api.raw.answer(_call(api, "chat", body, deadline_s, caller)))


async def read_load(api: Api, _caller: ChatCaller) -> LoadOut:
    """How much the raw model has to do now. Not OpenAI's: for balancing, and to see that a client that left is gone."""
    return LoadOut(unfinished=(await api.raw.load()).unfinished)


async def create_completion(body: CompletionRequest, api: Api, caller: ChatCaller, deadline_s: RawDeadline) -> Response:
    """A completion of a bare prompt by the raw model."""
    return Passed(api.raw.answer(_call(api, "completion", body, deadline_s, caller)))


async def create_embeddings(body: EmbeddingRequest, api: Api, _caller: ChatCaller) -> EmbeddingList:
    """Vectors of unit length. `kind: "passage"` for documents, "query" (the default) for short texts."""
    if api.embeddings is None or body.model != api.embeddings.name:
        raise api.unknown(body.model)
    return await api.embeddings.answer(body)


async def list_models(api: Api, _caller: ChatCaller) -> ModelList:
    """The models this server answers for."""
    return ModelList(data=api.cards())


async def retrieve_model(model: str, api: Api, _caller: ChatCaller) -> ModelCard:
    """One model."""
    for card in api.cards():
        if card.id == model:
            return card
    raise api.unknown(model)


def _call(
    api: OpenAIApi, operation: Operation, body: ChatRequest | CompletionRequest, deadline_s: float, caller: Caller
) -> Call:
    if body.model != api.raw_name:
        raise api.unknown(body.model)
    sent = body.model_dump(exclude_none=True, by_alias=True)
    affinity = sent.get("prompt_cache_key") or sent.get("user")
    for name in NOT_FOR_THE_MODEL:
        sent.pop(name, None)
    for message in sent.get("messages", ()):
        if message["role"] == "developer":  # OpenAI's newer name; chat templates know the older one
            message["role"] = "system"
    return Call(operation, sent, affinity, deadline_s, caller)


def router() -> APIRouter:
    """Every route, under /v1."""
    routes = APIRouter(prefix="/v1", tags=list(TAGS))
    answers = STREAMED | responses()
    routes.post("/chat/completions", response_class=Response, responses=answers)(create_chat_completion)
    routes.get("/chat/load", responses=responses(401, 403, 503, 504))(read_load)
    routes.post("/completions", response_class=Response, responses=answers)(create_completion)
    routes.post("/embeddings", responses=responses(400, 401, 403, 404, 413, 415, 429))(create_embeddings)
    routes.get("/models", responses=responses(401, 403, 429))(list_models)
    routes.get("/models/{model:path}", responses=responses(401, 403, 404, 429))(retrieve_model)
    return routes


def chat_app(api: OpenAIApi, door: Door) -> FastAPI:
    """The chat route alone, for an engine's replica that is reached directly: its path is what stays of /v1/chat/completions
    without the prefix the replica is mounted at."""
    app = FastAPI(title="Keepword, raw model", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.openai, app.state.desk = api, door
    app.add_middleware(BodyGuard, max_bytes=door.settings.max_body_bytes, refuse=_refused)
    app.post("/completions", response_class=Response)(create_chat_completion)
    app.get("/load")(read_load)
    errors.install(app, everywhere=True)
    return app


def _refused(kind: str, detail: str, *, hint: str, path: str) -> Response:
    return errors.error_response(kind, f"{detail}. {hint}")
