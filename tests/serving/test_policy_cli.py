"""`keepword policy check` and `explain`, over the small pack of the tests and the shipped one."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents.domain.errors import BadInput, NotFound
from serving.policy_cli import app

BAKERY = Path(__file__).parents[1] / "agents" / "fixtures_pack" / "bakery"


def run(*args: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    pack = Path(shutil.copytree(BAKERY, tmp_path / "bakery", ignore=shutil.ignore_patterns("__pycache__")))
    clause = pack / "policy" / "late.md"
    clause.write_text(clause.read_text(encoding="utf-8").replace("order.late_minutes", "order.[late]"), encoding="utf-8")
    return pack


def test_a_sound_pack_is_said_to_be_sound() -> None:
    assert run("check", "--pack", BAKERY) == (0, "bakery is sound: 4 clauses, 2 scenarios, 5 exemplars\n")


def test_a_mistake_is_printed_with_file_and_line_and_fails(broken: Path) -> None:
    status, said = run("check", "--pack", broken)
    assert status == 1
    assert said.startswith("policy/late.md:6: not CEL: ")
    assert said.endswith("1 mistake\n")


def test_mistakes_can_be_read_by_a_script(broken: Path) -> None:
    status, said = run("check", "--pack", broken, "--json")
    report = json.loads(said)
    assert (status, report["ok"], report["mistakes"][0]["file"], report["mistakes"][0]["line"]) == (
        1,
        False,
        "policy/late.md",
        6,
    )


def test_a_pack_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        run("check", "--pack", tmp_path)


def test_every_rung_is_explained_from_a_customers_facts() -> None:
    status, said = run("explain", "late_bread", "--pack", BAKERY, "--customer", "anyone", "--slot", "order_id=B-1001")
    assert status == 0
    assert "refund(order_id='B-1001', amount_cents=450): needs-confirmation" in said
    assert "order.late_minutes=60" in said
    assert "-> confirm.all: must hold: confirmed" in said


def test_an_action_is_explained_from_a_file_of_facts(tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"order": {"id": "B-1", "late_minutes": 5, "paid_cents": 900}}), encoding="utf-8")
    call = ("--action", "refund", "--args", '{"order_id": "B-1", "amount_cents": 901}', "--confirmed", "--json")
    status, said = run("explain", "late_bread", "--pack", BAKERY, "--facts", facts, *call)
    ruling = json.loads(said)["rulings"][0]
    assert (status, ruling["ruling"]) == (0, "deny")
    assert ruling["changes"] == [
        "refund.late: must hold: order.late_minutes >= param.late_minutes",
        "refund.paid: must not hold: args.amount_cents > order.paid_cents",
    ]


def test_terms_without_facts_say_which_are_missing() -> None:
    assert "its terms lack order" in run("explain", "late_bread", "--pack", BAKERY)[1]


@pytest.mark.parametrize(
    "args",
    [("--args", "{", "--action", "refund"), ("--args", "[]", "--action", "refund"), ("--customer", "x", "--slot", "order_id")],
)
def test_bad_input_names_its_field(args: tuple[str, ...]) -> None:
    with pytest.raises(BadInput) as caught:
        run("explain", "late_bread", "--pack", BAKERY, *args)
    assert caught.value.field in {"args", "slot"}


def test_an_unknown_scenario_names_those_there_are() -> None:
    with pytest.raises(NotFound) as caught:
        run("explain", "early_bread", "--pack", BAKERY)
    assert "late_bread" in caught.value.hint
