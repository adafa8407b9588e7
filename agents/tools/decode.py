"""The writing half of the tool agent: the model spells a call under a grammar that holds only what is legal now."""

import json
from collections.abc import Sequence

from agents.domain.errors import InvalidOutput
from agents.domain.words import Proposal
from agents.ports import Message, Model, ModelRequest, Structure


def spelled(proposal: Proposal) -> str:
    """A call's one canonical spelling, without white space."""
    call = {"tool": proposal.action, "args": dict(proposal.args)}
    return json.dumps(call, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


async def decode_call(
    model: Model, system: Message, task: str, legal: Sequence[Proposal], *, deadline_s: float = 10.0
) -> tuple[Proposal, int]:
    """The call the model chooses among `legal`, and the LLM calls it took. A single legal call needs no model: its
    grammar has one sentence. Raises ValueError when nothing is legal, ModelFailure when the model fails."""
    if not legal:
        raise ValueError("no call is legal")
    if len(legal) == 1:
        return legal[0], 0
    by_spelling = {spelled(proposal): proposal for proposal in legal}
    calls = "\n".join(by_spelling)
    request = ModelRequest(
        messages=(system, Message("user", f"{task}\nWrite the one call that does it:\n{calls}")),
        max_tokens=max(len(spelling) for spelling in by_spelling),
        structure=Structure("choice", json.dumps(list(by_spelling), ensure_ascii=False)),
        deadline_s=deadline_s,
    )
    result = await model.generate(request)
    if result.text not in by_spelling:
        raise InvalidOutput(f"the model wrote a call that is not legal now: {result.text[:80]!r}")
    return by_spelling[result.text], 1
