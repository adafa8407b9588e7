"""The soak: its choices, and a small one on the whole stack over the simulated engine."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.load import load
from bench.load.place import Place, place
from bench.load.plan import Arrivals, LoadPlan
from bench.load.sampled import NOT_OURS
from bench.load.soak import QUICK, Journal, chosen_think_s, run, warmed_up_s


def test_customers_think_a_minute_unless_the_machine_cannot_carry_that() -> None:
    assert chosen_think_s(1000, probe_per_s=100.0) == 60.0
    assert chosen_think_s(10_000, probe_per_s=100.0) == 170.0  # 60 turns/s of the 100 probed


def test_the_warm_up_lasts_until_nearly_everybody_has_spoken() -> None:
    assert warmed_up_s(60.0, 0.99) == 280.0  # 60 s x ln 100, in fives
    think, warm_up_s = random.Random(0), warmed_up_s(210.0, 0.99)
    spoken = sum(think.expovariate(1 / 210.0) <= warm_up_s for _ in range(20_000))
    assert 0.985 < spoken / 20_000 < 0.995


def test_a_journal_is_there_after_every_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "soak.jsonl"
    journal = Journal(path)
    journal.line(what="probe", turns_per_s=1.5)
    assert json.loads(path.read_text(encoding="utf-8")) == {"what": "probe", "turns_per_s": 1.5}
    journal.line(what="end")
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


@pytest.fixture(scope="module")
def where() -> Iterator[Place]:
    with place(None, engine="simulated:instant") as found:
        yield found


async def test_a_small_soak_loses_nothing_and_tells_as_it_goes(where: Place, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "soak.jsonl")
    sizes = replace(QUICK, sessions=12, minutes=0.1, think_s=2.0, probe_s=2.0)
    told = await run(where, sizes, journal=journal, quick=True)
    judged = ("lost_turns", "errors_not_intended", "log_damages", "sessions_open_at_once", "minutes")
    assert all(told.bars[name].ok for name in judged), told.bars
    log = told.detail["log"]
    assert log["turns_ended"] == log["turns_begun"] > 10
    assert log["sessions_audited"] == 10
    assert told.bars["own_cpu_ms_a_turn"].value > 0
    by_room = told.detail["desk_by_room"]
    assert by_room["known"]
    assert by_room["cpu_ms_a_turn"].keys() - {*NOT_OURS, "other"}  # two seconds see something of ours, not each room
    assert told.detail["memory"]["held_mib"] > 100
    lines = [json.loads(line) for line in journal.path.read_text(encoding="utf-8").splitlines()] if journal.path else []
    assert [line["what"] for line in lines if line["what"] != "window"] == ["probe", "seated", "end"]


async def test_a_load_on_the_whole_stack_is_told_from_both_ends(where: Place) -> None:
    plan = LoadPlan(where.url, arrivals=Arrivals("poisson", 4.0), customers=4, duration_s=5.0, warmup_s=1.0, processes=2)
    told = await load.run(plan, where)
    assert told.bars["errors"].ok, told.detail["errors"]
    assert told.detail["turns"]["ok"] > 4
    assert told.detail["usage"]["llm_calls"] > 0
    times = told.detail["times_s"]
    assert 0 < times["ttft"]["p50"] <= times["first_sentence"]["p50"] <= times["turn"]["p50"]
    assert {"desk", "engine", "proxy", "all"} <= set(told.detail["cpu_ms_a_turn"])
    assert told.detail["memory_mib"]["desk"] > 50
    titles = [each["title"] for each in told.detail["series"]]
    assert titles == ["Turns a second", "Latency from the intended send time", "CPU by process", "Memory by process"]
    json.dumps(told.as_dict(), allow_nan=False)
