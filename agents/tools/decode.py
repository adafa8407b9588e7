"""The writing half of the tool agent: the model spells an offer's calls under a grammar that holds only what is legal now."""

import json
from collections.abc import Sequence

from agents.domain.errors import InvalidOutput
from agents.domain.words import Proposal
from agents.ports import Message, Model, ModelRequest, Structure

Calls = tuple[Proposal, ...]  # of one offer, in the order they are carried out


def spelled(calls: Calls) -> str:
    """The one canonical spelling of an offer's calls, without white space: one call as an object, several as a list. A part
    of several, or another order, is another sentence."""
    rows = [{"tool": proposal.action, "args": dict(proposal.args)} for proposal in calls]
    return json.dumps(rows[0] if len(rows) == 1 else rows, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


async def decode_calls(
    model: Model, system: Message, task: str, legal: Sequence[Calls], *, deadline_s: float = 10.0
) -> tuple[Calls, int]:
    """The calls the model chooses among `legal`, and the LLM calls it took. A single choice needs no model: its
    grammar has one sentence. Raises ValueError when nothing is legal, ModelFailure when the model fails."""
    if not legal or not all(legal):
        raise ValueError("no call is legal")
    if len(legal) == 1:
        return legal[0], 0
    by_spelling = {spelled(calls): calls for calls in legal}
    choices = "\n".join(by_spelling)
    request = ModelRequest(
        messages=(system, Message("user", f"{task}\nWrite the one line that does it:\n{choices}")),
        max_tokens=max(len(spelling) for spelling in by_spelling),
        structure=Structure("choice", json.dumps(list(by_spelling), ensure_ascii=False)),
        deadline_s=deadline_s,
    )
    result = await model.generate(request)
    if result.text not in by_spelling:
        raise InvalidOutput(f"the model wrote a call that is not legal now: {result.text[:80]!r}")
    return by_spelling[result.text], 1
