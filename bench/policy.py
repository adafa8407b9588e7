"""`keepword bench policy`: how long a verdict takes over 300 and 10,000 clauses, what it holds in memory, and what Rego and
Cedar need for the same rules in the same run."""

import gc
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from agents.domain.words import Ruling
from agents.policy.engine import PolicyEngine
from bench.policy_peers import PEERS, Cedar, Rego
from bench.policy_rules import NOW, Request, Rule, pack_of, request, rule_set
from bench.result import BenchResult, bar, quantile, resident_mib

LIMIT_MS = {"300": 1.0, "300_all_apply": 1.0, "10000": 5.0}
PEER_S = 20.0  # at most so long a peer is timed on one rule set
GROWTH_VERDICTS = 50_000


def run(*, seed: int = 0, quick: bool = False, progress: Callable[[int, int], None] | None = None) -> BenchResult:
    """5,000 verdicts over each rule set, peers on as many of the same requests as fit into `PEER_S`; quick: 300."""
    verdicts = 300 if quick else 5_000
    sizes = [("300", 300, False), ("300_all_apply", 300, True), ("10000", 10_000, False)][: 2 if quick else 3]
    bars, detail = {}, dict[str, Any]()
    disagreements = 0
    for number, (name, clauses, one_place) in enumerate(sizes):
        rng = random.Random(f"{seed} {name}")
        rules = rule_set(clauses, rng, one_place=one_place)
        requests = [request(clauses, rng, one_place=one_place, complete=True) for _ in range(verdicts)]
        measured, allowed = _ours(rules, requests)
        detail[name] = {"keepword": measured, "allowed": sum(allowed)}
        bars[f"p99_ms_{name}"] = bar(measured["p99_ms"], LIMIT_MS.get(name))
        for peer, kind in PEERS.items():
            theirs, wrong = _peer(kind, rules, requests, allowed, 2.0 if quick else PEER_S)
            detail[name][peer] = theirs
            disagreements += wrong
            bars[f"{peer}_to_keepword_p50_{name}"] = bar(theirs["p50_ms"] / measured["p50_ms"], None)
        if progress is not None:
            progress(number + 1, len(sizes))
    growth = _growth(rule_set(300, random.Random(seed)), 5_000 if quick else GROWTH_VERDICTS)
    detail["growth_verdicts"] = 5_000 if quick else GROWTH_VERDICTS
    return BenchResult(
        "bench policy", {**bars, "growth_mib": bar(growth, None), "disagreements_with_peers": bar(disagreements, 0)}, detail
    )


def _ours(rules: Sequence[Rule], requests: Sequence[Request]) -> tuple[dict[str, float], list[bool]]:
    before, began = resident_mib(), time.perf_counter()
    engine = PolicyEngine(pack_of(list(rules)))
    built_s, held = time.perf_counter() - began, resident_mib() - before
    for each in requests[:50]:
        _judge(engine, each)
    took, allowed = list[float](), list[bool]()
    for each in requests:
        start = time.perf_counter()
        ruling = _judge(engine, each)
        took.append((time.perf_counter() - start) * 1000)
        allowed.append(ruling is Ruling.ALLOW)
    return {**_times(took), "build_s": round(built_s, 3), "memory_mib": round(held, 1)}, allowed


def _peer(
    kind: type[Rego] | type[Cedar], rules: Sequence[Rule], requests: Sequence[Request], allowed: Sequence[bool], budget_s: float
) -> tuple[dict[str, float], int]:
    before, began = resident_mib(), time.perf_counter()
    peer = kind(rules)
    built_s, held = time.perf_counter() - began, resident_mib() - before
    took, wrong, ends = list[float](), 0, time.perf_counter() + budget_s
    for each, expected in zip(requests, allowed, strict=True):
        prepared = peer.prepare(each)
        start = time.perf_counter()
        answer = peer.allowed(prepared)
        took.append((time.perf_counter() - start) * 1000)
        wrong += answer is not expected
        if time.perf_counter() > ends:
            break
    return {**_times(took), "build_s": round(built_s, 3), "memory_mib": round(held, 1), "disagreements": wrong}, wrong


def _judge(engine: PolicyEngine, asked: Request) -> Ruling:
    verdict = engine.judge(
        asked.proposal, scenario=asked.scenario, facts=asked.facts, confirmed=asked.confirmed, spent=asked.spent, now=NOW
    )
    return verdict.ruling


def _growth(rules: Sequence[Rule], verdicts: int) -> float:
    """MiB that the process grows by over many verdicts on ever new facts, the first tenth not counted."""
    engine, rng = PolicyEngine(pack_of(list(rules))), random.Random(1)
    for _ in range(verdicts // 10):
        _judge(engine, request(len(rules), rng))
    gc.collect()
    before = resident_mib()
    for _ in range(verdicts):
        _judge(engine, request(len(rules), rng))
    gc.collect()
    return resident_mib() - before


def _times(took: list[float]) -> dict[str, float]:
    return {"verdicts": len(took), "p50_ms": round(quantile(took, 0.5), 4), "p99_ms": round(quantile(took, 0.99), 4)}
