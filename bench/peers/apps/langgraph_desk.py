"""A three-agent customer-service turn in LangGraph, over HTTP: runs in the peer's own environment.

    python langgraph_desk.py PORT ENGINE_URL STATE_FILE

Planner, tool agent and reply agent, as in the framework's own examples: a graph with a checkpointer on disk (SQLite), the
model through ChatOpenAI, tools as plain functions over a table of orders. What the model would say is given with each request
(`metadata.say`), and the engine takes the time of saying it: the framework decides nothing by luck.
"""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

RULES = (
    "You serve the customers of a marketplace. Damaged items may be refunded up to 30 percent without a return within fourteen "
    "days of delivery; a full refund needs a return. A coupon is at most 5.00 EUR a week. Never promise what no rule permits. "
) * 6
ORDER = {"id": "KW-1009", "status": "shipped", "carrier": "DHL", "eta": "2026-05-12", "total_cents": 4200}
REPLY = "I am sorry that your parcel is still on its way. Order KW-1009 is with DHL and arrives on 12 May 2026."


class Turn(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    plan: str
    facts: str


def graph(engine: str, saver: Any) -> Any:
    """planner -> tools -> reply; three requests to the engine a turn."""
    model = ChatOpenAI(model="simulated", base_url=f"{engine}/v1", api_key="none", max_retries=0)

    def saying(text: str, tokens: int) -> Any:
        return model.bind(max_tokens=tokens, extra_body={"metadata": {"say": text}})

    plan = saying(json.dumps({"scenario": "missing_parcel", "act": "asks", "slots": {"order_id": "KW-1009"}}), 40)
    call = saying(json.dumps({"tool": "get_order", "args": {"order_id": "KW-1009"}}), 30)
    reply = saying(REPLY, 60)

    async def planner(state: Turn) -> dict[str, str]:
        said = await plan.ainvoke([SystemMessage(RULES + "Name scenario, act and slots as JSON."), *state["messages"]])
        return {"plan": str(said.content)}

    async def tools(state: Turn) -> dict[str, str]:
        system = SystemMessage(RULES + f"Plan: {state['plan']}. Write the tool call as JSON.")
        wanted = json.loads(str((await call.ainvoke([system, *state["messages"]])).content))
        found = ORDER if wanted["args"]["order_id"] == ORDER["id"] else {}
        return {"facts": json.dumps(found)}

    async def replier(state: Turn) -> dict[str, list[AnyMessage]]:
        writer, whole = get_stream_writer(), None
        async for piece in reply.astream([SystemMessage(RULES + f"Facts: {state['facts']}"), *state["messages"]]):
            writer(piece.content)
            whole = piece if whole is None else whole + piece
        assert whole is not None
        return {"messages": [whole]}

    built = StateGraph(Turn)
    for name, node in (("planner", planner), ("tools", tools), ("reply", replier)):
        built.add_node(name, node)
    for before, after in ((START, "planner"), ("planner", "tools"), ("tools", "reply"), ("reply", END)):
        built.add_edge(before, after)
    return built.compile(checkpointer=saver)


def app(engine: str, state_file: str) -> FastAPI:
    @asynccontextmanager
    async def opened(built: FastAPI) -> AsyncIterator[None]:
        async with AsyncSqliteSaver.from_conn_string(state_file) as saver:
            await saver.conn.execute("PRAGMA journal_mode=WAL")
            await saver.conn.execute("PRAGMA synchronous=NORMAL")
            built.state.graph = graph(engine, saver)
            yield

    built = FastAPI(lifespan=opened)

    @built.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @built.post("/turn")
    async def turn(request: Request) -> StreamingResponse:
        body = await request.json()
        given = {"messages": [HumanMessage(body["text"])]}
        config = {"configurable": {"thread_id": body["session_id"]}}

        async def events() -> AsyncIterator[str]:
            async for piece in built.state.graph.astream(given, config, stream_mode="custom"):
                yield f"event: text\ndata: {json.dumps(piece)}\n\n"
            yield "event: done\ndata: {}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    return built


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[2], sys.argv[3]), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", loop="uvloop")
