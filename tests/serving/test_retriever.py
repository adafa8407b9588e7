import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from agents.domain.pack import Pack
from agents.domain.words import Act, Clause, Effect, Exemplar, Risk, Scenario
from agents.ports import Retriever
from retrieval.embedding import Embedder, make_embedder
from retrieval.search import Searcher, make_query
from serving.retriever import EXEMPLAR_PULL, PackRetriever

EXEMPLARS = (
    *(Exemplar(text, "en", "damaged", Act.ASKS) for text in ("the mug arrived in pieces", "my lamp is cracked")),
    *(Exemplar(text, "zh", "damaged", Act.ASKS) for text in ("杯子收到时碎了", "花瓶裂了")),
    *(Exemplar(text, "en", "missing", Act.ASKS) for text in ("where is my parcel", "the delivery never came")),
    *(Exemplar(text, "zh", "missing", Act.ASKS) for text in ("包裹还没收到", "快递丢了")),
    *(Exemplar(text, "en", None, Act.ACCEPTS) for text in ("yes please", "ok do that")),
    *(Exemplar(text, "zh", None, Act.REJECTS) for text in ("不要", "不行")),
)


def clause(id: str, scenarios: tuple[str, ...], en: str, zh: str) -> Clause:
    return Clause(id, scenarios, Effect.PERMIT, ("*",), "true", {}, {"en": id, "zh": id}, {"en": en, "zh": zh})


def scenario(id: str) -> Scenario:
    return Scenario(id, {}, {}, Risk.LOW, (), (), None, {})


PACK = Pack(
    name="tiny",
    path=Path("tiny"),
    digest="one",
    locales=("en", "zh"),
    currency="EUR",
    timezone="Europe/Berlin",
    parameters={},
    handoff_owner="care",
    handoff_due_minutes=30,
    texts={},
    slots={},
    scenarios={id: scenario(id) for id in ("damaged", "missing", "invoice")},
    ladders={},
    clauses=(
        clause("damage.refund", ("damaged",), "Damaged goods are refunded.", "商品破损可以退款。"),
        clause("parcel.trace", ("missing",), "A parcel that does not move is traced.", "快递不动可以查件。"),
        clause("identity", ("*",), "We only talk about your own orders.", "我们只能查询您本人的订单。"),
    ),
    exemplars=EXEMPLARS,
)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return make_embedder()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("index")


@pytest.fixture(scope="module")
def retriever(root: Path, embedder: Embedder) -> PackRetriever:
    return PackRetriever.open(PACK, root, embedder)


def best(shares: Mapping[str, float]) -> str:
    return max(shares, key=lambda label: shares[label])


def test_it_is_the_port_the_agents_declare(retriever: PackRetriever) -> None:
    port: Retriever = retriever
    assert port.retrieve("my mug broke", "en").exemplars


@pytest.mark.parametrize(
    ("text", "locale", "wanted"), [("the vase is broken", "en", "damaged"), ("我的快递没到", "zh", "missing")]
)
def test_the_scenario_its_exemplar_and_its_clause_come_first(
    retriever: PackRetriever, text: str, locale: str, wanted: str
) -> None:
    found = retriever.retrieve(text, locale)
    assert best(found.scenarios) == wanted
    assert found.exemplars[0].exemplar.scenario == wanted
    assert wanted in next(each.scenarios for each in PACK.clauses if each.id == found.clauses[0].clause_id)


@pytest.mark.parametrize("text", ["the vase came broken", "", "yes", "9" * 4000])
def test_probabilities_cover_every_label_and_sum_to_one(retriever: PackRetriever, text: str) -> None:
    found = retriever.retrieve(text, "en")
    assert set(found.scenarios) == set(PACK.scenarios)
    assert set(found.acts) == {act.value for act in Act}
    assert sum(found.scenarios.values()) == pytest.approx(1)
    assert sum(found.acts.values()) == pytest.approx(1)


def test_exemplars_without_a_scenario_teach_the_act(retriever: PackRetriever) -> None:
    assert best(retriever.retrieve("yes please do", "en").acts) == "accepts"


def test_an_exemplar_gains_by_how_likely_its_own_label_is(root: Path, embedder: Embedder) -> None:
    namesake = tuple(replace(each, scenario="asks") if each.scenario == "missing" else each for each in EXEMPLARS)
    pack = replace(PACK, name="namesake", exemplars=namesake, scenarios={id: scenario(id) for id in ("damaged", "asks")})
    named = PackRetriever.open(pack, root, embedder)
    found = named.retrieve("ok where is my parcel", "en", exemplars=len(EXEMPLARS))
    query = make_query("ok where is my parcel", embedder)
    own = {hit.passage.text: hit.score for hit in Searcher(named.index).search(query, limit=len(EXEMPLARS), kind="exemplar")}
    for text, label, score in [(each.exemplar.text, each.exemplar, each.score) for each in found.exemplars]:
        likely = found.acts[label.act] if label.scenario is None else found.scenarios[label.scenario]
        assert score == pytest.approx(own[text] + EXEMPLAR_PULL * likely, abs=1e-6)
    assert len(found.exemplars) == len(EXEMPLARS)
    assert [each.score for each in found.exemplars] == sorted((each.score for each in found.exemplars), reverse=True)


def test_each_clause_is_named_once_and_no_more_than_asked_for(retriever: PackRetriever) -> None:
    found = retriever.retrieve("my parcel", "en", exemplars=3, clauses=2)
    assert len(found.exemplars) == 3
    assert len({hit.clause_id for hit in found.clauses}) == 2


def test_a_pack_without_exemplars_gets_equal_shares(root: Path, embedder: Embedder) -> None:
    bare = PackRetriever.open(replace(PACK, name="bare", exemplars=()), root, embedder)
    found = bare.retrieve("my mug broke", "en")
    assert set(found.scenarios.values()) == {1 / 3}
    assert found.exemplars == ()
    assert found.clauses


def test_a_pack_without_anything_to_index_still_answers(root: Path, embedder: Embedder) -> None:
    empty = PackRetriever.open(replace(PACK, name="empty", exemplars=(), clauses=()), root, embedder)
    assert empty.retrieve("hello", "en").clauses == ()


def test_refreshing_with_the_same_pack_changes_nothing(retriever: PackRetriever) -> None:
    before = retriever.index
    assert not retriever.refresh(PACK)
    assert retriever.index is before


def test_a_pack_that_changed_in_a_parameter_only_keeps_its_index(root: Path, embedder: Embedder) -> None:
    retriever = PackRetriever.open(PACK, root, embedder)
    version = retriever.index.version
    assert retriever.refresh(replace(PACK, digest="three", parameters={"days": 30}))
    assert retriever.index.version == version


def test_searches_go_on_while_the_pack_is_swapped_and_each_sees_one_pack_only(root: Path, embedder: Embedder) -> None:
    marked = tuple(replace(each, text=f"{each.text} (second edition)") for each in EXEMPLARS)
    second = replace(PACK, digest="two", exemplars=marked)
    retriever = PackRetriever.open(PACK, root, embedder)
    swapped = threading.Event()

    def search() -> list[set[bool]]:
        seen: list[set[bool]] = []
        while True:
            last = swapped.is_set()
            found = retriever.retrieve("the vase came broken", "en")
            seen.append({hit.exemplar.text.endswith("(second edition)") for hit in found.exemplars})
            if last:
                return seen

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(search) for _ in range(3)]
        try:
            assert retriever.refresh(second)
        finally:
            swapped.set()
        editions = [each.result() for each in searches]
    assert all(seen in ({True}, {False}) for each in editions for seen in each)
    assert all(each[-1] == {True} for each in editions)
