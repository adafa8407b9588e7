"""What a plan refuses."""

import pytest

from agents.domain.errors import BadInput
from bench.load.commands import mix
from bench.load.plan import Arrivals, LoadPlan, loopback

HERE = "http://127.0.0.1:8000"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://127.9.9.9", "http://localhost:9", "http://[::1]:8000/"])
def test_this_machine_may_be_loaded(url: str) -> None:
    assert loopback(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:8000", "http://example.com", "http://localhost.example.com", "https://127.0.0.1", "127.0.0.1", ""]
)
def test_any_other_address_is_refused_with_the_way_out(url: str) -> None:
    with pytest.raises(BadInput) as refused:
        LoadPlan(url)
    assert refused.value.field == "url"
    assert "127.0.0.1" in refused.value.hint


@pytest.mark.parametrize(
    ("field", "plan"),
    [
        ("customers", {"customers": 0}),
        ("duration_s", {"duration_s": 1e9}),
        ("warmup_s", {"duration_s": 5, "warmup_s": 6}),
        ("rate_per_s", {"arrivals": Arrivals(rate_per_s=1e9)}),
        ("burst_factor", {"arrivals": Arrivals("bursts", burst_factor=6, burst_share=0.2)}),
    ],
)
def test_a_plan_without_bounds_is_refused_by_the_name_of_its_field(field: str, plan: dict[str, object]) -> None:
    with pytest.raises(BadInput) as refused:
        LoadPlan(HERE, **plan)  # type: ignore[arg-type]  # the point of the test
    assert refused.value.field == field


def test_a_mix_of_tenants_is_read_from_a_line() -> None:
    assert mix("north=3, south=1") == {"north": 3.0, "south": 1.0}
    assert mix("") == {}


@pytest.mark.parametrize("line", ["north", "north=x", "north=0", "a=1=2"])
def test_a_malformed_mix_is_refused(line: str) -> None:
    with pytest.raises(BadInput, match="tenant"):
        mix(line)
