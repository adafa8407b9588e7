"""Two desks and two engines behind Ray Serve's proxy: one turn is one trace, /metrics tells of all of them whoever answers, and
their log lines arrive whole. Ray runs for real; only the model is scripted."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import ray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families
from ray import serve

from agents.ports import ModelRequest
from serving.deployment import desk_app
from serving.engine.deployment import model_app
from serving.observe.observing import Observing
from serving.observe.ray_logs import show_ours
from serving.scaling import Scaling
from serving.scripted import ScriptedModel
from serving.settings import Settings

WAIT_S = 30.0
TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BROKEN = "The mugs from KW-1042 came in pieces"
UNSAYABLE = "Your refund of 99.00 EUR is on its way."


@dataclass
class Arrived:
    """What came from other processes; waits for more of it."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    spans: dict[str, list[tuple[str, Span]]] = field(default_factory=dict)  # by trace id: (service, span)
    log: str = ""

    def write(self, text: str) -> None:
        with self.changed:
            self.log += text
            self.changed.notify_all()

    def flush(self) -> None:
        return None

    def took(self, request: ExportTraceServiceRequest) -> None:
        with self.changed:
            for of_resource in request.resource_spans:
                named = {each.key: each.value.string_value for each in of_resource.resource.attributes}
                for of_scope in of_resource.scope_spans:
                    for span in of_scope.spans:
                        self.spans.setdefault(span.trace_id.hex(), []).append((named["service.name"], span))
            self.changed.notify_all()

    def wait(self, until: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(until, WAIT_S), sorted(span.name for _, span in self.spans.get(TRACE, []))


@contextmanager
def collecting(arrived: Arrived) -> Iterator[str]:
    """An OTLP collector."""

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            arrived.took(request)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def say(request: ModelRequest) -> str:
    return "damaged_item asks" if request.structure is not None else UNSAYABLE


def scripted() -> ScriptedModel:
    return ScriptedModel(say)


@dataclass
class Running:
    http: httpx.Client
    arrived: Arrived

    def turn(self, text: str, **headers: str) -> dict[str, object]:
        token = self.http.post("/v1/dev/customer-tokens", json={"customer_id": "C-001"}).json()["customer_token"]
        opened = self.http.post("/v1/sessions", json={"customer_token": token, "locale": "en"}).json()
        headers["Authorization"] = f"Bearer {opened['session_token']}"
        answer = self.http.post(f"/v1/sessions/{opened['session_id']}/turns", json={"text": text}, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    def samples(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        text, found = self.http.get("/metrics").text, dict[str, list[tuple[dict[str, str], float]]]()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("desks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arrived = Arrived()
    with collecting(arrived) as collector:
        settings = Settings.load(
            data_dir=folder, model="scripted", traces=collector, log_format="json", port=port, desk_replicas=2
        )
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=True, configure_logging=False)
        try:
            show_ours(rays_too=False, out=arrived)
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            engine = model_app(scripted, scale=Scaling(2, None, 16.0), observing=Observing.of(settings))
            handle = serve.run(engine, name="engine", route_prefix=None)
            serve.run(desk_app(settings, handle), name="keepword", route_prefix="/")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
                yield Running(http, arrived)
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]
            ray.shutdown()


def test_one_turn_is_one_connected_trace_from_the_client_to_the_engine(running: Running) -> None:
    turn = running.turn(BROKEN, traceparent=f"00-{TRACE}-{CLIENT}-01")
    whole = {"http POST", "turn", "plan", "retrieve", "model generate", "engine generate", "tools", "tool get_order", "policy"}
    whole |= {"draft", "model stream", "engine stream", "verify", "store append"}

    def mine() -> list[tuple[str, Span]]:
        return running.arrived.spans.get(TRACE, [])

    running.arrived.wait(lambda: whole <= {span.name for _, span in mine()})
    ids = {span.span_id for _, span in mine()} | {bytes.fromhex(CLIENT)}
    assert [span.name for _, span in mine() if span.parent_span_id not in ids] == []
    by_name = {span.name: (service, span) for service, span in mine()}
    by_id = {span.span_id: span.name for _, span in mine()}
    assert by_name["http POST"][1].parent_span_id.hex() == CLIENT
    parents = {"turn": "http POST", "plan": "turn", "retrieve": "plan", "model generate": "plan", "tool get_order": "tools"}
    parents |= {"engine generate": "model generate", "engine stream": "model stream", "model stream": "draft"}
    assert {name: by_id[by_name[name][1].parent_span_id] for name in parents} == parents
    assert by_name["engine stream"][0] == "keepword-engine"
    assert by_name["verify"][0] == "keepword-desk"
    told = {each.key: each.value.string_value for each in by_name["turn"][1].attributes}
    assert told["turn_id"] == turn["turn_id"]
    assert "99.00" not in str(mine())


def test_a_log_line_of_a_replica_arrives_as_it_was_written_with_turn_and_trace(running: Running) -> None:
    turn = running.turn(BROKEN)

    def mine() -> list[str]:
        return [line for line in running.arrived.log.splitlines() if str(turn["turn_id"]) in line]

    running.arrived.wait(lambda: bool(mine()))
    line = json.loads(mine()[0])
    assert line["session_id"] == turn["session_id"]
    assert line["service"] == "desk"
    assert len(line["trace_id"]) == 32
    assert line["message"].startswith("not said: ")


def test_metrics_tell_of_every_replica_once_whoever_is_asked(running: Running) -> None:
    before = sum(value for _, value in running.samples().get("keepword_turns_total", ()))
    for _ in range(6):
        running.turn(BROKEN)
    seen = [running.samples() for _ in range(4)]
    for found in seen:
        assert len({labels["replica"] for labels, _ in found["keepword_turns_in_flight"]}) == 2
        assert len({labels["replica"] for labels, _ in found["keepword_engine_running"]}) == 2
    ended = [sum(value for _, value in found["keepword_turns_total"]) for found in seen]
    assert ended == [before + 6] * 4
    asked = sum(value for _, value in seen[0]["keepword_model_seconds_count"])
    answered = sum(value for _, value in seen[0]["keepword_engine_calls_total"])
    assert asked == answered > 0
