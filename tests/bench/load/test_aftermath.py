"""What the log says after a load, whoever watched."""

import sqlite3
from pathlib import Path

import pytest

from agents.domain.events import Event, SessionStarted, TurnDone, TurnFailed, TurnStarted
from bench.load.aftermath import audited, read_log, settled_log
from serving.http.tokens import kept_secret
from serving.settings import Settings
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(data_dir=tmp_path, database_url="")


async def written(settings: Settings) -> None:
    """Two sessions: three turns that ended, one of them in an error, and one that did not."""
    store = await SqlStore.open(settings.store_url, SetClock(), Signer(kept_secret(settings.data_dir / "secret")))
    try:
        for session, turns in (("ses_1", ("a", "b")), ("ses_2", ("c", "d"))):
            began = [TurnStarted(turn, "hi", "en") for turn in turns]
            events: list[Event] = [SessionStarted(session, "shop", "C-001", "en"), *began]
            await store.append(session, events, expected_seq=0)
        await store.append("ses_1", [TurnDone("a", "ok", {}, {}, ()), TurnFailed("b", "broken", "sorry")], expected_seq=3)
        await store.append("ses_2", [TurnDone("c", "ok", {}, {}, ())], expected_seq=3)
    finally:
        await store.close()


async def test_a_turn_without_an_end_is_lost(settings: Settings) -> None:
    await written(settings)
    log = read_log(settings)
    assert (log.begun, log.ended, log.unended) == ({"ses_1": 2, "ses_2": 2}, {"ses_1": 2, "ses_2": 1}, ("d",))
    assert (await settled_log(settings, attempts=2, every_s=0.0)).unended == ("d",)


async def test_a_turn_a_customer_was_promised_and_the_log_does_not_know_is_missing(settings: Settings) -> None:
    await written(settings)
    log = read_log(settings)
    assert log.missing({"ses_1": 2, "ses_2": 1}) == 0
    assert log.missing({"ses_1": 3, "ses_2": 1, "ses_9": 2}) == 3


async def test_a_sample_of_the_log_is_audited_and_a_changed_row_is_found(settings: Settings) -> None:
    await written(settings)
    assert await audited(settings, 10) == (2, 0)
    path = settings.data_dir / "keepword.db"

    with sqlite3.connect(path) as database:
        database.execute("UPDATE events SET body = replace(body, 'broken', 'fine') WHERE seq = 5")
    looked, damages = await audited(settings, 10)
    assert looked == 2
    assert damages > 0
