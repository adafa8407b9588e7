"""The harness of `bench overhead`, in small: two servers that are alike are told to be alike in everything but noise."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from agents.domain.errors import BadInput
from bench.overhead.client import Burst, Request
from bench.overhead.cores import Cores, starting_on
from bench.overhead.figures import Measured, Pair, joined, result
from bench.overhead.kept import Kept
from bench.overhead.run import engine_mean_s, run
from bench.processes import ServerFailed, Tree, called, spent


def measured(side: str, number: int, first_s: float, step_s: float) -> Measured:
    request = Request(first_s, first_s + step_s * 127, 512, 128, 128)
    return Measured(side, number, 1, Burst((request,), request.total_s), {"engine": 1.0})


def test_a_quick_run_measures_both_sides_under_every_load(tmp_path: Path) -> None:
    raw = tmp_path / "raw.json"
    told = run(seed=1, quick=True, model="qwen2.5-coder-0.5b", rounds=1, cores=Cores.shared(), raw=raw)
    rounds = told.detail["rounds"]
    assert {(one["side"], one["concurrency"]) for one in rounds} == {
        (side, concurrency) for side in ("stand-in a", "stand-in b") for concurrency in (1, 4)
    }
    assert all(one["tokens_per_s"] > 0 and 0 < one["first_token_p50_s"] < 5 for one in rounds)
    assert told.bars["throughput_ratio_4"].limit == 0.97
    assert told.detail["first_token_in_pairs"]["1"]["pairs"] == 2
    kept = json.loads(raw.read_text())
    assert (len(kept["loads"]), len(kept["pairs"])) == (4, 2)
    went_on = run(seed=1, quick=True, model="qwen2.5-coder-0.5b", rounds=2, cores=Cores.shared(), raw=raw, resume=True)
    assert went_on.detail["rounds"][:4] == rounds
    assert [one["round"] for one in went_on.detail["rounds"]] == [0] * 4 + [1] * 4
    assert went_on.detail["first_token_in_pairs"]["1"]["pairs"] == 4


def test_a_run_goes_on_only_from_what_is_its_own(tmp_path: Path) -> None:
    path, about = tmp_path / "raw.json", {"machine": "one", "model": "m"}
    kept = Kept(about, {"ours": 0.1}, [measured("ours", 0, 1.0, 0.05)], [Pair(0, 1, 0.4, 0.4)])
    kept.write(path)
    assert Kept.read(path, about) == kept
    for changed, said in (({**about, "machine": "two"}, "its machine is one, not two"), ({**about, "seed": "1"}, "seed")):
        with pytest.raises(BadInput, match=said):
            Kept.read(path, changed)
    path.write_text('{"loads": 1}')
    with pytest.raises(BadInput, match="cannot be gone on from"):
        Kept.read(path, about)
    with pytest.raises(BadInput, match="nothing to go on from"):
        run(seed=1, quick=True, model="m", rounds=1, cores=Cores.shared(), raw=None, resume=True)


def test_ratios_are_taken_within_a_round_so_a_slow_round_moves_none() -> None:
    rounds = [(0, 1.0, 0.05), (1, 10.0, 0.5), (2, 1.0, 0.05)]
    ours = [measured("ours", number, first_s * 1.002, step_s * 1.01) for number, first_s, step_s in rounds]
    bare = [measured("bare", number, first_s, step_s) for number, first_s, step_s in rounds]
    bars = result([*ours, *bare], ["ours", "bare"], {}).bars
    assert bars["added_inter_token_1"].value == pytest.approx(0.01, abs=1e-4)
    assert bars["added_first_token_p50_ms_1"].value == pytest.approx(2.0, abs=1e-3)
    assert bars["throughput_ratio_1"].ok


def test_visits_of_one_load_count_as_one_burst() -> None:
    visits = [replace(measured("ours", 0, first_s, 0.05), engine_first_token_s=first_s - 0.01) for first_s in (1.0, 2.0)]
    both = joined(visits)
    assert both.burst.tokens_per_s == pytest.approx(256 / (3.0 + 2 * 127 * 0.05))
    assert both.first_token_mean_s == pytest.approx(1.5)
    assert both.outside_ms == pytest.approx(10.0)
    assert both.cpu_s == {"engine": 2.0}
    assert joined([visits[0], replace(visits[1], engine_first_token_s=None)]).outside_ms is None


def test_a_slower_endpoint_falls_short() -> None:
    pairs = [measured("ours", 0, 1.02, 0.055), measured("bare", 0, 1.0, 0.05)]
    bars = result(pairs, ["ours", "bare"], {}).bars
    assert not any(bar.ok for bar in bars.values())


def test_the_first_token_is_compared_in_pairs_where_there_are_some() -> None:
    loads = [measured("ours", 0, 1.5, 0.05), measured("bare", 0, 1.0, 0.05)]
    pairs = [Pair(0, 1, base_s + added_s, base_s) for base_s, added_s in ((0.4, 0.004), (0.7, 0.005), (0.4, 0.3))]
    told = result(loads, ["ours", "bare"], {}, pairs)
    assert told.bars["added_first_token_p50_ms_1"].value == pytest.approx(5.0)
    assert told.detail["first_token_in_pairs"]["1"] == {
        "pairs": 3,
        "ours_s": 0.7,
        "bare_s": 0.4,
        "added_ms_p25": 4.0,
        "added_ms_p50": 5.0,
        "added_ms_p75": 300.0,
    }


def test_what_stands_around_the_engine_is_told_apart_from_its_own_luck() -> None:
    slow, fast = measured("ours", 0, 1.008, 0.05), measured("bare", 0, 0.9, 0.05)
    pairs = [replace(slow, engine_first_token_s=1.0), replace(fast, engine_first_token_s=0.895)]
    bars = result(pairs, ["ours", "bare"], {}).bars
    assert bars["added_outside_engine_ms_1"].value == pytest.approx(3.0)
    assert bars["added_outside_engine_ms_1"].ok
    assert not bars["added_first_token_p50_ms_1"].ok


def test_an_engine_that_served_somebody_else_too_is_no_measurement() -> None:
    assert engine_mean_s((2.0, 1.0), (4.0, 2.0), 2) == pytest.approx(0.5)
    assert engine_mean_s(None, None, 2) is None
    with pytest.raises(ServerFailed, match="tells of 3 requests, and was sent 2"):
        engine_mean_s((2.0, 1.0), (5.0, 2.0), 2)


def test_a_paused_tree_stands_still_and_goes_on() -> None:
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with subprocess.Popen([sys.executable, "-c", f"print('up', flush=True); {inner}"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        tree = Tree(process.pid)
        with tree.paused():
            assert {member.status() for member in tree.members()} == {psutil.STATUS_STOPPED}
        assert psutil.STATUS_STOPPED not in {member.status() for member in tree.members()}
        tree.signal(signal.SIGKILL)


def test_cpu_time_is_told_by_process_without_what_used_none() -> None:
    assert spent({"a": 1.0}, {"a": 3.5, "b": 0.2, "c": 0.001}) == {"a": 2.5, "b": 0.2}


def test_a_process_of_rays_has_one_name_whatever_it_runs() -> None:
    body = "print('up', flush=True); import time; time.sleep(60)"
    command = ["ray::ServeController.listen_for_change", "-c", body]
    with subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert called(psutil.Process(process.pid)) == "ray::ServeController"
        process.kill()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine gives the tests one core")
def test_engines_and_all_else_are_put_on_cores_of_their_own() -> None:
    cores = Cores.apart()
    assert cores.engine.isdisjoint(cores.others)
    body = "print('up', flush=True); import time; time.sleep(60)"
    with starting_on(cores.engine):
        engine = subprocess.Popen(["VLLM::EngineCore", "-c", body], executable=sys.executable, stdout=subprocess.PIPE)
        other = subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE)
    try:
        for process in (engine, other):
            assert process.stdout is not None
            process.stdout.readline()
            assert os.sched_getaffinity(process.pid) == cores.engine
            cores.place(Tree(process.pid))
        assert os.sched_getaffinity(engine.pid) == cores.engine
        assert os.sched_getaffinity(other.pid) == cores.others
    finally:
        for process in (engine, other):
            process.kill()
            process.communicate()
    assert os.sched_getaffinity(0) == cores.engine | cores.others
