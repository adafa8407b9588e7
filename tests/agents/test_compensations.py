"""What `policy check` says of offers of several writes: every mistake in how they are undone, with file and line."""

import shutil
from pathlib import Path

import pytest

from agents.domain.errors import PackInvalid
from agents.domain.words import Compensation
from agents.packs.loader import load_pack, tools_module
from agents.tools.registry import ToolInvalid, collect, tool
from tests.agents.test_loader import BAKERY, edit

TOOLS = '''

@dataclass(frozen=True)
class Voucher:
    code: str
    amount_cents: int


@tool(kind="write", compensated_by="void", compensation={"code": "receipt.code", "order_id": "args.order_id"})
async def voucher(till: Till, call: ToolCall, order_id: str, amount_cents: int) -> Voucher:
    """Give a voucher."""
    return Voucher("V", amount_cents)


@tool(kind="write")
async def void(till: Till, call: ToolCall, code: str, order_id: str) -> Voucher:
    """Take a voucher back."""
    return Voucher(code, 0)
'''
RUNG = """
[[ladder.late_bread.rung]]
action = "voucher"
args = { order_id = "order.id", amount_cents = "100" }
text = { en = "I give you {amount}.", zh = "送您{amount}。" }
done = { en = "Voucher {receipt.code}.", zh = "券{receipt.code}。" }
undone = { en = "Voucher {receipt.code} is void.", zh = "券{receipt.code}已作废。" }

[[ladder.late_bread.rung.then]]
action = "refund"
args = { order_id = "order.id", amount_cents = "order.paid_cents / 2" }
text = { en = "And I refund {amount}.", zh = "并退款{amount}。" }
done = { en = "I refunded {receipt.amount_cents}.", zh = "已退款{receipt.amount_cents}。" }
"""
TEXTS = "".join(f'\n[texts.{key}]\nen = "x"\nzh = "x"\n' for key in ("undone", "half_done", "unfinished"))
SOURCES = 'compensation={"code": "receipt.code", "order_id": "args.order_id"}'
FIRST, THEN = '[[ladder.late_bread.rung]]\naction = "voucher"', "[[ladder.late_bread.rung.then]]"


@pytest.fixture
def bakery(tmp_path: Path) -> Path:
    """The bakery with an offer of two writes."""
    pack = Path(shutil.copytree(BAKERY, tmp_path / "bakery", ignore=shutil.ignore_patterns("__pycache__")))
    for file, more in (("tools.py", TOOLS), ("ladders.toml", RUNG)):
        path = pack / file
        path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    text = (pack / "pack.toml").read_text(encoding="utf-8")
    (pack / "pack.toml").write_text(text + TEXTS, encoding="utf-8")
    for clause in (pack / "policy").glob("*.md"):
        clause.write_text(clause.read_text(encoding="utf-8").replace("action: refund", "action: [refund, voucher]"), "utf-8")
    return pack


def line_of(pack: Path, file: str, text: str) -> int:
    whole = (pack / file).read_text(encoding="utf-8")
    return whole[: whole.index(text)].count("\n") + 1


def told(pack: Path) -> list[tuple[str, int, str]]:
    with pytest.raises(PackInvalid) as caught:
        load_pack(pack, thorough=True)
    return [(mistake.file, mistake.line, mistake.message) for mistake in caught.value.mistakes]


def test_an_offer_of_several_writes_is_loaded_with_its_order(bakery: Path) -> None:
    rung = load_pack(bakery, thorough=True).ladders["late_bread"].rungs[-1]
    assert [step.action for step in rung.steps] == ["voucher", "refund"]
    specs = {bound.spec.name: bound.spec for bound in collect(tools_module(bakery))}
    assert specs["voucher"].undo == Compensation("void", {"code": "receipt.code", "order_id": "args.order_id"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('compensated_by="void"', 'compensated_by="avoid"', "no write tool has that name"),
        ('compensated_by="void"', 'compensated_by="get_order"', "no write tool has that name"),
        (SOURCES, 'compensation={"code": "receipt.code"}', "needs argument 'order_id'"),
        (SOURCES, SOURCES.replace("}", ', "why": "args.order_id"}'), "has no argument 'why'"),
        ("receipt.code", "receipt.number", "no field in its receipt 'number'"),
        ("args.order_id", "args.order", "no argument 'order'"),
        ("receipt.code", "args.amount_cents", "another type"),
        ("args.order_id", "receipt.code", "must be the call's own"),
        ('compensated_by="void"', 'compensated_by="voucher"', "in a circle: voucher -> voucher"),
    ],
)
def test_a_compensation_that_cannot_work_is_told_at_its_tool(bakery: Path, old: str, new: str, message: str) -> None:
    edit(bakery, "tools.py", old, new)
    found = [each for each in told(bakery) if message in each[2]]
    assert [(file, line) for file, line, _ in found] == [("tools.py", line_of(bakery, "tools.py", "async def voucher"))]


def test_tools_that_undo_each_other_are_a_circle(bakery: Path) -> None:
    new = '@tool(kind="write", compensated_by="voucher", compensation={"order_id": "args.order_id"})\nasync def void'
    edit(bakery, "tools.py", '@tool(kind="write")\nasync def void', new)
    assert sum("in a circle" in message for _, _, message in told(bakery)) == 2


@pytest.mark.parametrize(
    ("file", "old", "new", "at", "message"),
    [
        ("tools.py", f'kind="write", compensated_by="void", {SOURCES}', 'kind="write"', FIRST, "cannot be undone when"),
        ("ladders.toml", FIRST, FIRST + "\nfinal = true", FIRST, "is called final"),
        (
            "ladders.toml",
            'undone = { en = "Voucher',
            'done2 = { en = "Voucher',
            FIRST,
            "what the customer is told when it was undone",
        ),
        ("ladders.toml", THEN, THEN + "\nfinal = true", THEN, "is the last write of its offer"),
        ("ladders.toml", THEN + '\naction = "refund"', THEN + '\naction = "refunds"', THEN, "no write tool named 'refunds'"),
        ("ladders.toml", "And I refund {amount}", "And I refund {money}", THEN, "{money} is filled by nothing"),
    ],
)
def test_a_step_that_cannot_be_taken_back_is_told_at_its_line(
    bakery: Path, file: str, old: str, new: str, at: str, message: str
) -> None:
    edit(bakery, file, old, new)
    found = [(name, line) for name, line, said in told(bakery) if message in said]
    assert found == [("ladders.toml", line_of(bakery, "ladders.toml", at))]


def test_a_final_step_needs_no_compensation(bakery: Path) -> None:
    edit(bakery, "tools.py", f'kind="write", compensated_by="void", {SOURCES}', 'kind="write"')
    edit(bakery, "tools.py", '@tool(kind="write")\nasync def void', "async def void")
    edit(
        bakery,
        "ladders.toml",
        'undone = { en = "Voucher {receipt.code} is void.", zh = "券{receipt.code}已作废。" }',
        "final = true",
    )
    assert load_pack(bakery, thorough=True).ladders["late_bread"].rungs[-1].final


def test_a_pack_with_such_an_offer_says_what_became_of_it(bakery: Path) -> None:
    edit(bakery, "pack.toml", "[texts.half_done]", "[texts.half]")
    said = [message for _, _, message in told(bakery)]
    assert any("texts.half_done is missing" in message for message in said)


def test_a_step_no_clause_permits_is_told(bakery: Path) -> None:
    for clause in (bakery / "policy").glob("*.md"):
        text = clause.read_text(encoding="utf-8")
        clause.write_text(text.replace("action: [refund, voucher]", "action: refund"), encoding="utf-8")
    assert any("no clause permits 'voucher'" in message for _, _, message in told(bakery))


@pytest.mark.parametrize(
    ("kind", "by", "sources", "message"),
    [
        ("read", "void", None, "only a write"),
        ("write", "void", {"code": "somewhere.code"}, r"args\.NAME or receipt\.NAME"),
        ("write", None, {"code": "args.code"}, "without compensated_by"),
    ],
)
def test_a_compensation_without_sense_is_no_tool(
    kind: str, by: str | None, sources: dict[str, str] | None, message: str
) -> None:
    async def give(office: object, call: object, code: str) -> str:
        return code

    with pytest.raises(ToolInvalid, match=message):
        tool(kind=kind, provides="x", compensated_by=by, compensation=sources)(give)  # type: ignore[arg-type]
