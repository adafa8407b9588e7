"""`keepword bench compare`: peers side by side with Keepword in one run."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.peers import proxy_run, turn_run
from bench.peers.proxies import PROXIES
from bench.result import Bar, BenchResult, bar
from serving.settings import Settings

PYTHON_PROXIES = frozenset(proxy.name for proxy in PROXIES if proxy.language == "Python")
DESKS = ("langgraph", "parlant")
TURN_PROFILE = "l4-qwen3-8b-fp8"
ROUNDS, ROUND_S = 5, 8.0
Progress = Callable[[int, int], None]
Part = tuple[dict[str, Bar], dict[str, Any]]


def run(*, quick: bool, only: str, progress: Progress) -> BenchResult:
    """`only`: "proxies", "turns" or "" for both. `quick` starts no peer's environment but runs the same code on ours."""
    peers = Settings.load().cache_dir / "peers"
    parts = [part(quick, peers, progress) for name, part in (("proxies", _proxies), ("turns", _turns)) if only in ("", name)]
    bars = {name: each for part_bars, _ in parts for name, each in part_bars.items()}
    detail = {name: each for _, part_detail in parts for name, each in part_detail.items()}
    return BenchResult("bench compare", bars, detail)


def _proxies(quick: bool, peers: Path, progress: Progress) -> Part:
    """Ours over each peer's. A peer in Rust has no limit: how far it is ahead is told."""
    sizes, names = (proxy_run.QUICK, ()) if quick else (proxy_run.FULL, tuple(proxy.name for proxy in PROXIES))
    figures = proxy_run.measure(sizes, peers, names=names, progress=progress)
    rows = proxy_run.rows(figures)
    bars = {"proxy_errors": bar(sum(row["errors"] for row in rows.values()), 0)}
    for name in names:
        limit = 1.0 if name in PYTHON_PROXIES else None
        for figure in ("requests_per_s_a_core", "chunks_per_s_a_core"):
            bars[f"{figure}_over_{name}"] = bar(_ratio(rows, name, figure), limit, ">=")
        bars[f"added_p50_over_{name}"] = bar(_ratio(rows, name, "added_p50_ms"), limit)
    return bars, {"proxies": rows, "proxies_raw": {name: asdict(each) for name, each in figures.items()}}


def _turns(quick: bool, peers: Path, progress: Progress) -> Part:
    rounds, seconds, names = (1, 1.0, ()) if quick else (ROUNDS, ROUND_S, DESKS)
    desks = turn_run.measure(rounds=rounds, seconds=seconds, profile=TURN_PROFILE, peers=peers, names=names, progress=progress)
    rows = turn_run.told(desks)
    bars = {"turn_errors": bar(sum(row["errors"] for row in rows.values()), 0)}
    for name in names:
        bars[f"turns_per_s_a_core_over_{name}"] = bar(_ratio(rows, name, "turns_per_s_a_core"), 1.0, ">=")
        bars[f"first_sentence_over_{name}"] = bar(_ratio(rows, name, "first_sentence_p50_s"), 1.0)
        bars[f"llm_calls_over_{name}"] = bar(_ratio(rows, name, "llm_calls_a_turn"), 1.0)
    raw = {name: asdict(each) for name, each in desks.items()}
    return bars, {"turn_profile": TURN_PROFILE, "turns": rows, "turns_raw": raw}


def _ratio(rows: Mapping[str, Mapping[str, float]], peer: str, figure: str) -> float:
    """Ours over the peer's; 0 when the peer has none."""
    ours, theirs = rows[proxy_run.OURS][figure], rows[peer][figure]
    return ours / theirs if theirs else 0.0
