"""The writing grammar: only what is legal now can be spelled, and an offer of several writes only whole and in its order."""

import json

import pytest

from agents.domain.errors import InvalidOutput
from agents.domain.words import Proposal
from agents.ports import Message
from agents.tools.decode import Calls, decode_calls, spelled
from serving.scripted import ScriptedModel

SYSTEM = Message("system", "")
GIVE, CANCEL = Proposal("issue_coupon", {"amount_cents": 500}), Proposal("cancel_order", {"order_id": "KW-1"})
LEGAL: tuple[Calls, ...] = ((GIVE, CANCEL), (CANCEL,))


async def test_a_single_choice_needs_no_model() -> None:
    model = ScriptedModel([])
    assert await decode_calls(model, SYSTEM, "", LEGAL[:1]) == ((GIVE, CANCEL), 0)
    assert model.requests == []


async def test_the_grammar_holds_the_whole_spelling_of_each_offer_and_nothing_else() -> None:
    model = ScriptedModel([spelled(LEGAL[0])])
    assert await decode_calls(model, SYSTEM, "", LEGAL) == ((GIVE, CANCEL), 1)
    structure = model.requests[0].structure
    assert structure is not None
    assert structure.kind == "choice"
    assert json.loads(structure.spec) == [spelled(calls) for calls in LEGAL]


@pytest.mark.parametrize("calls", [(GIVE,), (CANCEL, GIVE), (GIVE, CANCEL, CANCEL), (GIVE, GIVE)])
async def test_a_part_or_another_order_cannot_be_spelled(calls: Calls) -> None:
    assert spelled(calls) not in {spelled(legal) for legal in LEGAL}
    with pytest.raises(InvalidOutput):
        await decode_calls(ScriptedModel([spelled(calls)]), SYSTEM, "", LEGAL)


@pytest.mark.parametrize("legal", [(), ((),)])
async def test_nothing_legal_is_nothing_to_choose_from(legal: tuple[Calls, ...]) -> None:
    with pytest.raises(ValueError, match="no call is legal"):
        await decode_calls(ScriptedModel([]), SYSTEM, "", legal)
