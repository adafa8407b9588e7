"""The demo marketplace, opened for real in a folder of the test's own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.packs.shop.shop import Shop
from agents.packs.shop.tools import close, open_back_office
from agents.ports import ToolCall

NOW = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    opened = await open_back_office(tmp_path, NOW)
    yield opened
    await close(opened)


def calls(customer_id: str, key: str | None = None, now: datetime = NOW) -> ToolCall:
    return ToolCall(customer_id, now, key)
