"""The planning prompt: shared prefix, retrieved exemplars as earlier turns, the conversation's end, the message."""

import json
import re
from collections.abc import Iterable, Sequence

from agents.domain.pack import Pack
from agents.domain.session import SessionState
from agents.domain.words import Act, Exemplar
from agents.ports import Message, ModelRequest, ScoredExemplar, Structure
from agents.prefix import system_message

MAX_MESSAGE_CHARS = 600  # of a long message the planner reads the beginning and the end
MAX_LINE_CHARS = 160
TOP_LOGPROBS = 20
MAX_PLAN_TOKENS = 24
SHOWN = 4
"""Exemplars in the prompt. Measured on messages held out of the index: four do as well as eight and cost half the time."""


def plan_structure(pack: Pack) -> Structure:
    """The plan's language: a scenario's id and an act, four to six tokens. Known at deploy time."""
    scenarios = "|".join(pack.scenarios)
    acts = "|".join(act.value for act in Act)
    return Structure("regex", f"({scenarios}) ({acts})", name="plan")


def plan_request(
    pack: Pack, state: SessionState, text: str, exemplars: Sequence[ScoredExemplar], *, deadline_s: float
) -> ModelRequest:
    """The request for one plan. `state` is the session before `text`."""
    shown = [
        message
        for scored in reversed(exemplars[:SHOWN])
        for message in (
            Message("user", _label(scored.exemplar.text, MAX_LINE_CHARS)),
            Message("assistant", _labelled(pack, scored.exemplar, state)),
        )
    ]
    asked = "\n".join([*_situation(state), _label(text, MAX_MESSAGE_CHARS)])
    return ModelRequest(
        messages=(system_message(pack), *shown, Message("user", asked)),
        max_tokens=MAX_PLAN_TOKENS,
        structure=plan_structure(pack),
        logprobs=TOP_LOGPROBS,
        deadline_s=deadline_s,
        session_id=state.session_id,
    )


def _label(text: str, limit: int) -> str:
    return f"Label this message with its scenario and what the customer does: {_quoted(text, limit)}"


def _labelled(pack: Pack, exemplar: Exemplar, state: SessionState) -> str:
    scenario = exemplar.scenario or state.scenario or next(iter(pack.scenarios))
    return f"{scenario} {exemplar.act.value}"


def _situation(state: SessionState) -> Iterable[str]:
    if state.desk_said is not None:
        yield f"The desk said before: {_quoted(state.desk_said, MAX_LINE_CHARS)}"
    if state.open_offer is not None:
        yield "An offer is open and waits for a yes or no."


def _quoted(text: str, limit: int) -> str:
    flat = re.sub(r"\s+", " ", text).strip()
    if len(flat) > limit:
        flat = f"{flat[: limit * 2 // 3]} … {flat[-limit // 3 :]}"
    return json.dumps(flat, ensure_ascii=False)
