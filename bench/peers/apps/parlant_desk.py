"""A customer-service turn in Parlant, over its own HTTP API: runs in the peer's own environment.

    python parlant_desk.py PORT ENGINE_URL

One agent with guidelines of a shop and one tool, as in the framework's own examples. Every request it makes goes to the
engine, which takes the time of saying an answer; what is said is worked out here for the schema that was asked (guidelines
match, the tool is called once with its argument), so that its whole pipeline runs.
"""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import parlant.sdk as p
from openai import AsyncOpenAI
from parlant.core.nlp.embedding import NullEmbedder
from parlant.core.nlp.generation import BaseSchematicGenerator, SchematicGenerationResult, T
from parlant.core.nlp.generation_info import GenerationInfo, UsageInfo
from parlant.core.nlp.moderation import NoModeration
from parlant.core.nlp.tokenization import ZeroEstimatingTokenizer

REPLY = "I am sorry that your parcel is still on its way. Order KW-1009 is with DHL and arrives on 12 May 2026."
IDS = re.compile(r'"guideline_id": "?(\w+)"?')
GUIDELINES = (
    ("the customer asks where a parcel is", "look the order up and tell its carrier and date of arrival"),
    ("an item arrived damaged", "offer up to 30 percent of its price without a return"),
    ("the customer asks for a coupon", "offer at most 5.00 EUR a week"),
    ("the customer wants a person", "promise an answer within thirty minutes"),
)


def answer(schema: str, prompt: str) -> dict[str, Any]:
    """What a sound model would answer for a schema of the framework's, by the schema's name."""
    asked = prompt.rsplit("```json", 1)[-1]
    ids, holds = list(dict.fromkeys(IDS.findall(asked))), GUIDELINES[0][0] in asked
    checks = [{"guideline_id": each, "condition": "as given", "rationale": "as asked", "applies": holds} for each in ids]
    if "LowCriticality" in schema:
        return {"applies": dict.fromkeys(ids, holds)}
    if "PreviouslyApplied" in schema:
        again = {"condition": "it holds", "action": "told", "condition_met_again": True, "should_reapply": True}
        return {"checks": [{"guideline_id": each, **again} for each in ids]}
    if "Matches" in schema:
        return {"checks": checks}
    if "ResponseAnalysis" in schema:
        return {"checks": [{"guideline_id": each, "action": "told", "guideline_applied": True} for each in ids]}
    if schema == "NonConsequentialToolBatchSchema":
        return {"reasoning_tldr": "needed", "should_run": True, "calls": [{"args": {"order_id": "KW-1009"}}]}
    if schema == "MessageSchema":
        return {"produced_reply": True, "revisions": [{"revision_number": 1, "content": REPLY}]}
    return WRITTEN.get(schema, {})


def minimal(of: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """The least value a JSON Schema takes: for what the framework asks while it sets up."""
    if "$ref" in of:
        return minimal(root["$defs"][of["$ref"].rsplit("/", 1)[-1]], root)
    if "anyOf" in of:
        return minimal(of["anyOf"][0], root)
    if "enum" in of:
        return of["enum"][0]
    if of.get("type") == "object":
        return {name: minimal(of["properties"][name], root) for name in of.get("required", ())}
    return {"string": "none", "boolean": False, "integer": 0, "number": 0.0, "array": []}.get(of.get("type", ""))


WRITTEN: dict[str, dict[str, Any]] = {
    "CannedResponseDraftSchema": {"last_message_of_user": "Where is it?", "guidelines": [], "response_body": REPLY},
    "CannedResponsePreambleSchema": {"preamble": "Let me look."},
    "CannedResponseSelectionSchema": {"tldr": "none fits", "match_quality": "none"},
}


class Engine(BaseSchematicGenerator[T]):
    """Asks the engine for the time of an answer, and gives the worked-out one."""

    def __init__(self, client: AsyncOpenAI, *services: Any) -> None:
        super().__init__(*services, model_name="simulated")
        self._client = client

    async def do_generate(self, prompt: Any, hints: Mapping[str, Any] | None = None) -> SchematicGenerationResult[T]:
        text = prompt if isinstance(prompt, str) else prompt.build()
        schema = self.schema.model_json_schema()
        say = json.dumps({**minimal(schema, schema), **answer(self.schema.__name__, text)})
        done = await self._client.chat.completions.create(
            model="simulated",
            messages=[{"role": "user", "content": text}],
            max_tokens=max(16, len(say) // 4),
            extra_body={"metadata": {"say": say}},
        )
        usage = UsageInfo(done.usage.prompt_tokens, done.usage.completion_tokens) if done.usage else UsageInfo(0, 0)
        content = self.schema.model_validate_json(say)
        return SchematicGenerationResult(content, GenerationInfo(self.schema.__name__, self.id, 0.0, usage))

    id = "simulated"
    max_tokens = 128 * 1024
    tokenizer = ZeroEstimatingTokenizer()


class Service:
    """The framework's port to language models."""

    supports_streaming = False

    def __init__(self, client: AsyncOpenAI, container: Any) -> None:
        self._client = client
        self._services = (container[p.Logger], container[p.Tracer], container[p.Meter])

    async def get_schematic_generator(self, t: type[Any], hints: Any = None) -> Any:
        made = Engine[t]  # type: ignore  # how the framework tells a generator its schema
        return made(self._client, *self._services)

    async def get_streaming_text_generator(self, hints: Any = None) -> Any:
        raise NotImplementedError("answers come whole")

    async def get_embedder(self, hints: Any = None) -> Any:
        return NullEmbedder()

    async def get_moderation_service(self) -> Any:
        return NoModeration()


@p.tool
async def get_order(context: p.ToolContext, order_id: str) -> p.ToolResult:
    """Look an order up."""
    return p.ToolResult({"id": order_id, "status": "shipped", "carrier": "DHL", "eta": "2026-05-12"})


def service(engine: str) -> Callable[[Any], Service]:
    client = AsyncOpenAI(base_url=f"{engine}/v1", api_key="none", max_retries=0)
    return lambda container: Service(client, container)


async def main(port: int, engine: str) -> None:
    async with p.Server(
        host="127.0.0.1", port=port, tool_service_port=port + 1, nlp_service=service(engine), session_store="local"
    ) as server:
        agent = await server.create_agent(name="Desk", description="Serves the customers of a marketplace.")
        for number, (condition, action) in enumerate(GUIDELINES):
            await agent.create_guideline(condition=condition, action=action, tools=[get_order] if number == 0 else [])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
