"""What counts as an answer to a structure."""

import json

import pytest

from agents.domain.errors import BadInput, EmptyOutput, InvalidOutput, TruncatedOutput
from agents.ports import Structure
from serving.engine.outputs import check_output, check_structure

ORDER = Structure("regex", r"KW-[0-9]{4}")
YES_NO = Structure("choice", '["yes","no"]')
CALL = Structure(
    "json", '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}'
)


@pytest.mark.parametrize(("structure", "text"), [(ORDER, "KW-1042"), (YES_NO, "no"), (CALL, '{"n":3}'), (None, "anything")])
def test_matching_output_passes(structure: Structure | None, text: str) -> None:
    check_output(text, "stop", structure)


@pytest.mark.parametrize("structure", [ORDER, YES_NO, CALL, None])
@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_output_is_refused(structure: Structure | None, text: str) -> None:
    with pytest.raises(EmptyOutput):
        check_output(text, "stop", structure)


@pytest.mark.parametrize(
    ("structure", "text"),
    [
        (ORDER, "KW-10423"),
        (ORDER, "order KW-1042"),
        (YES_NO, "yes."),
        (CALL, '{"n":"3"}'),
        (CALL, "{"),
        (CALL, '{"n":1,"m":2}'),
    ],
)
def test_output_that_does_not_match_is_refused(structure: Structure, text: str) -> None:
    with pytest.raises(InvalidOutput):
        check_output(text, "stop", structure)


def test_output_cut_by_the_token_limit_is_called_truncated() -> None:
    with pytest.raises(TruncatedOutput):
        check_output('{"n":', "length", CALL)


def test_complete_structure_that_ended_at_the_token_limit_passes() -> None:
    check_output("KW-1042", "length", ORDER)


def test_free_text_may_stop_at_its_limit() -> None:
    check_output("half a sen", "length", None)


@pytest.mark.parametrize(
    "structure",
    [
        Structure("regex", "["),
        Structure("json", "{"),
        Structure("json", '{"type":"nothing"}'),
        Structure("choice", "[]"),
        Structure("choice", json.dumps([1])),
    ],
)
def test_structure_that_makes_no_sense_is_bad_input_naming_the_field(structure: Structure) -> None:
    with pytest.raises(BadInput) as raised:
        check_structure(structure)
    assert raised.value.field == "structure"
