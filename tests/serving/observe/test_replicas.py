"""One /metrics over many replicas: each is in it once, under its own labels, and what is missing is said."""

import asyncio
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from serving.observe.book import Book
from serving.observe.metrics import ReplicaMetrics
from serving.observe.replicas import Ask, Scrape, Snapshot, joined


def counted(value: int) -> bytes:
    book = Book()
    book.counter("turns", 'Turns, "quoted" {braced}.', ["how"]).labels('a "b" {c} d').inc(value)
    book.gauge("open", "Open.").set(value)
    book.histogram("took", "Took.", buckets=(1,)).observe(value)
    return book.exposition()


def samples(text: bytes) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels["replica"]): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if "le" not in sample.labels
    }


def test_every_series_says_whose_it_is_and_families_stay_together() -> None:
    text = joined([Snapshot("desk", "d1", counted(3)), Snapshot("desk", "d2", counted(4))])
    found = samples(text)
    assert (found["turns_total", "d1"], found["turns_total", "d2"]) == (3, 4)
    assert (found["open", "d1"], found["took_sum", "d2"]) == (3, 4)
    assert text.count(b"# TYPE turns_total counter") == 1
    labels = [sample.labels for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    assert {"deployment": "desk", "replica": "d1", "how": 'a "b" {c} d'} in labels


def asked(*snapshots: Snapshot | None) -> Ask:
    async def ask() -> Iterable[Snapshot | None]:
        return snapshots

    return ask


def scrape(**others: Ask) -> Scrape:
    book = Book()
    metrics = ReplicaMetrics(book)
    open_ = book.gauge("open", "Open.")
    open_.set(1)
    return Scrape("desk", "me", book.exposition, metrics, others)


async def test_a_replica_that_asks_its_own_deployment_is_in_the_text_once() -> None:
    others = asked(Snapshot("desk", "me", counted(9)), Snapshot("desk", "other", counted(2)))
    found = samples(await scrape(desk=others, engine=asked(Snapshot("engine", "e", counted(3)))).text())
    assert {replica: value for (name, replica), value in found.items() if name == "open"} == {"me": 1, "other": 2, "e": 3}


async def test_a_deployment_that_fails_or_lacks_a_replica_is_counted_and_the_rest_is_told() -> None:
    async def broken() -> Iterable[Snapshot | None]:
        raise ConnectionError

    text = await scrape(engine=broken, desk=asked(Snapshot("desk", "other", counted(2)), None)).text()
    assert samples(text)["open", "other"] == 2
    for of in ("engine", "desk"):
        assert f'keepword_scrape_failures_total{{deployment="desk",replica="me",of="{of}"}} 1.0'.encode() in text


async def test_a_deployment_that_hangs_does_not_hold_the_scrape() -> None:
    async def hanging() -> Iterable[Snapshot | None]:
        await asyncio.Event().wait()
        return ()

    book = Book()
    text = await Scrape("desk", "me", book.exposition, ReplicaMetrics(book), {"engine": hanging}, timeout_s=0.01).text()
    assert b'of="engine"' in text
