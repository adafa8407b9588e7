"""A hostile model, customers and tools, in small: nothing illegal is done, what is legal is."""

import pytest

from bench.adversarial import run
from bench.shop_oracle import RULES


async def test_nothing_illegal_is_done_and_what_is_legal_is() -> None:
    result = await run(quick=True)
    assert result.ok, result.as_dict()
    assert result.bars["legal_confirmed"].value > 5
    assert result.detail["turns"]["writes"] >= result.bars["legal_confirmed"].value


async def test_the_witness_would_see_an_illegal_write(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in RULES:
        monkeypatch.setitem(RULES, place, lambda args, customer, world: "everything is forbidden")
    result = await run(quick=True, seed=3)
    assert result.bars["illegal_writes"].value > 0
