"""What the OpenAI routes take. Unknown fields are refused by name, and so is what no model here can do (images, audio)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.http.schemas import Strict, Text

INT64 = 2**63
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Stop = Annotated[Text, Field(min_length=1)]
MAX_CHOICES = 16


class _Aliased(Strict):
    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)


class TextPart(Strict):
    type: Literal["text"]
    text: Text


Content = Annotated[str, Field(max_length=1_000_000)] | Annotated[list[TextPart], Field(min_length=1, max_length=256)]


class FunctionCall(Strict):
    name: Name
    arguments: Text


class ToolCall(Strict):
    id: Annotated[str, Field(min_length=1, max_length=64)]
    type: Literal["function"]
    function: FunctionCall


class SystemMessage(Strict):
    role: Literal["system", "developer"]
    content: Content
    name: Name | None = None


class UserMessage(Strict):
    role: Literal["user"]
    content: Content
    name: Name | None = None


class AssistantMessage(Strict):
    role: Literal["assistant"]
    content: Content | None = None
    name: Name | None = None
    refusal: None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "AssistantMessage":
        if self.content is None and self.tool_calls is None:
            raise ValueError("an assistant message needs content or tool_calls")
        return self


class ToolMessage(Strict):
    role: Literal["tool"]
    content: Content
    tool_call_id: Annotated[str, Field(min_length=1, max_length=64)]


ChatMessage = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(Strict):
    name: Name
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: Function


class FunctionName(Strict):
    name: Name


class NamedTool(Strict):
    type: Literal["function"]
    function: FunctionName


class TextFormat(Strict):
    type: Literal["text"]


class JsonObjectFormat(Strict):
    type: Literal["json_object"]


class JsonSchema(_Aliased):
    name: Name
    description: Text | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Strict):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class StreamOptions(Strict):
    include_usage: bool | None = None


class _Sampling(Strict):
    """What both endpoints share. The last group is vLLM's, under vLLM's names."""

    model: str = Field(min_length=1, max_length=128, description="A name from `/v1/models`.")
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]] | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    seed: int | None = Field(None, ge=-INT64, le=INT64 - 1)
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    user: Text | None = Field(None, max_length=256, description="Kept together for cache affinity; not stored.")

    top_k: int | None = Field(None, ge=0, le=1_000_000, description="vLLM's.")
    min_p: float | None = Field(None, ge=0, le=1, description="vLLM's.")
    repetition_penalty: float | None = Field(None, gt=0, le=4, description="vLLM's.")
    min_tokens: int | None = Field(None, ge=0, le=1_000_000, description="vLLM's.")
    ignore_eos: bool | None = Field(None, description="vLLM's.")
    stop_token_ids: Annotated[list[Annotated[int, Field(ge=0, le=INT64 - 1)]], Field(max_length=64)] | None = Field(
        None, description="vLLM's."
    )

    @model_validator(mode="after")
    def _options_are_for_streams(self) -> "_Sampling":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        return self


class ChatRequest(_Sampling):
    """`POST /v1/chat/completions`. For the model `desk` see serving/openai/README.md: it takes the conversation, nothing that
    would steer it."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=2048)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: Text | None = Field(None, max_length=256, description="Kept together for cache affinity.")
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[Text, Field(max_length=1000)]] | None = Field(
        None, max_length=16, description="For `desk`: `customer_token`, `session_token`, `conversation`, `locale`."
    )

    @model_validator(mode="after")
    def _agrees(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.tool_choice not in (None, "none") and self.tools is None:
            raise ValueError("tool_choice needs tools")
        if isinstance(self.tool_choice, NamedTool):
            names = {tool.function.name for tool in self.tools or ()}
            if self.tool_choice.function.name not in names:
                raise ValueError("tool_choice names no tool of tools")
        return self


class CompletionRequest(_Sampling):
    """`POST /v1/completions`: a prompt without a chat template."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=64)]
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool | None = None


class EmbeddingRequest(Strict):
    """`POST /v1/embeddings`. `kind` is ours: which side of a search the texts are on."""

    model: str = Field(min_length=1, max_length=128)
    input: (
        Annotated[Text, Field(min_length=1, max_length=32_768)]
        | Annotated[list[Annotated[Text, Field(min_length=1, max_length=32_768)]], Field(min_length=1, max_length=256)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=65_536, description="Only the model's own length.")
    user: Text | None = Field(None, max_length=256)
    kind: Literal["query", "passage"] = "query"


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int | None = None
    prompt_tokens_details: dict[str, int | None] | None = None


class Answer(BaseModel):
    """A chat completion or completion, in OpenAI's shape; `choices` carries `message` or `text`."""

    id: str
    object: Literal["chat.completion", "text_completion"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: Usage | None = None


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class LoadOut(BaseModel):
    """Requests one replica of the raw model holds, waiting or running."""

    unfinished: int


class ErrorInfo(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """OpenAI's error shape."""

    error: ErrorInfo
