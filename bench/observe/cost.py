"""`keepword bench observe`: CPU time of watching one turn. The same calls, bare and watched, in turns in one run."""

import logging
import tempfile
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from agents.stages import stage, staging
from bench.observe.calls import Made, Saying, make_again, recorded
from bench.result import BenchResult, bar
from serving.clock import SystemClock
from serving.observe.engine import EngineMetrics, EngineStep
from serving.observe.logs import logged_as, set_up
from serving.observe.metrics import Metrics
from serving.observe.ports import ObservedModel, ObservedOffice, ObservedStore
from serving.observe.replicas import Snapshot, joined
from serving.observe.traces import NO_TRACES, OtelTraces, Traces

METRICS_MS_A_TURN: Final = 0.2
ENGINE_STEP_MS: Final = 0.2  # a hundredth of a fast GPU's step
REQUESTS_A_STEP: Final = 64
ROUNDS, VISITS_A_ROUND = 9, 200
STAGES_OF_A_TURN: Final = ("plan", "retrieve", "tools", "policy", "decode", "ledger", "draft", "verify")


class Nowhere(SpanExporter):
    """Spans are made and not sent: sending is another thread's."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


async def run(*, quick: bool, progress: Callable[[int, int], None]) -> BenchResult:
    rounds, visits = (3, 20) if quick else (ROUNDS, VISITS_A_ROUND)
    with tempfile.TemporaryDirectory(prefix="keepword-observe-") as folder:
        calls, turns = await recorded(Path(folder))
    saying, metrics, spans = Saying(), Metrics(), OtelTraces("bench", "1", SimpleSpanProcessor(Nowhere()))
    ways: dict[str, dict[str, Any]] = {
        "bare": dict.fromkeys(("store", "office", "model"), saying),
        "metrics": watched(saying, metrics, NO_TRACES),
        "traces": watched(saying, Metrics(), spans),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for done in range(rounds):
        for name, ports in ways.items():  # one after the other in each round: a slow moment meets them all
            took[name].append(await _cpu_ms(calls, saying, ports, visits) / (visits * turns))
        progress(done + 1, rounds)
    added = {name: median(a - b for a, b in zip(took[name], took["bare"], strict=True)) for name in ("metrics", "traces")}
    stages_ms = _stages_ms(visits)
    bars = {
        "metrics_ms_a_turn": bar(added["metrics"] + stages_ms, METRICS_MS_A_TURN),
        "traces_ms_a_turn": bar(added["traces"] - added["metrics"], None),
        "engine_step_ms": bar(_engine_step_ms(visits), ENGINE_STEP_MS),
        "scrape_ms": bar(_scrape_ms(metrics, visits), None),
        "log_line_ms": bar(_log_line_ms(visits), None),
    }
    detail = {
        "turns": turns,
        "calls_a_turn": round(len(calls) / turns, 1),
        "stages_ms_a_turn": round(stages_ms, 4),
        "rounds_ms_a_turn": {name: [round(each, 4) for each in values] for name, values in took.items()},
        "scrape_bytes": len(metrics.book.exposition()),
    }
    return BenchResult("bench observe", bars, detail)


def watched(saying: Saying, metrics: Metrics, traces: Traces) -> dict[str, Any]:
    port: Any = saying
    return {
        "store": ObservedStore(port, metrics, traces),
        "office": ObservedOffice(port, metrics, traces),
        "model": ObservedModel(port, metrics, traces),
    }


async def _cpu_ms(calls: Sequence[Made], saying: Saying, ports: dict[str, Any], times: int) -> float:
    began = process_time()
    for _ in range(times):
        await make_again(calls, saying, ports)
    return (process_time() - began) * 1000


def _stages_ms(times: int) -> float:
    """Marking a turn's stages, two clock readings each."""
    clock, began = SystemClock(), process_time()
    for _ in range(times):
        with staging(clock):
            for name in STAGES_OF_A_TURN:
                with stage(name):
                    pass
    return (process_time() - began) * 1000 / times


def _engine_step_ms(times: int) -> float:
    """Taking in a step in which every request got a token."""
    metrics, inter_token_s = EngineMetrics(), [0.02 + 0.0005 * at for at in range(REQUESTS_A_STEP)]
    step = EngineStep(REQUESTS_A_STEP, 3, 0.6, decode_tokens=REQUESTS_A_STEP, inter_token_s=inter_token_s)
    began = process_time()
    for _ in range(times):
        metrics.step(step)
    return (process_time() - began) * 1000 / times


def _scrape_ms(metrics: Metrics, times: int) -> float:
    """One replica's text, and joining it with three more."""
    began, count = process_time(), max(1, times // 10)
    for _ in range(count):
        joined(Snapshot("desk", str(replica), metrics.book.exposition()) for replica in range(4))
    return (process_time() - began) * 1000 / (4 * count)


def _log_line_ms(times: int) -> float:
    logger = logging.getLogger("keepword")
    kept = logger.handlers[:], logger.level, logger.propagate
    set_up("json", "INFO", out=StringIO(), service="bench", replica="1")
    try:
        began = process_time()
        with logged_as(session_id="ses_1", turn_id="turn_1"):
            for _ in range(times):
                logger.info("not said: %s", "amount-not-in-facts: Your refund of 99.00 EUR is on its way.")
        return (process_time() - began) * 1000 / times
    finally:
        logger.handlers[:], logger.propagate = kept[0], kept[2]
        logger.setLevel(kept[1])
