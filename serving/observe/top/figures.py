"""What the screen and `--json` show, computed from two readings."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from serving.observe.top.samples import Reading
from serving.observe.turns import STAGES


@dataclass(frozen=True, slots=True)
class Stage:
    """Times in seconds; None: nothing was observed."""

    name: str
    per_s: float
    p50_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine's replica. `prefix_hit_rate` is a share of the prompt tokens looked up; None: none were."""

    replica: str
    running: int
    waiting: int
    kv_cache_usage: float
    prefix_hit_rate: float | None
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    preemptions: int
    first_token_p50_s: float | None
    first_token_p99_s: float | None
    inter_token_p50_s: float | None
    inter_token_p99_s: float | None


@dataclass(frozen=True, slots=True)
class Process:
    deployment: str
    replica: str
    cpu_cores: float
    resident_bytes: int
    loop_lag_p99_s: float | None


@dataclass(frozen=True, slots=True)
class Tenant:
    name: str
    admitted_per_s: float
    refused_per_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Rates and quantiles of the time between two readings, gauges at the second. `errors` counts by kind in that time,
    `errors_total` since each replica began."""

    interval_s: float
    about: Mapping[str, str]
    replicas: Mapping[str, int]
    turns_per_s: float
    outcomes_per_s: Mapping[str, float]
    in_flight: int
    queue: int
    brown_out: int
    streams: int
    requests_per_s: float
    statuses_per_s: Mapping[str, float]
    tokens_per_s: Mapping[str, float]
    cost_per_hour: float
    open_ledger_lines: int
    stages: tuple[Stage, ...]
    engines: tuple[Engine, ...]
    processes: tuple[Process, ...]
    tenants: tuple[Tenant, ...]
    errors: Mapping[str, int]
    errors_total: Mapping[str, int]


def figures(before: Reading, now: Reading) -> Figures:
    grown, interval_s = now.since(before), max(now.at_s - before.at_s, 1e-9)

    def rates(name: str, label: str) -> dict[str, float]:
        return {key: round(count / interval_s, 3) for key, count in grown.by(name, label).items()}

    return Figures(
        interval_s=round(interval_s, 3),
        about={label: next(iter(now.by("keepword_build_info", label)), "") for label in ("model", "pack", "version")},
        replicas=dict(Counter(deployment for deployment, _ in sorted(now.replicas()))),
        turns_per_s=round(grown.sum("keepword_turns_total") / interval_s, 3),
        outcomes_per_s=rates("keepword_turns_total", "outcome"),
        in_flight=int(now.sum("keepword_turns_in_flight")),
        queue=int(now.sum("keepword_queue_length")),
        brown_out=int(max(now.by("keepword_brown_out_level", "replica").values(), default=0)),
        streams=int(now.sum("keepword_streams_open")),
        requests_per_s=round(grown.sum("keepword_http_requests_total") / interval_s, 3),
        statuses_per_s=_by_hundreds(rates("keepword_http_requests_total", "status")),
        tokens_per_s=rates("keepword_tokens_total", "kind"),
        cost_per_hour=round(grown.sum("keepword_cost_total") / interval_s * 3600, 4),
        open_ledger_lines=int(max(now.by("keepword_open_ledger_lines", "replica").values(), default=0)),
        stages=tuple(_stage(grown, name, interval_s) for name in STAGES),
        engines=tuple(
            _engine(grown, replica, interval_s) for replica in now.by("keepword_engine_running", "replica", deployment="engine")
        ),
        processes=tuple(_process(grown, *each, interval_s) for each in sorted(now.replicas())),
        tenants=_tenants(rates("keepword_admissions_total", "tenant"), rates("keepword_refusals_total", "tenant")),
        errors=_errors(grown),
        errors_total=_errors(now),
    )


def _stage(grown: Reading, name: str, interval_s: float) -> Stage:
    p50_s, p99_s = grown.quantiles("keepword_stage_seconds", 0.5, 0.99, stage=name)
    return Stage(name, round(grown.sum("keepword_stage_seconds_count", stage=name) / interval_s, 3), p50_s, p99_s)


def _engine(grown: Reading, replica: str, interval_s: float) -> Engine:
    def of(name: str, **labels: str) -> float:
        return grown.sum(f"keepword_engine_{name}", replica=replica, deployment="engine", **labels)

    queries = of("prefix_queries_total")
    first = grown.quantiles("keepword_engine_first_token_seconds", 0.5, 0.99, replica=replica)
    inter = grown.quantiles("keepword_engine_inter_token_seconds", 0.5, 0.99, replica=replica)
    return Engine(
        replica,
        running=int(of("running")),
        waiting=int(of("waiting")),
        kv_cache_usage=round(of("kv_cache_usage_ratio"), 4),
        prefix_hit_rate=round(of("prefix_hits_total") / queries, 4) if queries else None,
        prefill_tokens_per_s=round(of("tokens_total", phase="prefill") / interval_s, 1),
        decode_tokens_per_s=round(of("tokens_total", phase="decode") / interval_s, 1),
        preemptions=int(of("preemptions_total")),
        first_token_p50_s=first[0],
        first_token_p99_s=first[1],
        inter_token_p50_s=inter[0],
        inter_token_p99_s=inter[1],
    )


def _process(grown: Reading, deployment: str, replica: str, interval_s: float) -> Process:
    """A replica and, where there is one, the process that computes for it."""
    mine = {"deployment": deployment, "replica": replica}
    both = ("process", "keepword_engine_core_process")
    cpu_s = sum(grown.sum(f"{prefix}_cpu_seconds_total", **mine) for prefix in both)
    resident = sum(grown.sum(f"{prefix}_resident_memory_bytes", **mine) for prefix in both)
    (lag_s,) = grown.quantiles("keepword_event_loop_lag_seconds", 0.99, **mine)
    return Process(deployment, replica, round(cpu_s / interval_s, 3), int(resident), lag_s)


def _tenants(admitted: Mapping[str, float], refused: Mapping[str, float]) -> tuple[Tenant, ...]:
    names = sorted({*admitted, *refused}, key=lambda name: (-admitted.get(name, 0.0) - refused.get(name, 0.0), name))
    return tuple(Tenant(name, admitted.get(name, 0.0), refused.get(name, 0.0)) for name in names)


def _errors(reading: Reading) -> dict[str, int]:
    """Failed turns, refusals, and what failed below: by "what: type", the most frequent first."""
    found = {f"turn: {error}": count for error, count in reading.by("keepword_turn_failures_total", "error").items()}
    found |= {f"refused: {reason}": count for reason, count in reading.by("keepword_refusals_total", "reason").items()}
    for of in ("model", "store", "tool"):
        by_error = reading.by("keepword_call_errors_total", "error", of=of)
        found |= {f"{of}: {error}": count for error, count in by_error.items()}
    return {kind: int(count) for kind, count in sorted(found.items(), key=lambda item: (-item[1], item[0])) if count}


def _by_hundreds(by_status: Mapping[str, float]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for status, rate in by_status.items():
        sums[f"{status[:1]}xx"] = round(sums.get(f"{status[:1]}xx", 0.0) + rate, 3)
    return sums
