"""What the metrics say of a real visit; and that README.md lists exactly the metrics there are."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import serving.observe
from agents.domain.errors import EngineUnavailable
from agents.domain.events import StoredEvent, TurnDone, TurnFailed, TurnStarted
from agents.domain.pack import Pack
from agents.domain.words import Act, Proposal
from agents.packs.loader import load_pack, tools_module
from agents.ports import ModelRequest, ToolCall
from agents.tools.backoffice import PackBackOffice
from serving.embedded import EmbeddedDesk
from serving.observe.book import OTHER, Book, Few
from serving.observe.engine import EngineMetrics
from serving.observe.metrics import Metrics
from serving.observe.ports import ObservedModel, ObservedOffice, ObservedStore
from serving.observe.traces import NO_TRACES
from serving.observe.turns import TokenPrices
from serving.scripted import ScriptedModel, TableRetriever
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock

BROKEN, NO, YES, PERSON = "my mugs came broken, KW-1042", "no, more", "yes please", "a human please"
TABLE = {
    BROKEN: ("damaged_item", Act.ASKS),
    NO: ("damaged_item", Act.REJECTS),
    YES: ("damaged_item", Act.ACCEPTS),
    PERSON: ("human_request", Act.ASKS),
}


def drafts(request: ModelRequest) -> str:
    if request.structure is not None:
        raise EngineUnavailable("no plan from this model")
    return "Your refund of 99.00 EUR is on its way."  # which the verifier must not let through


@dataclass
class Observed:
    metrics: Metrics
    desk: EmbeddedDesk
    clock: SetClock

    def value(self, metric: str, /, **labels: str) -> float:
        registry: CollectorRegistry = self.metrics.book.registry
        return registry.get_sample_value(metric, labels) or 0.0


@pytest.fixture(scope="module")
def pack() -> Pack:
    return load_pack("shop")


@pytest.fixture
async def observed(pack: Pack, tmp_path: Path) -> AsyncIterator[Observed]:
    clock, metrics = SetClock(), Metrics()
    sql = await SqlStore.open(f"sqlite+aiosqlite:///{tmp_path}/keepword.db", clock, Signer("secret"))
    module = tools_module(pack.path)
    office = PackBackOffice(module, await module.open_back_office(tmp_path / "shop"))
    async with EmbeddedDesk.open(
        pack,
        model=ObservedModel(ScriptedModel(drafts), metrics, NO_TRACES),
        data_dir=tmp_path,
        retriever=TableRetriever(pack, TABLE),
        store=ObservedStore(sql, metrics, NO_TRACES),
        back_office=ObservedOffice(office, metrics, NO_TRACES),
        clock=clock,
    ) as desk:
        await desk.start_session("C-001", session_id="ses_1", locale="en")
        yield Observed(metrics, desk, clock)
    await office.close()
    await sql.close()


async def test_a_visit_is_counted_by_outcome_scenario_and_act(observed: Observed) -> None:
    for text in (BROKEN, NO, YES, PERSON):
        await observed.desk.say("ses_1", text)
    for outcome, scenario, act in (
        ("done", "damaged_item", "asks"),
        ("done", "damaged_item", "rejects"),
        ("done", "damaged_item", "accepts"),
        ("handoff", "human_request", "asks"),
    ):
        assert observed.value("keepword_turns_total", outcome=outcome, scenario=scenario, act=act) == 1
    assert {how: observed.value("keepword_offers_total", how=how) for how in ("made", "rejected", "accepted")} == {
        "made": 2,
        "rejected": 1,
        "accepted": 1,
    }
    assert observed.value("keepword_actions_total", tool="refund_partial", status="done") == 1
    assert observed.value("keepword_handoffs_total") == 1
    assert observed.value("keepword_sessions_total") == 1
    assert observed.value("keepword_objections_total") >= 4
    assert observed.value("keepword_sentences_total", source="model") == 0
    assert observed.value("keepword_sentences_total", source="pack") >= 4


async def test_every_stage_of_a_turn_is_timed_and_every_call_outside(observed: Observed) -> None:
    for text in (BROKEN, YES):
        await observed.desk.say("ses_1", text)
    for stage in ("retrieve", "plan", "tools", "policy", "draft", "verify", "first_sentence", "turn"):
        assert observed.value("keepword_stage_seconds_count", stage=stage) == 2, stage
    for stage in ("decode", "ledger"):
        assert observed.value("keepword_stage_seconds_count", stage=stage) == 1
    for operation in ("append", "open_turn", "intend", "settle"):
        assert observed.value("keepword_store_seconds_count", operation=operation) >= 1, operation
    assert observed.value("keepword_tool_seconds_count", tool="get_order") >= 1
    assert observed.value("keepword_model_first_piece_seconds_count") == 2
    assert observed.value("keepword_call_errors_total", of="model", name="generate", error="engine-unavailable") >= 1


def test_tokens_and_cost_are_counted_a_cached_token_once() -> None:
    metrics = Metrics(TokenPrices(prompt=2.0, cached=0.5, completion=8.0))
    usage = {"llm_calls": 2, "prompt_tokens": 1000, "cached_tokens": 600, "completion_tokens": 50}
    metrics.turns.told(StoredEvent(9, SetClock().now(), TurnDone("turn_1", "Bye.", usage, {}, ()), ""))
    found = metrics.book.registry.get_sample_value
    kinds = ("prompt", "cached", "completion")
    assert [found("keepword_tokens_total", {"kind": kind}) for kind in kinds] == [1000, 600, 50]
    cost = [found("keepword_cost_total", {"kind": kind}) for kind in kinds]
    assert cost == pytest.approx([400 * 2e-6, 600 * 0.5e-6, 50 * 8e-6])


def test_a_failed_turn_counts_with_its_error_and_its_time() -> None:
    metrics, clock = Metrics(), SetClock()
    found = metrics.book.registry.get_sample_value
    metrics.turns.told(StoredEvent(2, clock.now(), TurnStarted("turn_1", "hello", "en"), ""))
    assert found("keepword_turns_in_flight") == 1
    clock.move(30)
    metrics.turns.told(StoredEvent(3, clock.now(), TurnFailed("turn_1", "internal", "Sorry."), ""))
    assert found("keepword_turns_in_flight") == 0
    assert found("keepword_turns_total", {"outcome": "failed", "scenario": "none", "act": "none"}) == 1
    assert found("keepword_turn_failures_total", {"error": "internal"}) == 1
    assert found("keepword_stage_seconds_sum", {"stage": "turn"}) == 30


async def test_open_ledger_lines_are_those_of_the_last_sweep(observed: Observed) -> None:
    await observed.desk.say("ses_1", BROKEN)
    assert observed.value("keepword_open_ledger_lines", status="unknown") == 0
    await observed.desk.rooms.recovery.sweep()
    assert observed.value("keepword_recovery_sweeps_total", outcome="done") == 1
    observed.metrics.ledger.swept({"unknown": 2})
    assert observed.value("keepword_open_ledger_lines", status="unknown") == 2


async def test_a_tools_refusal_is_an_error_of_that_tool(observed: Observed) -> None:
    office = observed.desk.back_office
    with pytest.raises(Exception, match="KW-9999"):
        await office.call("get_order", {"order_id": "KW-9999"}, ToolCall("C-001", observed.clock.now()))
    assert observed.value("keepword_call_errors_total", of="tool", name="get_order", error="tool-refused") == 1
    asked = Proposal("refund_full", {"order_id": "KW-1042"})
    assert await office.outcome(asked, ToolCall("C-001", observed.clock.now(), "k")) is None
    assert observed.value("keepword_tool_seconds_count", tool="outcome") == 1


def test_admission_speaks_in_its_own_words() -> None:
    metrics = Metrics()
    metrics.admission.admitted("acme", "customer", 0.2)
    metrics.admission.refused("acme", "batch", "full")
    waiting = [3.0]
    metrics.admission.watch({"brown_out": lambda: 2.0, "limit": lambda: 40.0}, {"operator": lambda: waiting[0]})
    waiting[0] = 4.0
    found = metrics.book.registry.get_sample_value
    assert found("keepword_admissions_total", {"tenant": "acme", "priority": "customer"}) == 1
    assert found("keepword_stage_seconds_sum", {"stage": "queue"}) == 0.2
    assert found("keepword_refusals_total", {"tenant": "acme", "priority": "batch", "reason": "full"}) == 1
    assert (found("keepword_queue_length", {"priority": "operator"}), found("keepword_brown_out_level")) == (4, 2)
    assert (found("keepword_admission_limit"), found("keepword_admission_token_budget")) == (40, 0)


def test_a_label_from_outside_has_few_values() -> None:
    few = Few(limit=2)
    assert [few(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]


def test_the_readme_lists_every_metric_as_it_is() -> None:
    readme = (Path(serving.observe.__file__).parent / "README.md").read_text(encoding="utf-8")
    written = {line for line in readme.splitlines() if line.startswith("| `keepword_")}
    books: tuple[Book, ...] = (Metrics().book, EngineMetrics().book)
    assert written == {str(row) for book in books for row in book.rows}


@pytest.mark.parametrize("book", [Metrics().book, EngineMetrics().book], ids=["desk", "engine"])
def test_every_metric_exposed_is_in_the_book(book: Book) -> None:
    exposed = {f"{family.name}_total" if family.type == "counter" else family.name for family in book.registry.collect()}
    libraries = {name for name in exposed if name.startswith(("process_", "python_gc_"))}
    assert exposed - libraries == {row.name for row in book.rows}
