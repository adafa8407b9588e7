"""`/v1/embeddings` over the embedder retrieval uses. It is opened when first asked for."""

import base64
import threading
from collections.abc import Callable

from agents.domain.errors import BadInput
from retrieval.embedding import CountingEmbedder
from retrieval.threads import in_search_thread
from serving.openai.schemas import Embedding, EmbeddingList, EmbeddingRequest, Usage


class Embeddings:
    """`open_embedder` is called once, at the first request, in a thread."""

    def __init__(self, name: str, open_embedder: Callable[[], CountingEmbedder]) -> None:
        self.name, self._open = name, open_embedder
        self._embedder: CountingEmbedder | None = None
        self._lock = threading.Lock()

    async def answer(self, request: EmbeddingRequest) -> EmbeddingList:
        """Raises BadInput for another length than the model's own."""
        return await in_search_thread(self._answer, request)

    def _answer(self, request: EmbeddingRequest) -> EmbeddingList:
        with self._lock:
            embedder = self._embedder = self._embedder or self._open()
        if request.dimensions not in (None, embedder.dimension):
            hint = f"Leave it out: {self.name} gives {embedder.dimension}."
            raise BadInput("this model cannot shorten its vectors", field="dimensions", hint=hint)
        texts = [request.input] if isinstance(request.input, str) else request.input
        vectors, tokens = embedder.embed(texts, request.kind), embedder.count_tokens(texts, request.kind)
        packed = request.encoding_format == "base64"
        data = [
            Embedding(index=index, embedding=base64.b64encode(row.astype("<f4").tobytes()).decode() if packed else row.tolist())
            for index, row in enumerate(vectors)
        ]
        return EmbeddingList(data=data, model=self.name, usage=Usage(prompt_tokens=tokens, total_tokens=tokens))
