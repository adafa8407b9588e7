"""The pack loader over a small pack of the tests' own: what it loads, and every mistake it must name with file and line.

Long: one table of mistakes and the pack they are planted in.
"""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.domain.errors import NotFound, PackInvalid
from agents.packs.loader import find_pack, load_pack, tools_module

BAKERY = Path(__file__).parent / "fixtures_pack" / "bakery"
FILES = ("pack.toml", "scenarios.toml", "ladders.toml", "tools.py", "exemplars/all.toml", "policy/late.md", "policy/month.md")


@pytest.fixture
def bakery(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BAKERY, tmp_path / "bakery", ignore=shutil.ignore_patterns("__pycache__")))


def edit(pack: Path, file: str, old: str, new: str) -> int:
    """Replace the first `old`; its line, counted from 1."""
    text = (pack / file).read_text(encoding="utf-8")
    assert old in text
    (pack / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def mistakes(pack: Path) -> list[str]:
    with pytest.raises(PackInvalid) as caught:
        load_pack(pack)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_a_pack_written_elsewhere_loads(bakery: Path) -> None:
    pack = load_pack(bakery)
    assert (pack.name, len(pack.clauses), len(pack.exemplars)) == ("bakery", 4, 5)
    assert pack.clause("refund.month").limits == {"amount_cents": "param.month_cents", "window_days": "30"}
    assert pack.ladders["late_bread"].rungs[0].args["amount_cents"] == "order.paid_cents / 2"


def test_the_shipped_pack_is_sound() -> None:
    assert load_pack("shop").name == "shop"


def test_a_bare_name_is_the_shipped_pack_even_beside_a_folder_of_that_name(
    bakery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bakery.rename(bakery.parent / "shop")
    monkeypatch.chdir(bakery.parent)
    assert find_pack("shop") != (bakery.parent / "shop").resolve()
    assert find_pack("./shop") == (bakery.parent / "shop").resolve()


def test_no_pack_at_a_path_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        load_pack(tmp_path)
    assert "shop" in caught.value.hint


def test_parameters_can_be_overridden_and_change_the_digest(bakery: Path) -> None:
    own, other = load_pack(bakery), load_pack(bakery, parameters={"late_minutes": 5})
    assert other.parameters["late_minutes"] == 5
    assert own.digest != other.digest
    assert own.digest == load_pack(bakery).digest


@pytest.mark.parametrize("parameters", [{"late_minuets": 5}, {"late_minutes": "5"}, {"late_minutes": True}])
def test_an_override_must_name_a_parameter_and_keep_its_type(bakery: Path, parameters: dict[str, object]) -> None:
    with pytest.raises(PackInvalid):
        load_pack(bakery, parameters=parameters)


@pytest.mark.parametrize("file", FILES)
def test_the_digest_changes_with_every_file_that_shapes_behaviour(bakery: Path, file: str) -> None:
    before = load_pack(bakery).digest
    comment = {".toml": "\n# changed\n", ".py": "\n# changed\n", ".md": "\n\nMore words.\n"}[Path(file).suffix]
    (bakery / file).write_text((bakery / file).read_text(encoding="utf-8") + comment, encoding="utf-8")
    assert load_pack(bakery).digest != before


def test_edited_tools_are_seen_in_the_same_process(bakery: Path) -> None:
    first = tools_module(bakery)
    edit(bakery, "tools.py", "Give money back", "Return money")
    second = tools_module(bakery)
    assert "Return money" in (second.refund.__doc__ or "")
    assert "Give money" in (first.refund.__doc__ or "")


def test_tools_may_import_a_module_beside_them(bakery: Path) -> None:
    (bakery / "oven.py").write_text("HEAT = 230\n", encoding="utf-8")
    edit(bakery, "tools.py", "\n\n@dataclass\nclass Till", "\nfrom .oven import HEAT\n\n\n@dataclass\nclass Till")
    load_pack(bakery)
    assert tools_module(bakery).HEAT == 230


MISTAKES = [
    ("pack.toml", 'currency = "EUR"', 'currency = "euro"', "ISO 4217"),
    ("pack.toml", 'timezone = "UTC"', 'timezone = "Mars/Base"', "no time zone named 'Mars/Base'"),
    ("pack.toml", "due_minutes = 15", 'due_minutes = "soon"', "due_minutes must be a whole number"),
    ("pack.toml", "due_minutes = 15", "due_minuets = 15", "unknown key 'due_minuets'"),
    ("pack.toml", '{ en = "Good morning.", zh = "早上好。" }', '{ en = "Good morning." }', "has no text in 'zh'"),
    ("pack.toml", '{ en = "Yes or no?", zh', '{ en = "Yes or no, {name}?", zh', "placeholder {name} is filled by nothing"),
    ("pack.toml", "greet = {", "hail = {", "unknown text 'hail'"),
    ("scenarios.toml", r"(?P<digits>\d{4})", r"(?P<digits>\d{4}", "pattern does not compile"),
    ("scenarios.toml", "B-{digits}", "B-{number}", "template names 'number'"),
    ("scenarios.toml", "[scenario.small_talk]", '[scenario."Small Talk"]', "small letters"),
    ("scenarios.toml", 'risk = "low"', 'risk = "huge"', "risk must be"),
    ("scenarios.toml", 'slots = ["order_id"]', 'slots = ["order_no"]', "no slot named 'order_no'"),
    ("scenarios.toml", 'reads = ["get_order"]', 'reads = ["get_bread"]', "no read tool named 'get_bread'"),
    ("scenarios.toml", 'reads = ["get_order"]', 'reads = ["refund"]', "no read tool named 'refund'"),
    ("scenarios.toml", 'ladder = "late_bread"', 'ladder = "late_bred"', "no ladder named 'late_bred'"),
    ("scenarios.toml", "{order.late_minutes} minutes", "{order.late} minutes", "placeholder {order.late}"),
    ("scenarios.toml", "{order.late_minutes} minutes", "{order.lateMinutes} minutes", "a brace that is no placeholder"),
    ("ladders.toml", "order.paid_cents / 2", "order.paid_cents /", "not CEL"),
    ("ladders.toml", "order.paid_cents / 2", "order.paid / 2", "fact 'order' has no field 'paid'"),
    ("ladders.toml", "order.paid_cents / 2", "round(order.paid_cents)", "CEL has no function 'round'"),
    ("ladders.toml", 'order_id = "order.id", ', "", "lacks argument 'order_id'"),
    ("ladders.toml", "{receipt.amount_cents}", "{receipt.total_cents}", "placeholder {receipt.total_cents}"),
    ("ladders.toml", "done = {", "did = {", "unknown key 'did'"),
    ("exemplars/all.toml", 'scenario = "small_talk"', 'scenario = "chat"', "no scenario named 'chat'"),
    ("exemplars/all.toml", 'act = "accepts"', 'act = "agrees"', "unknown act 'agrees'"),
    ("exemplars/all.toml", 'text = "yes"', 'text = "Good morning"', "stands twice"),
    ("exemplars/all.toml", 'locale = "zh"', 'locale = "fr"', "locale 'fr'"),
    ("policy/paid.md", "id: refund.paid", "id: refund.month", "used twice"),
    ("policy/late.md", "scenario: late_bread", "scenario: late_bred", "no scenario named 'late_bred'"),
    ("policy/late.md", "action: refund", "action: refnd", "no write tool named 'refnd'"),
    ("policy/late.md", "effect: permit", "effect: allow", "unknown effect 'allow'"),
    ("policy/late.md", "effect: permit", "efect: permit", "unknown key 'efect'"),
    ("policy/late.md", "when: order", "when: !order", "front matter is not YAML"),
    ("policy/late.md", "when: order.late_minutes >=", "when: order.late_minutes >>", "not CEL"),
    ("policy/late.md", "order.late_minutes", "orders.late_minutes", "no read tool provides 'orders'"),
    ("policy/late.md", "order.late_minutes", "order.minutes_late", "fact 'order' has no field 'minutes_late'"),
    ("policy/late.md", "param.late_minutes", "param.minutes", "no parameter named 'minutes'"),
    ("policy/late.md", "order.late_minutes", "args.minutes", "has no argument 'minutes'"),
    ("policy/late.md", "cite: ", "limits: {count: 1}\ncite: ", "only a cap has limits"),
    ("policy/late.md", "cite: House rules, 1", "cite: {en: House rules 1}", "'cite' is one text"),
    ("policy/late.md", "cite: ", "when: true\ncite: ", "'when' is said twice"),
    ("policy/late.md", "when: order.late_minutes >= param.late_minutes\n", "", "'when' is missing"),
    ("policy/late.md", "## zh", "## fr", "'fr' is not one of the pack's locales"),
    ("policy/month.md", "limits: {amount_cents: param.month_cents, window_days: 30}\n", "", "a cap needs a limit"),
    ("policy/month.md", "param.month_cents", "order.moth_cents", "has no field 'moth_cents'"),
    ("tools.py", 'provides="order"', 'provides="param"', "a fact cannot be named 'param'"),
    ("tools.py", 'requires=["order_id"]', 'requires=["basket"]', "requires 'basket'"),
    ("tools.py", "amount_cents: int) -> Refund", "amount_cents) -> Refund", "parameter amount_cents has no type"),
    ("tools.py", "async def close", "def close", "no async function close"),
    ("tools.py", "class Till:", "class Till", "cannot be imported: SyntaxError"),
]


@pytest.mark.parametrize(("file", "old", "new", "message"), MISTAKES, ids=[f"{m[0]}-{m[3][:40]}" for m in MISTAKES])
def test_a_mistake_is_named_with_its_file(bakery: Path, file: str, old: str, new: str, message: str) -> None:
    edit(bakery, file, old, new)
    assert any(mistake.startswith(f"{file}:") and message in mistake for mistake in mistakes(bakery)), mistakes(bakery)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("pack.toml", "due_minutes = 15", "due_minuets = 15", "due_minuets"),
        ("pack.toml", "month_cents = 2000", "month_cents = = 2000", "not TOML"),
        ("scenarios.toml", 'risk = "low"', 'risk = "tiny"', "risk must be"),
        ("policy/late.md", "order.late_minutes", "orders.late_minutes", "orders"),
        ("policy/month.md", "param.month_cents", "param.mont", "mont"),
        ("exemplars/all.toml", 'act = "accepts"', 'act = "agrees"', "agrees"),
        ("tools.py", "class Till:", "class Till", "SyntaxError"),
        ("tools.py", "till: Till, call: ToolCall, order_id: str) -> Order", "till: Till) -> Order", "ToolCall first"),
    ],
)
def test_a_mistake_is_named_with_its_line(bakery: Path, file: str, old: str, new: str, message: str) -> None:
    line = edit(bakery, file, old, new)
    found = next(mistake for mistake in mistakes(bakery) if message in mistake)
    assert abs(int(found.split(":")[1]) - line) <= (1 if file == "tools.py" else 0)  # a decorator stands above its function


def test_a_mistake_in_the_second_rung_is_told_at_the_second_rung(bakery: Path) -> None:
    line = edit(bakery, "ladders.toml", 'amount_cents = "order.paid_cents" }', 'amount_cents = "order.price" }')
    assert int(mistakes(bakery)[0].split(":")[1]) == line - 2  # where [[ladder.late_bread.rung]] stands


def test_all_mistakes_are_told_at_once(bakery: Path) -> None:
    for file, old, new, _ in [MISTAKES[0], MISTAKES[9], MISTAKES[18], MISTAKES[24], MISTAKES[29]]:
        edit(bakery, file, old, new)
    assert {mistake.split(":")[0] for mistake in mistakes(bakery)} == {
        "pack.toml", "scenarios.toml", "ladders.toml", "exemplars/all.toml", "policy/late.md",
    }  # fmt: skip


def test_an_action_no_clause_permits_in_the_scenario_is_a_mistake(bakery: Path) -> None:
    edit(bakery, "policy/late.md", "scenario: late_bread", "scenario: small_talk")
    assert any("no clause permits 'refund' in scenario 'late_bread'" in mistake for mistake in mistakes(bakery))


def test_an_action_that_is_never_confirmed_is_a_mistake(bakery: Path) -> None:
    (bakery / "policy" / "confirm.md").unlink()
    assert any("no clause requires a confirmation" in mistake for mistake in mistakes(bakery))


def test_a_fact_the_scenario_does_not_read_is_a_mistake(bakery: Path) -> None:
    edit(bakery, "scenarios.toml", 'reads = ["get_order"]', "reads = []")
    assert any("needs fact 'order'" in mistake and "does not read" in mistake for mistake in mistakes(bakery))


def test_a_read_that_waits_for_a_slot_the_scenario_lacks_is_a_mistake(bakery: Path) -> None:
    edit(bakery, "scenarios.toml", 'slots = ["order_id"]', "slots = []")
    assert any("can never read 'get_order': order_id" in mistake for mistake in mistakes(bakery))


def test_a_scenario_without_an_exemplar_in_a_locale_is_a_mistake(bakery: Path) -> None:
    edit(bakery, "exemplars/all.toml", 'locale = "zh"\nscenario = "late_bread"', 'locale = "zh"\nscenario = "small_talk"')
    assert any("'late_bread' has no exemplar in 'zh'" in mistake for mistake in mistakes(bakery))


def test_a_variable_a_macro_binds_is_no_missing_fact(bakery: Path) -> None:
    edit(bakery, "policy/late.md", "order.late_minutes >= param.late_minutes", '"[10, 30].exists(m, order.late_minutes >= m)"')
    load_pack(bakery)


def test_words_inside_strings_are_no_names(bakery: Path) -> None:
    edit(bakery, "policy/late.md", "order.late_minutes >=", 'order.id != "order.nothing" && order.late_minutes >=')
    load_pack(bakery)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_or_unreadable_file_is_a_mistake_and_no_crash(bakery: Path, file: str) -> None:
    (bakery / file).write_bytes(b"\xff\xfe\x00garbage")
    assert any(mistake.startswith(f"{file}:1:") for mistake in mistakes(bakery))


def test_one_broken_file_does_not_make_every_name_unknown(bakery: Path) -> None:
    edit(bakery, "scenarios.toml", "[slot.order_id]", "[slot.order_id")
    assert len([mistake for mistake in mistakes(bakery) if not mistake.startswith("exemplars")]) == 1


ODD = ["1", "-1.5", "true", "[]", "[1, [2]]", "{}", "{ en = 1 }", '""', '"x"', "1979-05-27", "[{}]", '{ a = { b = "c" } }']


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(FILES[:3] + FILES[4:5]), line=st.integers(0, 60), value=st.sampled_from(ODD))
def test_a_value_of_any_other_type_is_never_a_crash(tmp_path: Path, file: str, line: int, value: str) -> None:
    pack = tmp_path / "odd"
    shutil.copytree(BAKERY, pack, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    rows = (pack / file).read_text(encoding="utf-8").splitlines()
    assigned = [number for number, row in enumerate(rows) if " = " in row]
    at = assigned[line % len(assigned)]
    rows[at] = rows[at].partition(" = ")[0] + " = " + value
    (pack / file).write_text("\n".join(rows), encoding="utf-8")
    with suppress(PackInvalid):
        load_pack(pack)


ELSEWHERE = """
[market.ch]
late_minutes = 90

[tenant.mill]
month_cents = 100
"""


def test_a_market_and_a_tenant_have_parameters_of_their_own(bakery: Path, tmp_path: Path) -> None:
    (tmp_path / "overrides.toml").write_text(ELSEWHERE, encoding="utf-8")
    pack = load_pack(bakery, overrides=tmp_path / "overrides.toml")
    assert pack.parameters_of() == {"late_minutes": 30, "month_cents": 2000}
    assert pack.parameters_of("ch") == {"late_minutes": 90, "month_cents": 2000}
    assert pack.parameters_of("ch", "mill") == {"late_minutes": 90, "month_cents": 100}
    assert pack.parameters_of("nowhere") == pack.parameters_of()
    assert pack.digest != load_pack(bakery).digest


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("late_minutes = 90", "late_minutes = 'long'", 3, "another type"),
        ("month_cents = 100", "months = 100", 6, "no parameter named 'months'"),
        ("[market.ch]", "[markets.ch]", 2, "unknown key 'markets'"),
    ],
)
def test_a_mistake_in_the_overrides_is_named_with_its_line(
    bakery: Path, tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    path = tmp_path / "overrides.toml"
    path.write_text(ELSEWHERE.replace(old, new), encoding="utf-8")
    with pytest.raises(PackInvalid) as caught:
        load_pack(bakery, overrides=path)
    assert [(mistake.file, mistake.line) for mistake in caught.value.mistakes] == [(path.as_posix(), line)]
    assert message in caught.value.mistakes[0].message


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("now > order.late_minutes", "types do not fit"),
        ('now.getHours("Europe/Berlin") > 8', "takes no time zone"),
        ('order.late_minutes >= 0 && now > timestamp("2026-01-01T00:00:00Z")', ""),
    ],
)
def test_now_is_typed_as_a_timestamp(bakery: Path, when: str, message: str) -> None:
    late = bakery / "policy" / "late.md"
    late.write_text(
        late.read_text(encoding="utf-8").replace("order.late_minutes >= param.late_minutes", when), encoding="utf-8"
    )
    if not message:
        load_pack(bakery, thorough=True)
        return
    with pytest.raises(PackInvalid, match=message) as caught:
        load_pack(bakery)
    assert (caught.value.mistakes[0].file, caught.value.mistakes[0].line) == ("policy/late.md", 6)
