"""`keepword top`: figures from two readings of /metrics, a screen that fits, and a plain word when nothing answers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rich.console import Console
from typer.testing import CliRunner

from agents.domain.events import StoredEvent, TurnDone
from serving.cli import build_app
from serving.observe.engine import EngineMetrics, EngineStep
from serving.observe.metrics import Metrics
from serving.observe.replicas import Snapshot, joined
from serving.observe.top.command import NoMetrics
from serving.observe.top.figures import Figures, figures
from serving.observe.top.samples import Reading
from serving.observe.top.screen import Screen


class Stack:
    """The metrics of one desk and two engines, as one /metrics."""

    def __init__(self) -> None:
        self.desk = Metrics(about={"model": "m", "pack": "shop", "version": "1"})
        self.engines = [EngineMetrics(), EngineMetrics()]

    def reading(self, at_s: float, *, engines: int = 2) -> Reading:
        return Reading.of(self.text(engines=engines).decode(), at_s)

    def text(self, *, engines: int = 2) -> bytes:
        of_engines = [Snapshot("engine", f"e{n}", each.book.exposition()) for n, each in enumerate(self.engines[:engines])]
        return joined([Snapshot("desk", "d0", self.desk.book.exposition()), *of_engines])

    def turns(self, count: int, seconds: float) -> None:
        done = TurnDone("turn_1", "Bye.", {}, {"turn": seconds}, ())
        for _ in range(count):
            self.desk.turns.told(StoredEvent(9, datetime.now(UTC), done, ""))


def test_quantiles_are_of_the_interval_alone() -> None:
    stack = Stack()
    stack.turns(100, 20.0)
    before = stack.reading(0.0)
    stack.turns(10, 0.3)
    (turn,) = (each for each in figures(before, stack.reading(2.0)).stages if each.name == "turn")
    assert turn.per_s == 5.0
    assert turn.p50_s is not None
    assert 0.25 < turn.p50_s < 0.5
    (queue,) = (each for each in figures(before, stack.reading(2.0)).stages if each.name == "queue")
    assert (queue.p50_s, queue.p99_s) == (None, None)


def test_each_engine_has_its_own_figures() -> None:
    stack = Stack()
    before = stack.reading(0.0)
    stack.engines[0].step(EngineStep(3, 1, 0.5, prefix_queries=100, prefix_hits=80, prefill_tokens=20, decode_tokens=10))
    stack.engines[1].step(EngineStep(1, 0, 0.25, decode_tokens=4, inter_token_s=(0.07, 0.07)))
    one, two = figures(before, stack.reading(2.0)).engines
    assert (one.running, one.waiting, one.kv_cache_usage, one.prefix_hit_rate) == (3, 1, 0.5, 0.8)
    assert (one.prefill_tokens_per_s, one.decode_tokens_per_s) == (10.0, 5.0)
    assert (two.running, two.decode_tokens_per_s, two.prefix_hit_rate) == (1, 2.0, None)
    assert two.inter_token_p50_s is not None
    assert 0.06 < two.inter_token_p50_s <= 0.08


def test_a_replica_that_comes_into_view_or_begins_again_makes_no_spike() -> None:
    stack, again = Stack(), Stack()
    for each in (*stack.engines, again.engines[0]):
        each.step(EngineStep(0, 0, 0.0, decode_tokens=1000))
    stack.engines[0].step(EngineStep(0, 0, 0.0, decode_tokens=5000))
    new = figures(stack.reading(0.0, engines=1), stack.reading(1.0)).engines
    assert [each.decode_tokens_per_s for each in new] == [0.0, 0.0]
    restarted = figures(stack.reading(0.0, engines=1), again.reading(1.0, engines=1)).engines
    assert [each.decode_tokens_per_s for each in restarted] == [1000.0]


def test_errors_are_told_by_kind_with_what_is_new() -> None:
    stack = Stack()
    for _ in range(3):
        stack.desk.calls.ended("model", "generate", 0.1, "engine-unavailable")
    before = stack.reading(0.0)
    stack.desk.calls.ended("model", "stream", 0.1, "engine-unavailable")
    stack.desk.admission.refused("acme", "customer", "full")
    found = figures(before, stack.reading(1.0))
    assert found.errors == {"model: engine-unavailable": 1, "refused: full": 1}
    assert found.errors_total["model: engine-unavailable"] == 4
    assert [(each.name, each.refused_per_s) for each in found.tenants] == [("acme", 1.0)]


@pytest.fixture
def busy() -> Figures:
    stack = Stack()
    before = stack.reading(0.0)
    stack.turns(5, 1.2)
    stack.desk.admission.watch({"brown_out": lambda: 2.0}, {})
    for tenant in ("acme", "globex", "initech"):
        stack.desk.admission.admitted(tenant, "customer", 0.01)
    for error in ("engine-unavailable", "deadline-exceeded", "empty-output", "overloaded"):
        stack.desk.calls.ended("model", "generate", 0.1, error)
    stack.engines[0].step(EngineStep(60, 12, 0.97, prefix_queries=9, prefix_hits=3, first_token_s=[0.4], inter_token_s=[0.05]))
    return figures(before, stack.reading(2.0))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (118, 24), (200, 60)])
def test_the_screen_fits(busy: Figures, width: int, height: int) -> None:
    console = Console(width=width, height=height, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(Screen(busy, "127.0.0.1:8000"))
    lines = capture.get().splitlines()
    assert len(lines) <= height - 1
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    for word in ("turns/s 2.50", "brown-out 2", "running 60", "97%", "acme", "model: deadline-exceeded", "desk d0"):
        assert word in shown


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_once_as_json_prints_one_object() -> None:
    with answering(Stack().text()) as url:
        ran = CliRunner().invoke(build_app(), ["top", "--url", url, "--once", "--json", "--every", "0.2"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert found["replicas"] == {"desk": 1, "engine": 2}
    assert {each["name"] for each in found["stages"]} >= {"queue", "retrieve", "turn"}


def test_what_is_no_desk_is_said_with_a_hint() -> None:
    others = b"# HELP up u\n# TYPE up gauge\nup 1\n"
    with answering(others) as other, answering(b"no", 404) as missing, answering(b"{}{") as broken:
        for url in (other, missing, broken, "http://127.0.0.1:9", "nonsense", "http://127.0.0.1:x"):
            ran = CliRunner().invoke(build_app(), ["top", "--url", url, "--once", "--every", "0.2"])
            assert isinstance(ran.exception, NoMetrics), url
            assert url in ran.exception.message
            assert "--url" in ran.exception.hint
